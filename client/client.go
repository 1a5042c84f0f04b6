package client

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// Client is a connection to a cluster: one to each node that it needs. It is safe for concurrent use, and is meant to
// be shared by a whole program.
type Client struct {
	opts      Options
	log       *slog.Logger
	transport *transport
	routes    *routes
	receiver  [16]byte // holds what Receive leases
	accepted  *acceptedSessions

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	conns    map[*conn]struct{}
	boxes    map[string]*mailbox
	settlers map[uint16]*settler
	hello    atomic.Pointer[wire.HelloReply] // the newest one
	skew     atomic.Int64                    // the nodes' clock less this one, nanoseconds
}

// Connect connects to a cluster. It returns when a node has answered, and keeps trying until ctx ends.
func Connect(ctx context.Context, opts Options) (*Client, error) {
	opts, err := opts.load()
	if err != nil {
		return nil, definite(CodeConfig, err, "")
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	c := &Client{
		opts: opts, log: opts.Logger, accepted: newAcceptedSessions(),
		transport: &transport{opts.Cluster, opts.CA, opts.certificate, opts.dial, opts.lookEvery},
		receiver:  newID(), conns: map[*conn]struct{}{}, boxes: map[string]*mailbox{}, settlers: map[uint16]*settler{},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.routes = newRoutes(c, opts.Nodes)
	if err := c.retry(ctx, c.routes.refresh); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the client and everything that waits on it. What was sent and not answered has an unknown outcome: call
// [Sender.Flush] first.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	conns := c.conns
	c.conns = map[*conn]struct{}{}
	c.mu.Unlock()
	c.cancel(errClosed)
	for conn := range conns {
		conn.end(errClosed)
	}
	c.running.Wait()
	if err := c.opts.Pins.Sync(); err != nil {
		return definite(CodeConfig, err, "the pins cannot be written")
	}
	return nil
}

// start runs f in a goroutine that Close waits for. It reports false if the client is closed.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Go(f)
	return true
}

// connected takes a new connection in.
func (c *Client) connected(conn *conn) {
	hello := &conn.hello
	before := c.hello.Swap(hello)
	if before != nil && before.Incarnation != hello.Incarnation && before.Cluster == hello.Cluster {
		c.log.Warn("the cluster was restored: what was sent before may be missing", "incarnation", hello.Incarnation)
	}
	c.noteTime(hello.TimeMillis)
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.conns[conn] = struct{}{}
		conn.run(&c.running)
		c.running.Go(func() {
			<-conn.dead
			c.mu.Lock()
			delete(c.conns, conn)
			c.mu.Unlock()
			if !errors.Is(conn.err, errClosed) {
				c.log.Info("connection ended", "node", conn.nodeID, "error", conn.err)
			}
		})
	}
	c.mu.Unlock()
	if closed {
		conn.end(errClosed)
	}
}

// Principal returns who the cluster takes this client for: the name in its certificate.
func (c *Client) Principal() string { return c.hello.Load().Principal }

// Cluster returns the id of the cluster in hexadecimal digits.
func (c *Client) Cluster() string {
	id := c.hello.Load().Cluster
	return hex.EncodeToString(id[:])
}

// limits returns what nodes allow.
func (c *Client) limits() *wire.Limits { return &c.hello.Load().Limits }

// skewIgnored is how far the clocks may be apart before messages are dated by the nodes' clock: less than what nodes
// tolerate, with room for the rest of a minute and the way there.
const skewIgnored = 2 * time.Minute

// skewMost is how far the nodes' clock may move the end of a message's life. Beyond it somebody has to look: a
// receiver goes by its own clock.
const skewMost = 24 * time.Hour

// noteTime compares a node's clock with this one.
func (c *Client) noteTime(unixMillis int64) {
	skew := time.Until(time.UnixMilli(unixMillis))
	if c.skew.Swap(int64(skew)); skew.Abs() > skewIgnored {
		c.log.Warn("the clock of this machine differs from the cluster's", "by", skew.Round(time.Second))
	}
}

// now returns the time that a node reads, as near as need be.
func (c *Client) now() (time.Time, error) {
	now := time.Now()
	skew := time.Duration(c.skew.Load())
	switch {
	case skew.Abs() <= skewIgnored:
		return now, nil
	case skew.Abs() > skewMost:
		e := definite(CodeClockSkew, nil, "this machine's clock says %s and the cluster's %s",
			now.UTC().Format(time.RFC3339), now.Add(skew).UTC().Format(time.RFC3339))
		e.Hint = "Set the clock that is wrong"
		return now, e
	}
	return now.Add(skew), nil
}

// isAlert reports whether the other side of a TLS handshake refused this one.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
