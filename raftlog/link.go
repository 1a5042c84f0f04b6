package raftlog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	firstBackoff = 20 * time.Millisecond
	// handshakeTimeout bounds TLS and hello on a new connection, whatever the Raft timeout is.
	handshakeTimeout = 5 * time.Second
)

// link is one outgoing connection to a peer: it dials, says hello, sends requests, matches replies by id, and starts
// over when the connection dies.
type link struct {
	host    *Host
	peer    *peer
	channel channel
	silence time.Duration
	kicked  chan struct{} // ends a backoff: the peer has just shown that it is there

	mu      sync.Mutex
	conn    *conn         // nil while the link is down
	changed chan struct{} // closed and replaced when conn changes
	id      uint64
	calls   map[uint64]chan<- reply
}

// reply is what came back for a request.
type reply struct {
	typ     frameType
	payload []byte
	err     error
}

func newLink(h *Host, p *peer, ch channel, silence time.Duration) *link {
	return &link{
		host: h, peer: p, channel: ch, silence: silence,
		kicked: make(chan struct{}, 1), changed: make(chan struct{}), calls: make(map[uint64]chan<- reply),
	}
}

// run keeps the link up until ctx ends.
func (l *link) run(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		c, err := l.dial(ctx)
		if err == nil {
			backoff = firstBackoff
			l.host.log.info(l.name(), "peer connected", "peer", l.peer.node, "channel", l.channel.String())
			err = l.serve(ctx, c)
		}
		if ctx.Err() != nil {
			return
		}
		l.host.log.warn(l.name(), "peer not connected", "peer", l.peer.node, "channel", l.channel.String(), "error", err)
		pause := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-ctx.Done():
		case <-l.kicked:
		case <-pause.C:
		}
		pause.Stop()
		backoff = min(2*backoff, max(l.host.o.Timeout/4, firstBackoff))
	}
}

// name is the topic of the link's lines.
func (l *link) name() string { return l.peer.node + l.channel.String() }

// kick makes a link that waits dial at once.
func (l *link) kick() {
	select {
	case l.kicked <- struct{}{}:
	default:
	}
}

// dial connects and says hello.
func (l *link) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	n, err := l.host.o.Dial(ctx, l.peer.node, l.peer.addressNow())
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := newConn(n)
	stop := context.AfterFunc(ctx, func() { c.close(errTimeout) })
	w, err := l.greet(c)
	if !stop() {
		<-c.dead
		err = c.cause
	}
	if err == nil {
		err = l.peer.claim(w.process, c)
	}
	if err != nil {
		c.close(err)
		return nil, fmt.Errorf("hello: %w", err)
	}
	return c, nil
}

func (l *link) greet(c *conn) (welcome, error) {
	o := &l.host.o
	payload := appendHello(nil, hello{
		minVersion: protocolVersion, maxVersion: protocolVersion, channel: l.channel,
		cluster: o.Cluster, process: l.host.process, from: o.Node, to: l.peer.node,
	})
	front := append(appendHead(nil, head{typ: frameHello, size: len(payload)}), payload...)
	if err := c.send(nil, nil, front, nil); err != nil {
		return welcome{}, err
	}
	var buf [smallFrameBytes]byte
	h, b, err := c.readSmall(&buf)
	if err != nil {
		return welcome{}, err
	}
	if h.typ != frameWelcome {
		return welcome{}, fmt.Errorf("%w: no welcome", errFrame)
	}
	w, err := parseWelcome(b)
	switch {
	case err != nil:
		return welcome{}, err
	case w.refusal != accepted:
		return welcome{}, w.refusal.err()
	case w.version != protocolVersion:
		return welcome{}, errVersion
	case w.cluster != o.Cluster:
		return welcome{}, errCluster
	case w.node != l.peer.node:
		return welcome{}, errWrongNode
	}
	return w, nil
}

// serve makes the connection the link's own and reads replies until it dies.
func (l *link) serve(ctx context.Context, c *conn) error {
	stop := context.AfterFunc(ctx, func() { c.close(errClosed) })
	defer stop()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		c.watch(l.silence, true)
	}()
	l.replace(c)
	c.close(l.readReplies(c))
	for _, answer := range l.replace(nil) {
		answer <- reply{err: c.cause}
	}
	<-watching
	l.peer.release(c, l.channel)
	return c.cause
}

// replace changes the connection, and returns the calls that the old one leaves without an answer.
func (l *link) replace(c *conn) map[uint64]chan<- reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.calls
	l.conn, l.calls = c, make(map[uint64]chan<- reply)
	close(l.changed)
	l.changed = make(chan struct{})
	return lost
}

func (l *link) readReplies(c *conn) error {
	var buf [smallFrameBytes]byte
	for {
		h, payload, err := c.readSmall(&buf)
		if err != nil {
			return fmt.Errorf("read from peer: %w", err)
		}
		switch h.typ {
		case framePong:
			if h.size != 0 {
				return fmt.Errorf("%w: pong with a payload", errFrame)
			}
		case frameFailure, frameVoteReply, framePreVoteReply, frameAppendReply, frameTimeoutReply, frameStandingReply,
			frameReadIndexReply:
			l.mu.Lock()
			answer := l.calls[h.id]
			delete(l.calls, h.id)
			l.mu.Unlock()
			if answer != nil { // else whoever asked has given up
				answer <- reply{typ: h.typ, payload: append([]byte(nil), payload...)}
			}
		default:
			return fmt.Errorf("%w: type %d in a reply", errFrame, h.typ)
		}
	}
}

// connected reports whether the link is up.
func (l *link) connected() bool {
	c, _ := l.current()
	return c != nil
}

// current returns the connection, nil if there is none that lives, and a channel that is closed when that changes.
func (l *link) current() (*conn, <-chan struct{}) {
	l.mu.Lock()
	c, changed := l.conn, l.changed
	l.mu.Unlock()
	if c != nil {
		select {
		case <-c.dead:
			c = nil
		default:
		}
	}
	return c, changed
}

// ready returns the connection, waiting for it as long as the request has patience.
func (l *link) ready(q request) (*conn, error) {
	c, changed := l.current()
	if c != nil {
		return c, nil
	}
	timer := time.NewTimer(max(q.patience, q.timeout))
	defer timer.Stop()
	for c == nil {
		select {
		case <-changed:
		case <-q.stop:
			return nil, errStopped
		case <-timer.C:
			return nil, errTimeout
		}
		c, changed = l.current()
	}
	return c, nil
}

// request is one call: payload is what follows the head, entries' data follows that.
type request struct {
	typ     frameType
	group   uint16
	payload []byte
	entries []*raft.Log
	// patience bounds the wait for a link that is down (timeout if 0), timeout the wait for the reply.
	patience, timeout time.Duration
	stop              <-chan struct{}
}

// call sends a request and waits for its reply. A reply of another type than the request's is an error.
func (l *link) call(q request) ([]byte, error) {
	c, err := l.ready(q)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(q.timeout)
	defer timer.Stop()
	answer := make(chan reply, 1)
	id, ok := l.register(c, answer)
	if !ok {
		return nil, errClosed
	}
	defer l.forget(id)
	size := len(q.payload)
	for _, e := range q.entries {
		size += len(e.Data)
	}
	front := make([]byte, 0, headBytes+len(q.payload))
	front = appendHead(front, head{typ: q.typ, group: q.group, id: id, size: size})
	front = append(front, q.payload...)
	if err := c.send(q.stop, timer.C, front, q.entries); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r.result(q.typ)
	case <-q.stop:
		return nil, errStopped
	case <-timer.C:
		return nil, errTimeout
	}
}

func (r reply) result(asked frameType) ([]byte, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.typ == frameFailure:
		f, err := parseFailure(r.payload)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: code %d", errRefused, f)
	case r.typ != asked+1:
		return nil, fmt.Errorf("%w: reply of type %d", errFrame, r.typ)
	}
	return r.payload, nil
}

// register gives a call its id, unless the connection has died since.
func (l *link) register(c *conn, answer chan<- reply) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != c {
		return 0, false
	}
	l.id++
	l.calls[l.id] = answer
	return l.id, true
}

func (l *link) forget(id uint64) {
	l.mu.Lock()
	delete(l.calls, id)
	l.mu.Unlock()
}
