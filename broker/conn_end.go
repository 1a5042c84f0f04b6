package broker

import (
	"io"
	"net"
	"strings"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// writeTimeout ends a connection whose peer takes no piece of writePiece for so long.
	writeTimeout = 30 * time.Second
	writePiece   = 64 << 10
	// lingerTime and lingerBytes bound how long a refused client is listened to.
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 1 << 20
)

// pieceWriter gives every piece of a write its own deadline: a client that reads slowly is served, one that stopped is
// not.
type pieceWriter struct{ to net.Conn }

func (w pieceWriter) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		if err = w.to.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			break
		}
		var wrote int
		wrote, err = w.to.Write(b[n:min(n+writePiece, len(b))])
		n += wrote
	}
	return n, err
}

// frameDeadline sets the deadline of an unfinished frame. The hello's own goes before it, and a connection that is left
// stays so.
func (c *conn) frameDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.greeted && !c.left {
		c.tls.SetReadDeadline(t)
	}
}

// greet lifts the deadline of the hello.
func (c *conn) greet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted = true
	if !c.left {
		c.tls.SetReadDeadline(time.Time{})
	}
}

// goAway asks the client to go elsewhere. What is in flight is answered; new requests are refused.
func (c *conn) goAway(code wire.Code, grace time.Duration) {
	if c.leaving.Swap(true) {
		return
	}
	c.send(0, &wire.GoAway{Code: code, GraceMillis: uint32(max(grace, 0).Milliseconds())})
	c.endReceivers()
	if c.inFlight.Load() == 0 {
		c.leave()
	}
}

// leave ends reading, and with it the connection once what is in the outbox was written.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	c.tls.SetReadDeadline(time.Now())
}

// cut ends the connection at once.
func (c *conn) cut() {
	c.cutting.Do(func() {
		close(c.gone)
		c.tls.NetConn().Close()
	})
}

// linger listens on for a moment after a refusal: a socket that is closed with unread bytes in it is reset, and the
// reason might be lost on its way.
func (c *conn) linger() {
	raw := c.tls.NetConn()
	c.tls.CloseWrite()
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.CloseWrite()
	}
	raw.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, raw, lingerBytes)
}

// clip keeps a detail within the protocol's limit.
func clip(s string) string {
	if len(s) > wire.TextBytes {
		s = strings.ToValidUTF8(s[:wire.TextBytes], "")
	}
	return s
}
