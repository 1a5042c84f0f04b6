package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/wire"
)

func TestServerMustProveItsName(t *testing.T) {
	f := newFake(t, 2)
	other := newFake(t, 1)
	good := f.options(t, "alice")
	tests := map[string]struct {
		change func(*Options)
		code   Code
	}{
		"another node's certificate": {func(*Options) {
			f.nodes["n1"].config, f.nodes["n2"].config = f.nodes["n2"].config, f.nodes["n1"].config
		}, CodeUnauthenticated},
		"a service's certificate": {func(*Options) { f.setCertificate(f.ca.issue("svc/n1")) }, CodeUnauthenticated},
		"another authority":       {func(o *Options) { o.CA = other.ca.pool }, CodeUnauthenticated},
		"another cluster's node":  {func(*Options) { f.setCertificate(other.ca.issue("node/n1")) }, CodeUnauthenticated},
		"another cluster":         {func(o *Options) { o.Cluster = strings.Repeat("ab", 16) }, CodeUnauthenticated},
	}
	configs := []*tls.Config{f.nodes["n1"].config, f.nodes["n2"].config}
	for name, tt := range tests {
		o := good
		tt.change(&o)
		c, err := Connect(context.Background(), o)
		if err == nil {
			c.Close()
		}
		if e := asErrorOrNil(err); e == nil || e.Code != tt.code || e.Retryable || e.Outcome != Definite {
			t.Errorf("%s: %v", name, err)
		}
		f.nodes["n1"].config, f.nodes["n2"].config = configs[0], configs[1]
	}
}

// setCertificate gives every node the same certificate.
func (f *fakeCluster) setCertificate(pair tls.Certificate) {
	for _, n := range f.nodes {
		config := n.config.Clone()
		config.Certificates = []tls.Certificate{pair}
		n.config = config
	}
}

func TestClientMustBeKnown(t *testing.T) {
	f := startFake(t, 1, true)
	o := f.options(t, "alice")
	pair := newFakeCA(f.id).issue("svc/alice")
	o.Certificate = &pair
	_, err := Connect(context.Background(), o)
	if e := asErrorOrNil(err); e == nil || e.Code != CodeUnauthenticated || e.Retryable {
		t.Errorf("%v", err)
	}
}

// A hint counts only if the node at the address proves to be the one that the hint names.
func TestHintedAddressMustProveItself(t *testing.T) {
	f := newFake(t, 2)
	alice, bob := pair(t, f)
	f.lead("n2")
	elsewhere := newFake(t, 1)
	elsewhere.nodes["n1"].address = "evil:1"
	var dialled atomic.Int32
	alice.transport.dial = func(ctx context.Context, address string) (net.Conn, error) {
		if address == "evil:1" {
			dialled.Add(1)
			return elsewhere.dial(ctx, address)
		}
		return f.dial(ctx, address)
	}
	var sends atomic.Int32
	f.onRequest(func(r *fakeRequest) fault {
		if r.t == wire.TypeSend && sends.Add(1) == 1 {
			return fault{failure: &wire.Failure{Code: wire.CodeNotLeader, Leader: wire.Leader{Node: "n9", Address: "evil:1"}}}
		}
		return fault{}
	})
	mustSend(t, alice, "box", "x")
	if dialled.Load() == 0 {
		t.Error("the hint was never followed: nothing was put to the test")
	}
	elsewhere.mu.Lock()
	defer elsewhere.mu.Unlock()
	if len(elsewhere.observed) != 0 {
		t.Error("a request went to a node that could not prove its name")
	}
	_ = bob
}

func TestNotANode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.Close()
		}
	}()
	f := newFake(t, 1)
	o := f.options(t, "alice")
	o.Nodes, o.dial = map[string]string{"n1": l.Addr().String()}, nil
	ctx, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer stop()
	_, err = Connect(ctx, o)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no connection to node n1") {
		t.Errorf("%v", err)
	}
	l.Close()
	<-done
}

// A node that says it goes away finishes what it has, and the rest goes elsewhere.
func TestGoAway(t *testing.T) {
	f := newFake(t, 2)
	alice, bob := pair(t, f)
	s := alice.Sender("box")
	var sends atomic.Int32
	f.onRequest(func(r *fakeRequest) fault {
		if r.t == wire.TypeSend && sends.Add(1)%5 == 0 {
			f.lead([]string{"n1", "n2"}[sends.Load()/5%2])
			f.mu.Lock()
			for c := range r.node.conns {
				c.answer(0, &wire.GoAway{Code: wire.CodeShuttingDown})
			}
			f.mu.Unlock()
		}
		return fault{}
	})
	for range 200 {
		if _, err := s.Send(t.Context(), []byte("x")).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := bob.ShowMailbox(t.Context(), "box"); err != nil || m.Ready != 200 {
		t.Errorf("%d messages, %v", m.Ready, err)
	}
}

// A node that stops answering without closing its connection is found out.
func TestSilentNodeIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 2)
		alice, bob := pair(t, f)
		f.lead("n1")
		mustSend(t, alice, "box", "1")
		f.onRequest(func(r *fakeRequest) fault { return fault{silent: r.node.id == "n1"} })
		time.AfterFunc(time.Second, func() { f.lead("n2") })
		time.Sleep(2 * time.Second)
		began := time.Now()
		if _, err := alice.Send(t.Context(), "box", []byte("2")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > answerTimeout+2*time.Second {
			t.Errorf("it took %v", d)
		}
		_ = bob
	})
}

// lateSource makes a frame while something happens to its connection.
type lateSource struct {
	meanwhile func()
	answers   []error
}

func (s *lateSource) frame(dst []byte, _ *conn, _ uint32) ([]byte, waiter, bool) {
	s.meanwhile()
	return append(dst, "a request"...), s, false
}

func (s *lateSource) dropped(*conn, error) {}
func (s *lateSource) subscribed() bool     { return false }

func (s *lateSource) answer(_ *conn, _ wire.Type, _ []byte, err error) {
	s.answers = append(s.answers, err)
}

// A request that is said not to have been sent is not written, though its frame was made when the connection ended or
// the node said that it goes away. What stands before it in the buffer stays.
func TestNotSentIsNotWritten(t *testing.T) {
	for name, meanwhile := range map[string]func(*conn){
		"the connection ends": func(c *conn) {
			c.mu.Lock()
			c.err = errConnLost
			c.mu.Unlock()
		},
		"the node goes away": func(c *conn) { c.notice(wire.TypeGoAway, nil) },
	} {
		c := &conn{wake: make(chan struct{}, 1), dead: make(chan struct{})}
		c.hello.Limits.InFlightRequests, c.hello.Limits.InFlightBytes = 1000, 1<<20
		s := &lateSource{meanwhile: func() { meanwhile(c) }}
		if !c.enqueue(s) {
			t.Fatal(name)
		}
		buf := c.gather([]byte("before"))
		if len(s.answers) != 1 || !errors.Is(s.answers[0], errNotSent) {
			t.Errorf("%s: its waiter was told %v", name, s.answers)
		}
		if string(buf) != "before" {
			t.Errorf("%s: %q is written", name, buf)
		}
	}
}

// An idle connection stays, and is looked after.
func TestIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		f.limits.IdleMillis = 20_000
		alice, _ := pair(t, f)
		time.Sleep(10 * time.Minute)
		mustSend(t, alice, "box", "x")
		f.mu.Lock()
		conns := len(f.nodes["n1"].conns)
		pings := 0
		for _, o := range f.observed {
			if o.message.Type() == wire.TypePing {
				pings++
			}
		}
		f.mu.Unlock()
		if conns != 2 || pings < 60 || pings > 300 {
			t.Errorf("%d connections, %d pings in ten minutes", conns, pings)
		}
	})
}

// A node asks, too; its request ids are its own.
func TestNodeAsks(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	mustSend(t, alice, "box", "1")
	f.mu.Lock()
	for c := range f.nodes["n1"].conns {
		for id := range uint32(20) {
			c.answer(id+1, &wire.Ping{})
		}
	}
	f.mu.Unlock()
	waitFor(t, func() bool { return len(taken[*wire.Pong](f)) == 40 })
	mustSend(t, alice, "box", "2")
	if m, err := bob.ShowMailbox(t.Context(), "box"); err != nil || m.Ready != 2 {
		t.Errorf("%+v, %v", m, err)
	}
}

// The requests and bytes under way stay within what a node allows.
func TestInFlightLimits(t *testing.T) {
	f := newFake(t, 1)
	f.limits.InFlightRequests = spareRequests + 4
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	var names []string
	for i := range 20 {
		names = append(names, strings.Repeat("x", i+1))
		mustCreate(t, bob, names[i])
	}
	node, _ := alice.routes.any(t.Context())
	var most atomic.Int32
	f.onRequest(func(r *fakeRequest) fault {
		node.mu.Lock()
		defer node.mu.Unlock()
		most.Store(max(most.Load(), int32(node.calls.taken)))
		return fault{}
	})
	for round := range 20 {
		for _, name := range names {
			box, _ := alice.mailbox(name)
			box.ownSender().Send(t.Context(), []byte{byte(round)})
		}
	}
	for _, name := range names {
		box, _ := alice.mailbox(name)
		if err := box.ownSender().Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := most.Load(); n > 5 || n < 2 {
		t.Errorf("%d requests were under way, with room for 4 and one more", n)
	}
}
