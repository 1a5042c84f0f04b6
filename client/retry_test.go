package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// sentIDs returns the ids of the messages in every send that was taken, in order.
func sentIDs(f *fakeCluster) (ids []MessageID) {
	for _, m := range taken[*wire.Send](f) {
		for i := range m.Items {
			ids = append(ids, MessageID(m.Items[i].Header.ID))
		}
	}
	return ids
}

// nth returns a hook that gives the nth request of a type a fault.
func nth(t wire.Type, n int32, what fault) func(*fakeRequest) fault {
	var count atomic.Int32
	return func(r *fakeRequest) fault {
		if r.t == t && count.Add(1) == n {
			return what
		}
		return fault{}
	}
}

func TestSendIsRetriedWithItsID(t *testing.T) {
	moved := &wire.Failure{Code: wire.CodeNotLeader, Leader: wire.Leader{Node: "n1", Address: "n1:7420"}}
	tests := []struct {
		name      string
		what      fault
		sends     int // that were taken
		duplicate bool
	}{
		{"cut before", fault{before: true}, 1, false},
		{"cut after", fault{after: true}, 2, true},
		{"not leader, with a hint", fault{failure: moved}, 1, false},
		{"not leader, without", fault{failure: &wire.Failure{Code: wire.CodeNotLeader}}, 1, false},
		{"unavailable", fault{failure: &wire.Failure{Code: wire.CodeUnavailable, RetryAfterMillis: 50}}, 1, false},
		{"full", fault{failure: &wire.Failure{Code: wire.CodeFull}}, 1, false},
		{"leadership lost", fault{failure: &wire.Failure{Code: wire.CodeLeadershipLost}}, 1, false},
		{"shutting down", fault{failure: &wire.Failure{Code: wire.CodeShuttingDown}}, 1, false},
		{"silent", fault{silent: true}, 2, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1)
				alice, bob := f.client(t, "alice"), f.client(t, "bob")
				mustCreate(t, bob, "box")
				f.onRequest(nth(wire.TypeSend, 1, tt.what))
				sent, err := alice.Send(t.Context(), "box", []byte("x"))
				if err != nil || sent.Duplicate != tt.duplicate || sent.Seq != 1 {
					t.Errorf("%+v, %v", sent, err)
				}
				ids := sentIDs(f)
				if len(ids) != tt.sends || slices.ContainsFunc(ids, func(id MessageID) bool { return id != sent.ID }) {
					t.Errorf("ids %v, want %d times %v", ids, tt.sends, sent.ID)
				}
				if m, _ := bob.ShowMailbox(t.Context(), "box"); m.Ready != 1 {
					t.Errorf("%d messages are stored", m.Ready)
				}
			})
		})
	}
}

// When time runs out, the error says whether the message may have got through.
func TestOutcomeAtTheDeadline(t *testing.T) {
	tests := []struct {
		name    string
		what    fault
		outcome Outcome
		code    Code
	}{
		{"refused", fault{failure: &wire.Failure{Code: wire.CodeFull}}, Definite, CodeFull},
		{"cut before", fault{before: true}, Unknown, CodeTimeout},
		{"cut after", fault{after: true}, Unknown, CodeTimeout},
		{"silent", fault{silent: true}, Unknown, CodeTimeout},
		{"unknown, then refused", fault{failure: &wire.Failure{Code: wire.CodeTimeout}}, Unknown, CodeTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1)
				alice, bob := f.client(t, "alice"), f.client(t, "bob")
				mustCreate(t, bob, "box")
				f.onRequest(func(r *fakeRequest) fault {
					if r.t == wire.TypeSend {
						return tt.what
					}
					return fault{}
				})
				began := time.Now()
				_, err := alice.Send(t.Context(), "box", []byte("x"))
				e := asError(err)
				if err == nil || e.Outcome != tt.outcome || e.Code != tt.code || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, outcome %v", err, e.Outcome)
				}
				if d := time.Since(began); d != defaultTimeout {
					t.Errorf("gave up after %v", d)
				}
			})
		})
	}
}

// A refusal for good after an attempt whose answer was lost does not say that nothing happened.
func TestUnknownStaysUnknown(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	mustCreate(t, bob, "box")
	var sends atomic.Int32
	f.onRequest(func(r *fakeRequest) fault {
		switch {
		case r.t != wire.TypeSend:
			return fault{}
		case sends.Add(1) == 1:
			return fault{after: true}
		}
		return fault{failure: refuseWith(wire.CodePermissionDenied)}
	})
	_, err := alice.Send(context.Background(), "box", []byte("x"))
	if e := asError(err); e.Code != CodePermissionDenied || e.Outcome != Unknown {
		t.Errorf("%v, outcome %v", err, e.Outcome)
	}
}

// A message that may be stored is not sent again once the cluster may have forgotten its id, however long its caller
// would wait: it would be stored twice. What certainly is not stored is tried until its time is up.
func TestForgottenIsNotSentAgain(t *testing.T) {
	full := fault{failure: refuseWith(wire.CodeFull)}
	isFull := func(time.Duration) fault { return full }
	ok := func(time.Duration) fault { return fault{} }
	away := func(f *fakeCluster, d time.Duration) {
		f.setDown("n1", true)
		time.AfterFunc(d, func() { f.setDown("n1", false) })
	}
	tests := []struct {
		name   string
		opts   []SendOption
		first  fault
		then   func(f *fakeCluster)            // once the first attempt was made
		later  func(since time.Duration) fault // of attempts after the first
		stored uint64
		code   Code          // empty if it succeeds
		after  time.Duration // when its result comes, at least; a second more at most
	}{
		{"nobody for a quarter of an hour", nil, fault{after: true},
			func(f *fakeCluster) { away(f, 15*time.Minute) }, ok, 1, CodeTimeout, resendFor},
		{"the same with a key", []SendOption{Key("k")}, fault{after: true},
			func(f *fakeCluster) { away(f, 15*time.Minute) }, ok, 1, CodeTimeout, resendFor},
		{"nobody for eight minutes", nil, fault{after: true},
			func(f *fakeCluster) { away(f, 8*time.Minute) }, ok, 1, "", 8 * time.Minute},
		{"no room afterwards", nil, fault{after: true}, func(*fakeCluster) {}, isFull, 1, CodeFull, resendFor},
		{"no answer for twenty minutes", nil, fault{mute: true},
			func(f *fakeCluster) { time.AfterFunc(20*time.Minute, func() { away(f, time.Minute) }) }, ok, 1, CodeTimeout,
			20 * time.Minute},
		{"no room for twenty minutes", nil, full, func(*fakeCluster) {}, func(since time.Duration) fault {
			if since < 20*time.Minute {
				return full
			}
			return fault{}
		}, 1, "", 20 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1)
				alice, bob := f.client(t, "alice"), f.client(t, "bob")
				mustCreate(t, bob, "box")
				began := time.Now()
				var sends atomic.Int32
				f.onRequest(func(r *fakeRequest) fault {
					if r.t != wire.TypeSend {
						return fault{}
					}
					if sends.Add(1) > 1 {
						return tt.later(time.Since(began))
					}
					time.AfterFunc(time.Millisecond, func() { tt.then(f) })
					return tt.first
				})
				ctx, stop := context.WithTimeout(t.Context(), 2*time.Hour)
				defer stop()
				_, err := alice.Send(ctx, "box", []byte("x"), tt.opts...)
				if tt.code == "" && err != nil {
					t.Error(err)
				} else if e := asErrorOrNil(err); tt.code != "" && (e == nil || e.Code != tt.code ||
					e.Outcome != Unknown || !errors.Is(err, errForgotten)) {
					t.Errorf("%v", err)
				}
				if d := time.Since(began); d < tt.after || d > tt.after+time.Second {
					t.Errorf("the result came after %v", d)
				}
				time.Sleep(time.Hour)
				if m, err := bob.ShowMailbox(t.Context(), "box"); err != nil || m.Ready != tt.stored {
					t.Errorf("%d messages are stored, %v", m.Ready, err)
				}
			})
		})
	}
}

// What was given to the sender beside a message that must not be sent again goes on.
func TestForgottenLeavesTheOthers(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 1)
			alice, bob := f.client(t, "alice"), f.client(t, "bob")
			mustCreate(t, bob, "box")
			f.onRequest(nth(wire.TypeSend, 1, fault{after: true}))
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Hour)
			defer stop()
			s := alice.Sender("box")
			first := s.Send(ctx, []byte("1"))
			synctest.Wait()
			f.setDown("n1", true)
			time.Sleep(time.Second)
			second := s.Send(ctx, []byte("2"))
			if asleep {
				// The machine slept: no timer has run when the node is there again.
				s.mu.Lock()
				first.since = first.since.Add(-time.Hour)
				s.mu.Unlock()
			} else {
				time.Sleep(resendFor)
			}
			f.setDown("n1", false)
			if _, err := first.Wait(ctx); !errors.Is(err, errForgotten) || asError(err).Outcome != Unknown {
				t.Errorf("the first: %v", err)
			}
			if sent, err := second.Wait(ctx); err != nil || sent.Seq != 2 || sent.Duplicate {
				t.Errorf("the second: %+v, %v", sent, err)
			}
			if m, err := bob.ShowMailbox(ctx, "box"); err != nil || m.Ready != 2 {
				t.Errorf("%d messages are stored, %v", m.Ready, err)
			}
		})
	}
}

// The clock on the wall goes on while a machine sleeps, the other one does not.
func TestForgottenByEitherClock(t *testing.T) {
	now := time.Now()
	wall := now.Round(0)
	for _, tt := range []struct {
		since, now time.Time
		want       bool
	}{
		{now, now.Add(resendFor - 1), false}, {now, now.Add(resendFor), true},
		{now, wall.Add(resendFor - 1), false}, {now, wall.Add(resendFor), true},
	} {
		p := &Pending{unknown: true, since: tt.since}
		if got := p.forgotten(tt.now); got != tt.want {
			t.Errorf("%v after %v: %v", tt.now, tt.since, got)
		}
		if p.unknown = false; p.forgotten(tt.now) {
			t.Error("forgotten though it was never stored")
		}
	}
}

func TestNoNodeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 3)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		for id := range f.nodes {
			f.setDown(id, true)
		}
		_, err := alice.Send(t.Context(), "box", []byte("x"))
		if e := asError(err); e.Outcome != Definite || !e.Retryable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, outcome %v", err, e.Outcome)
		}
		o := f.options(t, "carol")
		if _, err := Connect(t.Context(), o); !isCode(err, CodeTimeout) {
			t.Errorf("connecting: %v", err)
		}
		// What was sent while nobody was there arrives when somebody is.
		s := alice.Sender("box")
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		p := make(chan *Pending)
		go func() { p <- s.Send(ctx, []byte("later")) }()
		time.Sleep(20 * time.Second)
		for id := range f.nodes {
			f.setDown(id, false)
		}
		if sent, err := (<-p).Wait(ctx); err != nil || sent.Seq != 1 {
			t.Errorf("%+v, %v", sent, err)
		}
	})
}

// Leaders change, connections break and nodes refuse while four hundred messages are in the pipeline: each is stored
// once, and those of one sender in the order of their calls.
func TestPipelineThroughFaults(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pipelineThroughFaults(t, seed) })
		})
	}
}

func pipelineThroughFaults(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	f := newFake(t, 3)
	f.limits.BatchItems = 8
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	mustCreate(t, bob, "box")
	// What a node refuses stays refused for what is under way behind it, as on a real connection: see Sender. So leaders
	// change no more often than once for all that may be under way.
	var sends int
	f.onRequest(func(r *fakeRequest) fault {
		if r.t != wire.TypeSend {
			return fault{}
		}
		sends++
		if sends%defaultInFlight != 0 || sends > 80 {
			return fault{}
		}
		switch random.IntN(4) {
		case 0:
			f.lead(fmt.Sprintf("n%d", 1+random.IntN(3)))
			return fault{}
		case 1:
			return fault{before: true}
		case 2:
			return fault{after: true}
		}
		node := r.node.id
		f.lead(fmt.Sprintf("n%d", 1+(int(node[1]-'0')%3)))
		return fault{}
	})
	s := alice.Sender("box")
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	const n = 400
	var pending []*Pending
	for i := range n {
		pending = append(pending, s.Send(ctx, fmt.Appendf(nil, "%d", i)))
	}
	seen := map[uint64]bool{}
	last := uint64(0)
	for i, p := range pending {
		sent, err := p.Wait(ctx)
		if err != nil || seen[sent.Seq] || sent.Seq <= last || counted(sent.ID) != uint64(i+1) {
			t.Fatalf("message %d: %+v, %v; before it %d", i, sent, err, last)
		}
		seen[sent.Seq], last = true, sent.Seq
	}
	if m, err := bob.ShowMailbox(ctx, "box"); err != nil || m.Ready != n {
		t.Errorf("%d messages are stored, %v", m.Ready, err)
	}
	if sends < 60 {
		t.Errorf("only %d sends: nothing was put to the test", sends)
	}
}

// With one batch under way, a node that refuses at random cannot bring messages out of order.
func TestOneInFlightKeepsOrderAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		f.limits.BatchItems = 4
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		sends := 0
		f.onRequest(func(r *fakeRequest) fault {
			if r.t == wire.TypeSend {
				if sends++; sends%3 == 0 {
					return fault{failure: refuseWith(wire.CodeOverloaded)}
				}
			}
			return fault{}
		})
		s := alice.Sender("box", InFlight(1))
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		var pending []*Pending
		for range 200 {
			pending = append(pending, s.Send(ctx, []byte("x")))
		}
		for i, p := range pending {
			if sent, err := p.Wait(ctx); err != nil || sent.Seq != uint64(i+1) {
				t.Fatalf("message %d: %+v, %v", i, sent, err)
			}
		}
	})
}

func TestSessionHeaderGoesFirst(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "box")
	for range 3 {
		if _, err := alice.Send(ctx, "box", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range taken[*wire.Send](f) {
		if got := m.Sessions[0].Init != nil; got != (i == 0) {
			t.Errorf("send %d carries the header: %v", i, got)
		}
	}
	// A cluster that lost it gets it again.
	f.mu.Lock()
	clear(f.boxes["box"].sessions)
	f.mu.Unlock()
	before := len(taken[*wire.Send](f))
	sent, err := alice.Send(ctx, "box", []byte("y"))
	if err != nil || sent.Duplicate {
		t.Fatalf("%+v, %v", sent, err)
	}
	all := taken[*wire.Send](f)[before:]
	if len(all) != 2 || all[0].Sessions[0].Init != nil || all[1].Sessions[0].Init == nil {
		t.Errorf("%d sends after the loss", len(all))
	}
}

func TestClockSkew(t *testing.T) {
	for _, tt := range []struct {
		skew time.Duration
		ok   bool
	}{
		{3 * time.Minute, true}, {2 * time.Hour, true}, {-20 * time.Hour, true},
		{48 * time.Hour, false}, {-48 * time.Hour, false},
	} {
		f := newFake(t, 1)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		if _, err := alice.Send(context.Background(), "box", []byte("x")); err != nil {
			t.Fatal(err)
		}
		// The node's clock moves after the client has looked at it.
		f.mu.Lock()
		f.skew = tt.skew
		f.mu.Unlock()
		_, err := alice.Send(context.Background(), "box", []byte("x"))
		if tt.ok && err != nil || !tt.ok && !(isCode(err, CodeClockSkew) && asError(err).Outcome == Definite) {
			t.Errorf("skew of %v: %v", tt.skew, err)
		}
	}
}

func TestMailboxMadeAnew(t *testing.T) {
	f := newFake(t, 1)
	alice, bob, carol := f.client(t, "alice"), f.client(t, "bob"), f.client(t, "carol")
	ctx := context.Background()
	mustCreate(t, bob, "box")
	s := alice.Sender("box")
	if _, err := s.Send(ctx, []byte("1"), Key("k")).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	anew := func(c *Client) {
		if err := bob.DeleteMailbox(ctx, "box"); err != nil {
			t.Fatal(err)
		}
		mustCreate(t, c, "box")
	}
	anew(bob)
	for _, opts := range [][]SendOption{nil, {Key("k")}} {
		if sent, err := s.Send(ctx, []byte("2"), opts...).Wait(ctx); err != nil || sent.Duplicate {
			t.Errorf("after the same owner made it anew: %+v, %v", sent, err)
		}
	}
	ms, err := bob.Receive(ctx, "box", Max(5))
	if err != nil || len(ms) != 2 || string(ms[0].Body) != "2" {
		t.Errorf("received %d messages, %v", len(ms), err)
	}
	anew(carol)
	_, err = s.Send(ctx, []byte("3")).Wait(ctx)
	var changed *OwnerChangedError
	if !errors.As(err, &changed) || changed.Pinned != "bob" || changed.Offered != "carol" ||
		asError(err).Outcome != Definite {
		t.Errorf("after somebody else made it anew: %v", err)
	}
	if m, _ := carol.ShowMailbox(ctx, "box"); m.Ready != 0 {
		t.Error("the message was sealed to the new owner")
	}
	if _, err := alice.opts.Pins.Accept("box"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(ctx, []byte("4")).Wait(ctx); err != nil {
		t.Errorf("after accepting: %v", err)
	}
}

// A message whose caller gave up before it left is not sent when the way is free again.
func TestAbandonedIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		if _, err := alice.Send(t.Context(), "box", nil); err != nil {
			t.Fatal(err)
		}
		f.setDown("n1", true)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := alice.Send(ctx, "box", []byte("x"))
		if !errors.Is(err, context.Canceled) || asError(err).Outcome != Definite {
			t.Errorf("%v", err)
		}
		f.setDown("n1", false)
		time.Sleep(10 * time.Second)
		if m, _ := bob.ShowMailbox(t.Context(), "box"); m.Ready != 1 {
			t.Errorf("%d messages are stored", m.Ready)
		}
	})
}

// Wait ends with its context; the message goes on and Wait may be called again.
func TestWaitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		f.onRequest(nth(wire.TypeSend, 1, fault{silent: true}))
		p := alice.Sender("box").Send(t.Context(), []byte("x"))
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || asError(err).Outcome != Unknown {
			t.Errorf("the first wait: %v", err)
		}
		if sent, err := p.Wait(t.Context()); err != nil || !sent.Duplicate {
			t.Errorf("the second: %+v, %v", sent, err)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box")
		f.onRequest(func(r *fakeRequest) fault { return fault{silent: r.t == wire.TypeSend} })
		s := alice.Sender("box")
		p := s.Send(t.Context(), []byte("x"))
		time.AfterFunc(time.Second, func() { alice.Close() })
		if _, err := p.Wait(t.Context()); !isCode(err, CodeClosed) || asError(err).Outcome != Unknown {
			t.Errorf("what was under way: %v", err)
		}
		if _, err := s.Send(t.Context(), []byte("x")).Wait(t.Context()); !isCode(err, CodeClosed) {
			t.Errorf("sending afterwards: %v", err)
		}
		if _, err := alice.Receive(t.Context(), "box"); !isCode(err, CodeClosed) {
			t.Errorf("receiving afterwards: %v", err)
		}
	})
}
