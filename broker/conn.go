package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// requestsInFlight and requestBytesInFlight are how many requests of a connection may be without an answer, and
	// the bytes of their frames.
	requestsInFlight     = 16 << 10
	requestBytesInFlight = 64 << 20
	// subscriptionsPerConn bounds the subscriptions and waiting pulls of a connection.
	subscriptionsPerConn = 16 << 10
)

// conn is one client's connection: one goroutine reads and dispatches, one writes what gathers in the outbox, and one
// at a time, while there is anything to bring, fetches the messages of its leases.
type conn struct {
	broker  *Broker
	tls     *tls.Conn
	out     *outbox
	courier courier
	gone    chan struct{} // closed when the connection is cut
	cutting sync.Once

	principal string
	expires   time.Time     // of the client's certificate
	inFlight  atomic.Int32  // requests whose answer is not in the outbox yet
	leaving   atomic.Bool   // the client was asked to go elsewhere
	settled   atomic.Uint64 // acks, nacks and extends that were applied, counted before their answers are sent

	decoded decoded // used by the reading goroutine only
	rights  rightsCache
	window  sessionWindow

	mu        sync.Mutex
	greeted   bool           // the hello is over: its deadline does not hold any more
	left      bool           // nothing is read any more
	open      map[uint32]int // bytes of the requests without an answer, by request id
	openBytes int
	receivers map[uint32]*receiver  // by the request id of their subscribe or pull
	noKey     map[[16]byte][]uint32 // by mailbox: key epochs that this client said it does not have
}

func newConn(b *Broker, raw net.Conn, config *tls.Config) *conn {
	return &conn{
		broker: b, tls: tls.Server(raw, config), out: newOutbox(b.outboxes), gone: make(chan struct{}),
		open: map[uint32]int{}, receivers: map[uint32]*receiver{},
	}
}

// shake does the TLS handshake, within the time that a connection has to prove an identity.
func (c *conn) shake() error {
	deadline := time.Now().Add(wire.PreAuthMillis * time.Millisecond)
	c.tls.SetDeadline(deadline)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	err := c.tls.HandshakeContext(ctx)
	if err == nil {
		state := c.tls.ConnectionState()
		c.expires = state.PeerCertificates[0].NotAfter
		c.principal, err = principalOf(state)
	}
	if err == nil {
		return nil
	}
	c.broker.metrics.refused.Inc()
	c.broker.refusals.note(c.tls.RemoteAddr(), err)
	return err
}

// run serves the connection after its handshake until it ends, and leaves nothing of it behind. refused is what its
// hello is answered with, if it may not stay.
func (c *conn) run(refused error) {
	var writing sync.WaitGroup
	writing.Go(func() {
		if c.out.run(pieceWriter{c.tls}) != nil {
			c.cut() // so that the reader ends too
		}
	})
	err := c.read(refused)
	told := c.refuse(err)
	c.endReceivers()
	c.out.close()
	c.courier.close()
	writing.Wait()
	if told {
		c.linger()
	} else {
		c.tls.Close()
	}
	c.cut()
}

// read reads and dispatches frames until the connection ends. An error is told to the client before the end.
func (c *conn) read(refused error) error {
	from := &source{from: c.tls, deadline: c.frameDeadline, large: c.broker.largeFrames, gone: c.gone}
	defer from.leave()
	frames := wire.NewFrameReader(from)
	phase := wire.PhaseNew
	for took := -1; ; {
		from.next(took)
		t, request, payload, err := frames.Next()
		if err != nil {
			return c.broken(err)
		}
		took = len(payload)
		if err := wire.CheckFromClient(phase, t, request); err != nil {
			// An unknown request is answered like others that cannot be served.
			if phase != wire.PhaseOpen || !errors.Is(err, wire.ErrUnknownType) || request == 0 {
				return err
			}
		}
		if phase == wire.PhaseNew {
			if err := c.hello(request, payload, refused); err != nil {
				return err
			}
			phase = wire.PhaseOpen
			frames.SetLimit(wire.FrameBytes)
			c.greet()
			continue
		}
		if c.out.room() != nil {
			return nil
		}
		if err := c.dispatch(t, request, payload); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
}

// broken says what the client is told about an error of reading: nothing if it went away or was asked to.
func (c *conn) broken(err error) error {
	var frame *wire.FrameError
	var refused *requestError
	c.mu.Lock()
	left := c.left
	c.mu.Unlock()
	switch {
	case left:
		return nil
	case errors.As(err, &frame), errors.As(err, &refused):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal(wire.CodeIdle, "a frame was not finished in time")
	}
	return nil
}

// refuse tells the client why its connection ends, and reports whether there was anything to tell.
func (c *conn) refuse(err error) bool {
	if err == nil || errors.Is(err, errHelloRefused) {
		return err != nil
	}
	code, _ := wire.CodeOf(err)
	var refused *requestError
	if errors.As(err, &refused) {
		code = refused.code
	}
	c.broker.metrics.failures(code).Inc()
	c.broker.refusals.note(c.tls.RemoteAddr(), err)
	c.send(0, &wire.Failure{Code: code, MinVersion: wire.Version, MaxVersion: wire.Version, Detail: clip(err.Error())})
	return true
}

func (c *conn) hello(request uint32, payload []byte, refused error) error {
	var h wire.Hello
	if err := h.Decode(payload); err != nil {
		return err
	}
	o := &c.broker.o
	fail := func(code wire.Code, detail string) error {
		c.broker.metrics.refused.Inc()
		c.broker.metrics.failures(code).Inc()
		c.broker.refusals.note(c.tls.RemoteAddr(), refusal(code, "%s", detail))
		c.send(request, &wire.Failure{Code: code, MinVersion: wire.Version, MaxVersion: wire.Version, Detail: detail})
		return errHelloRefused
	}
	if _, ok := h.Common(); !ok {
		return fail(wire.CodeUnsupportedVersion, "this node speaks protocol version 1")
	}
	if h.Cluster != ([16]byte{}) && h.Cluster != o.Cluster {
		return fail(wire.CodeWrongCluster, "this node belongs to another cluster")
	}
	var no *requestError
	if errors.As(refused, &no) {
		return fail(no.code, no.detail)
	}
	reply := &wire.HelloReply{
		Version: wire.Version, Cluster: o.Cluster, Incarnation: c.broker.dir.node.incarnation, Node: o.Node,
		Proofs: wire.ProofCertificate, TimeMillis: c.broker.clock.now(), Principal: c.principal,
		Limits: wire.Limits{
			BodyBytes: uint32(o.BodyBytes), FrameBytes: wire.FrameBytes, BatchItems: wire.BatchItems,
			InFlightRequests: requestsInFlight, InFlightBytes: requestBytesInFlight,
			Subscriptions: subscriptionsPerConn, WaitMillis: wire.WaitMillis, NotAfterMaxMillis: uint64(timeToLive / time.Millisecond),
		},
	}
	rand.Read(reply.Nonce[:])
	return c.send(request, reply)
}

// errHelloRefused ends a connection whose hello was answered with a failure.
var errHelloRefused = errors.New("hello refused")

// begin notes a request. An error under wire.ErrRequestID ends the connection; any other is the request's answer.
func (c *conn) begin(request uint32, bytes int) error {
	c.mu.Lock()
	_, open := c.open[request]
	if !open {
		c.open[request] = bytes
		c.openBytes += bytes
	}
	full := len(c.open) > requestsInFlight || c.openBytes > requestBytesInFlight
	c.mu.Unlock()
	if open {
		return fmt.Errorf("%w: the request is open", wire.ErrRequestID)
	}
	c.inFlight.Add(1)
	switch {
	case c.leaving.Load():
		return refusal(wire.CodeShuttingDown, "the node takes no new requests on this connection")
	case full:
		return refusal(wire.CodeOverloaded, "too much of this connection is without an answer")
	}
	return nil
}

// end takes a request off the books. It is false if it is not open: then it must not be answered.
func (c *conn) end(request uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	bytes, open := c.open[request]
	if open {
		c.openBytes -= bytes
		delete(c.open, request)
	}
	return open
}

// send appends one frame to the outbox.
func (c *conn) send(request uint32, m wire.Message) error {
	return c.out.append(func(dst []byte) []byte { return wire.AppendFrame(dst, request, m) })
}

// sendIf is send for what may have become wrong: still says whether it is right, after everything that was sent before
// and before everything that is sent after. It must neither block nor lock.
func (c *conn) sendIf(still func() bool, request uint32, m wire.Message) (sent bool, err error) {
	err = c.out.append(func(dst []byte) []byte {
		if sent = still(); sent {
			dst = wire.AppendFrame(dst, request, m)
		}
		return dst
	})
	return sent, err
}

// answer ends a request, from any goroutine. Every request is answered once, by answer or what calls it.
func (c *conn) answer(request uint32, m wire.Message) {
	if !c.end(request) {
		c.broker.log.Error("a request was to be answered twice", "type", m.Type().String())
		return
	}
	c.send(request, m)
	if c.inFlight.Add(-1) == 0 && c.leaving.Load() {
		c.leave()
	}
}

func (c *conn) fail(request uint32, code wire.Code, detail string) {
	c.failWith(request, &wire.Failure{Code: code, Detail: clip(detail)})
}

// failErr answers a request with what the client is told about err. It returns nil, for handlers to return.
func (c *conn) failErr(request uint32, g *mailGroup, err error) error {
	var of *group
	if g != nil {
		of = &g.group
	}
	c.failWith(request, c.broker.failure(of, err))
	return nil
}

func (c *conn) failWith(request uint32, f *wire.Failure) {
	f.MinVersion, f.MaxVersion = wire.Version, wire.Version
	c.broker.metrics.failures(f.Code).Inc()
	c.answer(request, f)
}

// leading returns the mail group of a slot, and an error unless this node leads it.
func (c *conn) leading(slot uint16) (*mailGroup, error) {
	if slot >= wire.Slots {
		return nil, refusal(wire.CodeBadRequest, "there is no such slot")
	}
	g := c.broker.mail[slotGroup(slot, len(c.broker.mail))-1]
	return g, g.mustLead()
}
