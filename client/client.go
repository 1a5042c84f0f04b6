package client

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"reflect"
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
	receiver  [16]byte      // holds what Receive leases
	patience  time.Duration // with nodes that all refuse, 0: as long as a call has
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

// ConnectOption changes how a client deals with its cluster.
type ConnectOption func(*Client)

// GiveUpRefused ends calls early where there is nobody to wait for: once nothing has listened at the address of any
// node for so long, they fail with [CodeUnreachable] instead of trying until their context ends. A node that answers,
// or does not but is there, is waited for as ever, so a change of leaders is ridden out. [Client.Subscribe] goes on
// all the same. It is meant for programs with a person before them; a service does better to wait for its cluster.
func GiveUpRefused(after time.Duration) ConnectOption {
	return func(c *Client) { c.patience = max(after, 1) }
}

// Connect connects to a cluster. It returns when a node has answered, and keeps trying until ctx ends; see
// [GiveUpRefused].
func Connect(ctx context.Context, opts Options, more ...ConnectOption) (*Client, error) {
	opts, err := opts.load()
	if e := (*Error)(nil); errors.As(err, &e) {
		return nil, e
	} else if err != nil {
		return nil, definite(CodeConfig, err, "")
	}
	ctx, stop := withDeadline(ctx)
	defer stop()
	c := &Client{
		opts: opts, log: opts.Logger, accepted: newAcceptedSessions(),
		transport: &transport{opts.Cluster, opts.CA, opts.certificate, opts.dial, opts.lookEvery},
		receiver:  newID(), conns: map[*conn]struct{}{}, boxes: map[string]*mailbox{}, settlers: map[uint16]*settler{},
	}
	for _, option := range more {
		option(c)
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
	_, ok := alertOf(err)
	return ok
}

// alertOf returns the number of the alert that the other side of a TLS handshake refused this one with.
func alertOf(err error) (number uint64, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	// The type has no name outside crypto/tls; its value is the number of the protocol.
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		number = v.Uint()
	}
	return number, true
}
