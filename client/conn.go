package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// writeBytes is how much a connection gathers before it writes: enough for a system call to be cheap, little
	// enough that the first frame does not wait for the last.
	writeBytes = 128 << 10
	// spareRequests are kept free for what takes load off a node or finds out whether it lives.
	spareRequests = 8
)

// A source has frames for a connection. It is called by the connection's writer only, without a lock held.
type source interface {
	// frame appends the next frame under that request id and returns who gets its answer: nil if there is none. more
	// says that the source wants another turn. If it returns dst as it was, there was nothing to say.
	frame(dst []byte, c *conn, request uint32) (out []byte, w waiter, more bool)
	// dropped says that the connection ended before the source had its turn.
	dropped(c *conn, err error)
}

// A waiter gets answers. It is called by the connection's reader, or by whoever ends the connection; it must not block.
type waiter interface {
	// answer gives it a message, whose payload is valid during the call, or the error that ended the connection: then
	// nothing is known about the request.
	answer(c *conn, t wire.Type, payload []byte, err error)
	// subscribed says that the answers go on until a SubscriptionEnd or a Failure.
	subscribed() bool
}

// conn is one connection to one node. Frames leave in the order of its ready list; a source closes its batch when its
// turn comes, which is as soon as the write before has returned.
type conn struct {
	nodeID    string
	hello     wire.HelloReply
	tls       *tlsConn
	frames    *wire.FrameReader
	lookEvery time.Duration // for signs of life

	wake chan struct{} // of the writer, one signal deep
	dead chan struct{}

	mu       sync.Mutex
	ready    []source
	calls    requests
	bytes    int  // of frames without an answer
	full     bool // the writer waits for answers
	draining bool
	err      error

	lastRead atomic.Int64 // unix nanoseconds

	// The writer's: when it began to gather, and a scratch message. The reader has one, too.
	gathering time.Time
	send      wire.Send
	reply     wire.SendReply
}

// openConn connects to a node and says hello.
func (t *transport) openConn(ctx context.Context, node, address, software string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	tc, err := t.connect(ctx, node, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { tc.Conn.Close() })
	c := &conn{
		nodeID: node, tls: tc, lookEvery: t.lookEvery, wake: make(chan struct{}, 1), dead: make(chan struct{}),
	}
	c.frames = wire.NewFrameReader(alive{tc, &c.lastRead})
	err = c.sayHello(t.cluster, software)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		tc.Conn.Close()
		return nil, err
	}
	return c, nil
}

// alive notes when something was last read.
type alive struct {
	from io.Reader
	at   *atomic.Int64
}

func (a alive) Read(b []byte) (int, error) {
	n, err := a.from.Read(b)
	if n > 0 {
		a.at.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *conn) sayHello(cluster, software string) error {
	hello := wire.Hello{MinVersion: wire.Version, MaxVersion: wire.Version, Client: software}
	hex.Decode(hello.Cluster[:], []byte(cluster))
	_, unsent := c.tls.Write(wire.AppendFrame(nil, c.calls.next(), &hello))
	t, _, payload, err := c.frames.Next()
	switch {
	case unsent != nil && !isAlert(err):
		return unsent
	case errors.Is(err, io.EOF):
		return errors.New("the node closed the connection at once")
	case err != nil:
		return err
	case t == wire.TypeFailure:
		var f wire.Failure
		if err := f.Decode(payload); err != nil {
			return err
		}
		return fromFailure(&f)
	case t != wire.TypeHelloReply:
		return fmt.Errorf("the node answered a hello with %v", t)
	}
	if err := c.hello.Decode(append([]byte(nil), payload...)); err != nil {
		return err
	}
	if got := hex.EncodeToString(c.hello.Cluster[:]); cluster != "" && got != cluster {
		return definite("wrong_cluster", nil, "the node belongs to cluster %s", got)
	}
	c.frames.SetLimit(int(c.hello.Limits.FrameBytes))
	return nil
}

// run reads and writes until the connection ends.
func (c *conn) run(running *sync.WaitGroup) {
	running.Go(c.write)
	running.Go(c.read)
	running.Go(c.keep)
}

// enqueue gives a source a turn. It reports false if the connection takes no more requests.
func (c *conn) enqueue(s source) bool {
	c.mu.Lock()
	if c.err != nil || c.draining {
		c.mu.Unlock()
		return false
	}
	if _, first := s.(urgent); first {
		c.ready = slices.Insert(c.ready, 0, s)
	} else {
		c.ready = append(c.ready, s)
	}
	c.mu.Unlock()
	c.signal()
	return true
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// usable reports whether new requests may be given to the connection.
func (c *conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.draining
}

func (c *conn) write() {
	var buf []byte
	for {
		select {
		case <-c.wake:
		case <-c.dead:
			return
		}
		for {
			buf = c.gather(buf[:0])
			if len(buf) == 0 {
				break
			}
			if _, err := c.tls.Write(buf); err != nil {
				c.end(err)
				return
			}
			if cap(buf) > gatherKeepBytes {
				buf = nil
			}
		}
	}
}

// gather appends the frames of sources that wait for their turn.
func (c *conn) gather(buf []byte) []byte {
	c.gathering = time.Now()
	for len(buf) < writeBytes {
		s, request := c.turn()
		if s == nil {
			return buf
		}
		before := len(buf)
		out, w, more := s.frame(buf, c, request)
		buf = out
		if w != nil && !c.register(request, w, len(buf)-before) {
			// What is said not to have been sent must not be written after all.
			buf = buf[:before]
			w.answer(c, 0, nil, errNotSent)
		}
		if more && !c.enqueue(s) {
			s.dropped(c, errNotSent)
		}
	}
	c.signal()
	return buf
}

// turn takes the first source of the ready list, unless the node's limits say to wait for answers first.
func (c *conn) turn() (source, uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) == 0 || c.err != nil {
		return nil, 0
	}
	_, urgent := c.ready[0].(urgent)
	limits := &c.hello.Limits
	c.full = !urgent && c.calls.taken > 0 &&
		(c.calls.taken+spareRequests >= int(limits.InFlightRequests) || c.bytes >= int(limits.InFlightBytes)/2)
	if c.full {
		return nil, 0
	}
	s := c.ready[0]
	c.ready[0] = nil
	c.ready = c.ready[1:]
	return s, c.calls.next()
}

// urgent sources go out past the limit of requests in flight: they are what the spare requests are for.
type urgent interface{ urgent() }

// register notes who gets the answer to a request. It reports false if the connection takes no more: one that drains
// ends, as not having sent anything, with the last answer that it waits for.
func (c *conn) register(request uint32, w waiter, bytes int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.draining {
		return false
	}
	c.calls.put(request, w, bytes)
	c.bytes += bytes
	return true
}

func (c *conn) read() {
	for {
		t, request, payload, err := c.frames.Next()
		if err != nil {
			c.end(err)
			return
		}
		if err := wire.CheckFromServer(t, request); err != nil {
			c.end(fmt.Errorf("the node sent %v: %w", t, err))
			return
		}
		if request == 0 {
			if err := c.notice(t, payload); err != nil {
				c.end(err)
				return
			}
			continue
		}
		if t == wire.TypePing {
			c.enqueue(pong(request))
			continue
		}
		c.deliver(t, request, payload)
	}
}

// deliver hands an answer to its waiter.
func (c *conn) deliver(t wire.Type, request uint32, payload []byte) {
	var w waiter
	c.mu.Lock()
	if call := c.calls.find(request); call != nil {
		w = call.waiter
		c.bytes -= call.bytes
		if call.bytes = 0; !w.subscribed() || t == wire.TypeSubscriptionEnd || t == wire.TypeFailure {
			c.calls.remove(call)
		}
	}
	full := c.full
	over := c.draining && c.calls.taken == 0
	c.mu.Unlock()
	if w != nil {
		w.answer(c, t, payload, nil)
	}
	if full {
		c.signal()
	}
	if over {
		c.end(errNotSent)
	}
}

// notice handles what a node says about the connection itself.
func (c *conn) notice(t wire.Type, payload []byte) error {
	if t == wire.TypeFailure {
		var f wire.Failure
		if err := f.Decode(payload); err != nil {
			return err
		}
		return fromFailure(&f)
	}
	c.mu.Lock()
	c.draining = true
	waiting := c.ready
	c.ready = nil
	over := c.calls.taken == 0
	c.mu.Unlock()
	for _, s := range waiting {
		s.dropped(c, errNotSent)
	}
	if over {
		return errNotSent
	}
	return nil
}

// end closes the connection and tells everybody who waits for something.
func (c *conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	calls, waiting := c.calls.all(), c.ready
	c.calls, c.ready = requests{}, nil
	c.mu.Unlock()
	close(c.dead)
	if errors.Is(err, errClosed) {
		c.tls.farewell()
	}
	c.tls.gather.Close()
	for _, w := range calls {
		w.answer(c, 0, nil, err)
	}
	for _, s := range waiting {
		s.dropped(c, err)
	}
}
