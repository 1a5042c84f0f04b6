package broker

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// acceptPause is how long the listener rests after a failed accept (no file descriptors left, say) before it tries
	// again: the connections that exist need the processor more.
	acceptPause = 50 * time.Millisecond
	// strangers bounds the connections that have not proved an identity. When there are so many, the oldest makes room
	// once it has taken longer than an honest handshake does.
	strangers    = 1024
	patienceTime = 500 * time.Millisecond
)

// listener accepts clients, bounds how many there are, and lets each prove itself within wire.PreAuthMillis.
type listener struct {
	broker *Broker
	inner  net.Listener
	config *tls.Config

	mu        sync.Mutex
	strangers list.List // of stranger: not proved yet, or refused; the oldest first
	conns     map[*conn]struct{}
	closed    bool
	done      sync.WaitGroup
}

// stranger is a connection that has not been admitted.
type stranger struct {
	conn  *conn
	since time.Time
}

func newListener(b *Broker, inner net.Listener, config *tls.Config) *listener {
	return &listener{broker: b, inner: inner, config: config, conns: map[*conn]struct{}{}}
}

func (l *listener) serve() {
	defer l.done.Done()
	for {
		raw, err := l.inner.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.broker.warnings.note("cannot accept connections", "listener", "client", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		c := newConn(l.broker, raw, l.config)
		place, err := l.enter(c)
		if err != nil {
			l.broker.metrics.refused.Inc()
			l.broker.refusals.note(raw.RemoteAddr(), err)
			raw.Close()
			continue
		}
		go l.handle(c, place)
	}
}

var (
	errCrowded  = refusal(wire.CodeOverloaded, "too many connections are being made")
	errOccupied = refusal(wire.CodeOverloaded, "the node has as many connections as it may")
	errStopping = refusal(wire.CodeShuttingDown, "the node is stopping")
)

// enter lets a stranger begin, if need be in the place of one that has had its time.
func (l *listener) enter(c *conn) (*list.Element, error) {
	now := time.Now()
	l.mu.Lock()
	var slow *conn
	var err error
	if l.strangers.Len() >= strangers {
		if oldest := l.strangers.Front().Value.(stranger); now.Sub(oldest.since) > patienceTime {
			l.strangers.Remove(l.strangers.Front())
			slow = oldest.conn
		} else {
			err = errCrowded
		}
	}
	if l.closed {
		err = errStopping
	}
	var place *list.Element
	if err == nil {
		place = l.strangers.PushBack(stranger{c, now})
		l.done.Add(1)
	}
	l.mu.Unlock()
	if slow != nil {
		slow.cut()
	}
	return place, err
}

func (l *listener) handle(c *conn, place *list.Element) {
	defer l.done.Done()
	defer l.remove(c, place)
	if err := c.shake(); err != nil {
		answerHTTP(err)
		c.linger()
		c.cut()
		return
	}
	c.run(l.admit(c, place))
}

// answerHTTP tells a browser, or whoever probes the port in plain HTTP, what this port is. Nothing else that is no TLS
// is answered.
func answerHTTP(err error) {
	var e tls.RecordHeaderError
	if !errors.As(err, &e) || e.Conn == nil {
		return
	}
	switch string(e.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "CONNE", "TRACE":
		e.Conn.SetWriteDeadline(time.Now().Add(patienceTime))
		io.WriteString(e.Conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+
			"This port speaks the protocol of SealMQ over TLS 1.3, not HTTP.\n")
	}
}

// admit makes a stranger a client. One that is refused keeps a stranger's place.
func (l *listener) admit(c *conn, place *list.Element) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return errStopping
	case len(l.conns) >= l.broker.o.Connections:
		return errOccupied
	}
	l.strangers.Remove(place)
	l.conns[c] = struct{}{}
	return nil
}

func (l *listener) remove(c *conn, place *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strangers.Remove(place)
	delete(l.conns, c)
}

func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// all returns the connections of clients, and those of strangers.
func (l *listener) all() (clients, others []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		clients = append(clients, c)
	}
	for e := l.strangers.Front(); e != nil; e = e.Next() {
		others = append(others, e.Value.(stranger).conn)
	}
	return clients, others
}

// stop accepts nobody any more.
func (l *listener) stop() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.inner.Close()
}

// drain tells every client to go, and waits for them until ctx ends; then it cuts them off. late is called before that.
func (l *listener) drain(ctx context.Context, late func()) {
	l.stop()
	grace := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok {
		grace = time.Until(deadline)
	}
	clients, others := l.all()
	for _, c := range clients {
		c.goAway(wire.CodeShuttingDown, grace)
	}
	for _, c := range others {
		c.cut()
	}
	gone := make(chan struct{})
	go func() {
		l.done.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		late()
		clients, others = l.all()
		for _, c := range append(clients, others...) {
			c.cut()
		}
		<-gone
	}
}

// outdated ends the connections of clients whose certificate has run out since they showed it.
func (l *listener) outdated(now time.Time) {
	clients, _ := l.all()
	for _, c := range clients {
		if now.After(c.expires) {
			c.goAway(wire.CodeUnauthenticated, 0)
		}
	}
}
