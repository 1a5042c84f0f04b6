package broker

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/sealmq/sealmq/internal/pki"
)

// countedConn counts the writes that reach the network.
type countedConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) { c.writes.Add(1); return c.Conn.Write(b) }

// peerPair returns both ends of a connection between two nodes whose handshake is done, and what the one that dialled
// does on the network.
func peerPair(t *testing.T) (dialled, accepted *peerConn, network *countedConn) {
	t.Helper()
	authority, err := pki.CreateAuthority(pki.Peer, [16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.IssueNode("n1", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := pki.Files{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key"), CAs: []string{pki.CertFile(dir, pki.Peer)}}
	if err := authority.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := leaf.Save(files.Cert, files.Key); err != nil {
		t.Fatal(err)
	}
	credentials, err := pki.LoadCredentials(files)
	if err != nil {
		t.Fatal(err)
	}
	anybody := func(pki.Name) error { return nil }

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	network = &countedConn{Conn: a}
	out, in := &recordConn{Conn: network}, &recordConn{Conn: b}
	dialled = &peerConn{tls.Client(out, credentials.Client(anybody, peerProtocol)), out}
	accepted = &peerConn{tls.Server(in, credentials.Server(anybody, peerProtocol)), in}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	done := make(chan error, 1)
	go func() { done <- accepted.handshake(t.Context()) }()
	if err := dialled.handshake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return dialled, accepted, network
}

// Many records leave with one write, and none stays behind.
func TestPeerConnGathersRecords(t *testing.T) {
	dialled, accepted, network := peerPair(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	const piece = 128 << 10
	writes := network.writes.Load()
	go func() {
		for off := 0; off < len(body); off += piece {
			if _, err := dialled.Write(body[off : off+piece]); err != nil {
				t.Error(err)
			}
		}
	}()
	got := make([]byte, len(body))
	if _, err := io.ReadFull(accepted, got); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%v; equal: %v", err, bytes.Equal(got, body))
	}
	if n := network.writes.Load() - writes; n != int64(len(body)/piece) {
		t.Errorf("%d writes for %d calls", n, len(body)/piece)
	}
	// And back, a byte at a time: nothing waits for more to come.
	for i := range 100 {
		if _, err := accepted.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(dialled, got[:1]); err != nil || got[0] != byte(i) {
			t.Fatalf("%d, %v, want %d", got[0], err, i)
		}
	}
}

// Closing ends a write that nobody takes, and the other side's reads.
func TestPeerConnClose(t *testing.T) {
	dialled, accepted, network := peerPair(t)
	before, failed := network.writes.Load(), make(chan error, 1)
	go func() {
		for {
			if _, err := dialled.Write(make([]byte, 1<<20)); err != nil {
				failed <- err
				return
			}
		}
	}()
	for network.writes.Load() < before+2 { // the second does not fit into what the system takes before it is read
		runtime.Gosched()
	}
	if err := dialled.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write to a closed connection: %v", err)
	}
	// The stream was cut inside a record or between two; it ends either way.
	if n, _ := io.Copy(io.Discard, accepted); n > 3<<20 {
		t.Errorf("%d bytes arrived", n)
	}
}

// Whoever only connects to a peer listener takes no more memory than TLS itself does.
func TestPeerConnBeforeTheHandshake(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	records := &recordConn{Conn: b}
	c := &acceptedPeer{peerConn: peerConn{tls.Server(records, &tls.Config{}), records}}
	defer c.Close()
	go a.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	if _, err := c.PeerNode(); err == nil {
		t.Fatal("a stranger is let in")
	}
	if records.in != nil || records.gathering.Load() {
		t.Error("a stranger's records are gathered")
	}
}
