package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/internal/pki"
	"github.com/sealmq/sealmq/wire"
)

// peerProtocol is named in the handshake between nodes, so that a client that reaches a peer listener is told apart
// before a byte of it is read.
const peerProtocol = "sealmq-peer/1"

// peerListener hands out connections whose handshake is done when the log asks who is there.
type peerListener struct {
	net.Listener
	config *tls.Config
}

func (l peerListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	records := &recordConn{Conn: raw}
	return &acceptedPeer{peerConn: peerConn{tls.Server(records, l.config), records}}, nil
}

// acceptedPeer is a connection that a peer has made.
type acceptedPeer struct {
	peerConn
	once sync.Once
	node string
	err  error
}

// PeerNode completes the handshake, within a deadline, and returns the node that the certificate names.
func (c *acceptedPeer) PeerNode() (string, error) {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wire.PreAuthMillis*time.Millisecond)
		defer cancel()
		if c.err = c.handshake(ctx); c.err != nil {
			return
		}
		var name pki.Name
		name, c.err = pki.PeerName(c.ConnectionState())
		c.node = name.ID
	})
	return c.node, c.err
}

// dialPeer connects to a node and checks that it is the one.
func (ids *identities) dialPeer(o *Options) func(ctx context.Context, node, address string) (net.Conn, error) {
	return func(ctx context.Context, node, address string) (net.Conn, error) {
		var d net.Dialer
		raw, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		records := &recordConn{Conn: raw}
		c := &peerConn{tls.Client(records, ids.peer.Client(admitPeer(o, node), peerProtocol)), records}
		if err := c.handshake(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return c, nil
	}
}

// peerConn is a TLS connection between nodes. TLS by itself takes a system call for every record of 16 KiB, in both
// directions; entries are up to sixty times that. Here one call of Write is one write to the network, and a read takes
// what has come.
type peerConn struct {
	*tls.Conn
	records *recordConn
}

func (c *peerConn) handshake(ctx context.Context) error {
	err := c.HandshakeContext(ctx)
	if err == nil {
		c.records.gather()
	}
	return err
}

// Write is for one goroutine at a time.
func (c *peerConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if flushed := c.records.flush(); err == nil {
		err = flushed
	}
	return n, err
}

// Close waits for nothing, not even for a farewell: frames have lengths, so that one that was cut short is known.
func (c *peerConn) Close() error { return c.records.Close() }

// recordsBytes is how much is read from the network at once.
const recordsBytes = 128 << 10

// recordConn is what TLS sees of the network. Once it gathers, what is written stays until flush; what TLS writes by
// itself, such as the answer to a key update, leaves with the next flush. Package client has one of its own: it may import
// nothing of a server, and wire knows no TLS.
type recordConn struct {
	net.Conn
	gathering atomic.Bool
	in        *bufio.Reader // while gathering

	mu      sync.Mutex
	out     []byte
	written []byte // memory for the next out; flush's alone
}

// gather begins gathering, between two reads. It is for connections whose other end has proved who it is: nobody else
// gets that much memory.
func (c *recordConn) gather() {
	c.in = bufio.NewReaderSize(c.Conn, recordsBytes)
	c.gathering.Store(true)
}

func (c *recordConn) Read(b []byte) (int, error) {
	if !c.gathering.Load() {
		return c.Conn.Read(b)
	}
	return c.in.Read(b)
}

func (c *recordConn) Write(b []byte) (int, error) {
	if !c.gathering.Load() {
		return c.Conn.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b...)
	return len(b), nil
}

func (c *recordConn) flush() error {
	c.mu.Lock()
	out := c.out
	c.out, c.written = c.written[:0], nil
	c.mu.Unlock()
	c.written = out
	if len(out) == 0 {
		return nil
	}
	_, err := c.Conn.Write(out)
	return err
}
