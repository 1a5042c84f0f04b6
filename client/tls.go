package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// handshakeTimeout bounds connecting, the TLS handshake and the hello.
const handshakeTimeout = 5 * time.Second

// maxPEMBytes bounds the certificate files that are read.
const maxPEMBytes = 1 << 20

// transport makes connections to nodes.
type transport struct {
	cluster     string // what certificates must name, hexadecimal; empty: any
	roots       *x509.CertPool
	certificate func() (*tls.Certificate, error) // asked at every handshake, so that a renewed one is used
	dial        func(ctx context.Context, address string) (net.Conn, error)
	lookEvery   time.Duration // how often a connection looks for signs of life
}

// dialTCP connects without TLS.
func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 15 * time.Second}
	return d.DialContext(ctx, "tcp", address)
}

// connect dials an address and returns a connection whose other end has proved to be the node.
func (t *transport) connect(ctx context.Context, node, address string) (*tlsConn, error) {
	raw, err := t.dial(ctx, address)
	if err != nil {
		if !timedOut(err) && ctx.Err() == nil {
			err = &refusedError{err}
		}
		return nil, err
	}
	gather := &gatherConn{Conn: raw}
	conn := tls.Client(gather, t.config(node))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, handshakeError(err)
	}
	gather.start()
	return &tlsConn{conn, gather}, nil
}

// config is the whole of the client's TLS policy. The certificate's name is checked by VerifyConnection, which also
// runs where a session would be resumed; nothing of the address that was dialled matters.
func (t *transport) config(node string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{wire.ALPN},
		DynamicRecordSizingDisabled: true,
		InsecureSkipVerify:          true, // replaced by VerifyConnection
		VerifyConnection:            func(cs tls.ConnectionState) error { return t.verify(cs, node) },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.certificate()
		},
	}
}

// verify checks that the server's certificate is from the cluster's client authority and names the node.
func (t *transport) verify(cs tls.ConnectionState, node string) error {
	if len(cs.PeerCertificates) == 0 {
		return &certificateError{node, errors.New("it showed no certificate")}
	}
	leaf := cs.PeerCertificates[0]
	above := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		above.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         t.roots,
		Intermediates: above,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return &certificateError{node, err}
	}
	if len(leaf.URIs) == 1 {
		uri := leaf.URIs[0]
		cluster, ok := strings.CutPrefix(uri.Host, "client.")
		if ok && uri.Scheme == "spiffe" && uri.Path == "/node/"+node && (t.cluster == "" || cluster == t.cluster) {
			return nil
		}
	}
	return &certificateError{node, fmt.Errorf("it names %v", leaf.URIs)}
}

// refusedError means that nothing listens at an address, or that there is no way to it: it was quick to say so.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func timedOut(err error) bool {
	var slow interface{ Timeout() bool }
	return errors.As(err, &slow) && slow.Timeout()
}

// certificateError means that whoever answered could not prove to be the node.
type certificateError struct {
	node string
	err  error
}

func (e *certificateError) Error() string {
	return fmt.Sprintf("the certificate shown for node %s is not its own: %v", e.node, e.err)
}

func (e *certificateError) Unwrap() error { return e.err }

// handshakeError says in words what the other side's alert means.
func handshakeError(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return fmt.Errorf("the other side does not speak TLS: %w", err)
	}
	return err
}

// certificateFiles reads a certificate and its key whenever one of the files has changed. A bad new pair leaves the
// old one in use.
func certificateFiles(certPath, keyPath string) (func() (*tls.Certificate, error), error) {
	var mu sync.Mutex
	var current *tls.Certificate
	var certSeen, keySeen os.FileInfo
	load := func() (*tls.Certificate, error) {
		certInfo, _ := os.Stat(certPath)
		keyInfo, _ := os.Stat(keyPath)
		mu.Lock()
		defer mu.Unlock()
		if current != nil && sameFile(certInfo, certSeen) && sameFile(keyInfo, keySeen) {
			return current, nil
		}
		key, _, err := readSecret(keyPath, maxPEMBytes)
		if err == nil {
			var cert []byte
			if cert, err = os.ReadFile(certPath); err == nil {
				var pair tls.Certificate
				if pair, err = tls.X509KeyPair(cert, key); err == nil {
					current, certSeen, keySeen = &pair, certInfo, keyInfo
					return current, nil
				}
			}
		}
		if current != nil {
			return current, nil
		}
		return nil, certificateFileError(certPath, keyPath, err)
	}
	_, err := load()
	return load, err
}

// certificateFileError says what to do about a certificate that is not there yet: it comes from whoever has the
// authority.
func certificateFileError(certPath, keyPath string, err error) error {
	if _, missing := os.Stat(certPath); !errors.Is(missing, os.ErrNotExist) {
		return fmt.Errorf("client certificate %s: %w", certPath, err)
	}
	e := definite(CodeConfig, nil, "the client certificate %s is not there", certPath)
	e.Hint = "Have the request signed that sealmq id new printed, by whoever has the cluster's authority: " +
		"sealmq id sign. Then put the certificate there"
	if _, missing := os.Stat(keyPath); errors.Is(missing, os.ErrNotExist) {
		e.Hint = "Its key is missing too: make the identity with: sealmq id new"
	}
	return e
}

// readPool reads the certificates of an authority.
func readPool(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}

// tlsConn writes many TLS records with one system call.
type tlsConn struct {
	*tls.Conn
	gather *gatherConn
}

func (c *tlsConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if flushed := c.gather.flush(); err == nil {
		err = flushed
	}
	return n, err
}

// farewell tells the other side that the connection ends on purpose, if that is quickly done.
func (c *tlsConn) farewell() {
	c.SetWriteDeadline(time.Now().Add(farewellTimeout))
	if c.CloseWrite() == nil {
		c.gather.flush()
	}
}

const farewellTimeout = 100 * time.Millisecond

// gatherConn collects what TLS writes, a record at a time, until flush. Records that TLS writes by itself, such as the
// answer to a key update, leave with the next flush.
type gatherConn struct {
	net.Conn
	mu        sync.Mutex
	gathering bool
	buf       []byte
}

// gatherKeepBytes is the largest buffer that is kept between writes.
const gatherKeepBytes = 512 << 10

func (c *gatherConn) start() {
	c.mu.Lock()
	c.gathering = true
	c.mu.Unlock()
}

func (c *gatherConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gathering {
		return c.Conn.Write(b)
	}
	c.buf = append(c.buf, b...)
	return len(b), nil
}

func (c *gatherConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	if c.buf = c.buf[:0]; cap(c.buf) > gatherKeepBytes {
		c.buf = nil
	}
	return err
}

// Close drops what was not flushed: a connection is closed when nothing more is to be said, or cannot be.
func (c *gatherConn) Close() error { return c.Conn.Close() }
