package broker_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/wire"
)

// TestShutdownAnswersWhatIsInFlight: every request that a node has taken gets its answer, new ones are refused, and
// then the connection ends.
func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	c := startCluster(t, 1, 1, nil)
	box := c.owned(t, "inflight", "inflight.box")
	conn := c.leading(t, "inflight", "inflight.box")
	s := newSender(box)
	open := map[uint32]bool{}
	for range 200 {
		open[conn.request(s.batch(sealed(2000)))] = true
	}
	waiting := pull(box)
	waiting.WaitMillis, waiting.EpochLow, waiting.EpochHigh = 60_000, 9, 9
	open[conn.request(waiting)] = true
	open[conn.request(&wire.Subscribe{Mailbox: box, EpochLow: 9, EpochHigh: 9, CreditMessages: 1,
		CreditBytes: 1})] = true
	conn.call(&wire.Ping{}) // its answer says that the node has taken all that came before
	if err := c.stop("n1"); err != nil {
		t.Error(err)
	}
	next := func() (f frame, err error) {
		if len(conn.early) == 0 {
			return conn.read()
		}
		f, conn.early = conn.early[0], conn.early[1:]
		return f, nil
	}
	stored, away := 0, false
	for {
		f, err := next()
		if err != nil {
			if !isEnd(err) {
				t.Error(err)
			}
			break
		}
		if g, ok := f.message.(*wire.GoAway); ok {
			away = g.Code == wire.CodeShuttingDown
			continue
		}
		if !open[f.request] {
			t.Errorf("request %d was answered twice, or never made", f.request)
		}
		delete(open, f.request)
		switch m := f.message.(type) {
		case *wire.SendReply:
			results(t, m, wire.CodeOK)
			stored++
		case *wire.Failure:
			if m.Code.Outcome() != wire.Definite || !m.Code.Retryable() {
				t.Errorf("%d: %v", f.request, m.Code)
			}
		case *wire.SubscriptionEnd:
			if m.Code != wire.CodeShuttingDown && m.Code != wire.CodeNotLeader && m.Code != wire.CodeUnavailable {
				t.Errorf("the subscription ended with %v", m.Code)
			}
		default:
			t.Errorf("%d: %T", f.request, m)
		}
	}
	if !away || len(open) > 0 {
		t.Errorf("goaway %v, %d without an answer", away, len(open))
	}
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	info := retry[*wire.MailboxInfo](t, c.leading(t, "inflight", "inflight.box"),
		&wire.MailboxShow{Name: "inflight.box"})
	if int(info.Ready) < stored {
		t.Errorf("%d were acknowledged, %d are there", stored, info.Ready)
	}
}

// TestShutdownEndsWithItsContext although a client does not read, and closing again does nothing.
func TestShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	box := c.owned(t, "stubborn", "stubborn.box")
	conn := c.leading(t, "stubborn", "stubborn.box")
	s := newSender(box)
	for range 30 {
		results(t, conn.call(s.batch(sealed(500_000))), wire.CodeOK)
	}
	m := subscribe(box)
	m.CreditBytes = wire.CreditBytes
	conn.request(m) // 15 MB that nobody reads
	b := c.take("n1")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	began := time.Now()
	if err := b.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { b.Close() })
		all.Go(func() { b.Shutdown(ctx) })
	}
	all.Wait()
}

// TestOpenHalfwayLeavesNothing: whatever Open stumbles over, nothing runs afterwards and every port is free.
func TestOpenHalfwayLeavesNothing(t *testing.T) {
	c := startCluster(t, 1, 1, nil)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	taken := occupied(t)
	listeners := func() (o broker.Options, all []net.Listener) {
		o = c.nodes["n1"]
		for _, to := range []*net.Listener{&o.ClientListener, &o.PeerListener, &o.OperatorListener} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			*to = l
			all = append(all, l)
		}
		return o, all
	}
	for name, change := range map[string]func(*broker.Options){
		"options":        func(o *broker.Options) { o.Groups = 0 },
		"certificates":   func(o *broker.Options) { o.Client.TLS.Cert = "none" },
		"a listener":     func(o *broker.Options) { o.OperatorListener, o.Operator.Address = nil, taken },
		"the data":       func(o *broker.Options) { o.DataDir = t.TempDir() },
		"the groups":     func(o *broker.Options) { o.Groups = 2 },
		"the root key":   func(o *broker.Options) { o.RootKey = "none" },
		"the membership": func(o *broker.Options) { o.Node = "n2" },
		"the peer's port": func(o *broker.Options) {
			o.PeerListener.Close()
			o.PeerListener, o.Peer.Address = nil,
				taken
		},
	} {
		o, all := listeners()
		change(&o)
		if b, err := broker.Open(o); err == nil {
			b.Close()
			t.Errorf("%s: it starts", name)
		}
		for _, l := range all {
			if l != o.ClientListener && l != o.PeerListener && l != o.OperatorListener {
				l.Close() // was taken back
				continue
			}
			again, err := net.Listen("tcp", l.Addr().String())
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			again.Close()
		}
		if err := goleak.Find(before); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
