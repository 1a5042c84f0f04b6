package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// pair connects a sender and a receiver with a mailbox called box.
func pair(t *testing.T, f *fakeCluster) (alice, bob *Client) {
	t.Helper()
	alice, bob = f.client(t, "alice"), f.client(t, "bob")
	mustCreate(t, bob, "box")
	return alice, bob
}

func mustSend(t *testing.T, c *Client, mailbox string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if _, err := c.Send(context.Background(), mailbox, []byte(body)); err != nil {
			t.Fatalf("sending: %v", err)
		}
	}
}

// state returns the state of a message and how often it was delivered.
func (f *fakeCluster) state(box string, seq uint64) (state int, deliveries uint32, failures int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boxes[box]
	b.expire()
	x := b.messages[seq-1]
	return x.state, x.item.Attempts, x.failures
}

// A verdict whose answer was lost may have counted, whatever its repetition is told.
func TestRepeatedVerdictIsUnknown(t *testing.T) {
	ack := func(ctx context.Context, m *Message) error { return m.Ack(ctx) }
	nack := func(ctx context.Context, m *Message) error { return m.Nack(ctx) }
	for name, tt := range map[string]struct {
		t      wire.Type
		settle func(context.Context, *Message) error
		lost   bool // the first answer
		want   Outcome
	}{
		"ack":            {wire.TypeAck, ack, false, Definite},
		"ack, repeated":  {wire.TypeAck, ack, true, Unknown},
		"nack, repeated": {wire.TypeNack, nack, true, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, 1)
				alice, bob := pair(t, f)
				mustSend(t, alice, "box", "x")
				ms, err := bob.Receive(t.Context(), "box")
				if err != nil || len(ms) != 1 {
					t.Fatalf("%d messages, %v", len(ms), err)
				}
				var tries atomic.Int32
				f.onRequest(func(r *fakeRequest) fault {
					switch {
					case r.t != tt.t:
						return fault{}
					case tt.lost && tries.Add(1) == 1:
						return fault{after: true}
					}
					// The lease is another's by now.
					f.mu.Lock()
					f.boxes["box"].messages[0].lease = [8]byte{1}
					f.mu.Unlock()
					return fault{}
				})
				err = tt.settle(t.Context(), ms[0])
				if e := asErrorOrNil(err); e == nil || e.Code != CodeLeaseLost || e.Outcome != tt.want {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		began := time.Now()
		if ms, err := bob.Receive(t.Context(), "box", Wait(150*time.Second)); err != nil || len(ms) != 0 {
			t.Errorf("%d messages, %v", len(ms), err)
		}
		if d := time.Since(began); d != 150*time.Second {
			t.Errorf("waited %v, longer than a node waits", d)
		}
		sent := make(chan struct{})
		time.AfterFunc(90*time.Second, func() {
			mustSend(t, alice, "box", "late")
			close(sent)
		})
		ms, err := bob.Receive(t.Context(), "box", Wait(100*time.Second))
		if err != nil || len(ms) != 1 {
			t.Errorf("%d messages, %v", len(ms), err)
		}
		<-sent
	})
}

// A change of leaders makes a wait no longer.
func TestLongPollThroughAChangeOfLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 2)
		_, bob := pair(t, f)
		for i := range 5 {
			time.AfterFunc(time.Duration(10*i+5)*time.Second, func() { f.lead(fmt.Sprintf("n%d", 1+i%2)) })
		}
		began := time.Now()
		if ms, err := bob.Receive(t.Context(), "box", Wait(50*time.Second)); err != nil || len(ms) != 0 {
			t.Errorf("%d messages, %v", len(ms), err)
		}
		if d := time.Since(began); d < 50*time.Second || d > 50*time.Second+10*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

// A pull whose answer is lost gets the same messages again, by its attempt id.
func TestPullIsRepeated(t *testing.T) {
	for _, what := range []fault{{before: true}, {after: true}, {failure: refuseWith(wire.CodeNotLeader)}} {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "1", "2")
		f.onRequest(nth(wire.TypePull, 1, what))
		ms, err := bob.Receive(context.Background(), "box", Max(5))
		if err != nil || len(ms) != 2 || ms[0].Attempt != 1 {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		pulls := taken[*wire.Pull](f)
		for _, p := range pulls {
			if p.Attempt != pulls[0].Attempt || p.Receiver != bob.receiver {
				t.Error("the repeat is another attempt or receiver")
			}
		}
		for _, m := range ms {
			if err := m.Ack(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
}

// What comes after the caller stopped waiting goes back at once.
func TestCancelledReceiveReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := bob.Receive(ctx, "box", Wait(20*time.Second)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		mustSend(t, alice, "box", "x")
		time.Sleep(time.Second)
		if state, deliveries, failures := f.state("box", 1); state != stateReady || deliveries != 0 || failures != 0 {
			t.Errorf("state %d, %d deliveries, %d failures", state, deliveries, failures)
		}
	})
}

func TestSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "1", "2", "3", "4", "5", "6", "7")
		ctx := t.Context()
		ms, err := bob.Receive(ctx, "box", Max(7), Lease(10*time.Second))
		if err != nil || len(ms) != 7 {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		for i, err := range []error{
			ms[0].Ack(ctx),
			ms[0].Ack(ctx), // again: it is done
			ms[1].Nack(ctx),
			ms[2].Nack(ctx, Delay(time.Minute)),
			ms[3].Nack(ctx, Reject(9)),
			ms[4].Nack(ctx, Release()),
			ms[5].Extend(ctx, time.Minute),
		} {
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		want := []struct {
			state, deliveries, failures int
		}{
			{stateAcked, 1, 0}, {stateReady, 1, 0}, {stateDelayed, 1, 0}, {stateReady, 1, 1}, {stateReady, 0, 0},
			{stateLeased, 1, 0},
		}
		for i, w := range want {
			state, deliveries, failures := f.state("box", uint64(i+1))
			if state != w.state || int(deliveries) != w.deliveries || failures != w.failures {
				t.Errorf("message %d: state %d, %d deliveries, %d failures; want %+v", i+1, state, deliveries, failures, w)
			}
		}
		if left := time.Until(ms[5].LeaseEnds()); left != time.Minute {
			t.Errorf("the extended lease has %v left", left)
		}
		time.Sleep(11 * time.Second)
		if err := ms[6].Ack(ctx); !isCode(err, CodeLeaseLost) || asError(err).Outcome != Definite {
			t.Errorf("after the lease: %v", err)
		}
		if err := ms[5].Ack(ctx); err != nil {
			t.Errorf("under the extended lease: %v", err)
		}
	})
}

func TestAckIsRetried(t *testing.T) {
	for _, what := range []fault{{before: true}, {after: true}, {failure: refuseWith(wire.CodeUnavailable)},
		{failure: refuseWith(wire.CodeLeadershipLost)}} {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "1", "2", "3")
		ms, err := bob.Receive(context.Background(), "box", Max(3))
		if err != nil {
			t.Fatal(err)
		}
		f.onRequest(nth(wire.TypeAck, 1, what))
		results := bob.AckHandles(context.Background(), ms[0].Handle(), ms[1].Handle(), ms[2].Handle())
		for _, r := range results {
			if r.Err != nil {
				t.Errorf("%v", r.Err)
			}
		}
		if m, _ := bob.ShowMailbox(context.Background(), "box"); m.Ready+m.Leased != 0 {
			t.Errorf("%+v", m)
		}
	}
}

func TestHandles(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	ctx := context.Background()
	mustSend(t, alice, "box", "1", "2", "3")
	ms, err := bob.Receive(ctx, "box", Max(3))
	if err != nil {
		t.Fatal(err)
	}
	// Another process of the same principal.
	other := connect(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
	if r := other.ExtendHandles(ctx, time.Minute, ms[0].Handle()); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	if r := other.NackHandles(ctx, []NackOption{Release()}, ms[1].Handle()); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	h, _ := ParseHandle(ms[2].Handle())
	h.Incarnation++
	r := other.AckHandles(ctx, ms[0].Handle(), ms[1].Handle(), "h1.nonsense", wire.EncodeHandle(h))
	want := []Code{"", CodeLeaseLost, CodeBadRequest, CodeLeaseLost}
	for i := range r {
		if got := asErrorOrNil(r[i].Err); got != nil && got.Code != want[i] || got == nil && want[i] != "" {
			t.Errorf("handle %d: %v, want %q", i, r[i].Err, want[i])
		}
	}
	if r := other.AckHandles(ctx); len(r) != 0 {
		t.Error("results without handles")
	}
	if r := alice.AckHandles(ctx, ms[2].Handle()); !isCode(r[0].Err, CodeLeaseLost) {
		t.Errorf("another principal acked: %v", r[0].Err)
	}
}

// Each message that cannot be shown is given back with the nack that fits, and the others are shown.
func TestMessagesNotShown(t *testing.T) {
	header := func(change func(h *wire.ClearHeader)) func(*fakeCluster, *fakeBox, *fakeMessage) {
		return func(_ *fakeCluster, _ *fakeBox, x *fakeMessage) { change(&x.item.Header) }
	}
	tests := []struct {
		name  string
		spoil func(f *fakeCluster, b *fakeBox, x *fakeMessage)
		code  Code
		state int
	}{
		{"flipped body", func(_ *fakeCluster, _ *fakeBox, x *fakeMessage) { x.item.Sealed[20] ^= 1 }, CodeBadSeal, stateDead},
		{"later not-after", header(func(h *wire.ClearHeader) { h.NotAfterMinutes++ }), CodeBadSeal, stateDead},
		{"another id", header(func(h *wire.ClearHeader) { h.ID[15] ^= 1 }), CodeBadSeal, stateDead},
		{"unpadded flag", header(func(h *wire.ClearHeader) { h.Flags = 0 }), CodeBadSeal, stateDead},
		{"another epoch", header(func(h *wire.ClearHeader) { h.Epoch = 2 }), CodeBadSeal, stateDead},
		{"header lost", func(_ *fakeCluster, b *fakeBox, _ *fakeMessage) { clear(b.sessions) }, CodeInternal, stateReady},
		{"header of another", func(_ *fakeCluster, b *fakeBox, x *fakeMessage) {
			init := append([]byte(nil), b.sessions[x.item.Header.Session]...)
			init[len(init)-1] ^= 1
			b.sessions[x.item.Header.Session] = init
		}, CodeInternal, stateReady},
		{"long past its end", func(f *fakeCluster, _ *fakeBox, x *fakeMessage) {
			x.item.Header.NotAfterMinutes, f.undying = 1, true
		}, "expired", stateDelayed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 1)
			alice, bob := pair(t, f)
			mustSend(t, alice, "box", "spoiled")
			f.mu.Lock()
			b := f.boxes["box"]
			tt.spoil(f, b, b.messages[0])
			f.mu.Unlock()
			ms, err := bob.Receive(context.Background(), "box", Max(2))
			if len(ms) != 0 || !isCode(err, tt.code) {
				t.Fatalf("%d messages, %v; want %s", len(ms), err, tt.code)
			}
			waitFor(t, func() bool { state, _, _ := f.state("box", 1); return state == tt.state })
		})
	}
}

// waitFor waits for what another goroutine is about to do.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 5000 {
		if done() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it never happened")
}

func TestGoodMessagesPassBadOnes(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	mustSend(t, alice, "box", "1", "2", "3")
	f.mu.Lock()
	f.boxes["box"].messages[1].item.Sealed[30] ^= 1
	f.mu.Unlock()
	ms, err := bob.Receive(context.Background(), "box", Max(3))
	if err != nil || len(ms) != 2 || string(ms[0].Body) != "1" || string(ms[1].Body) != "3" {
		t.Errorf("%d messages, %v", len(ms), err)
	}
}

// A connection that was not told the header of a session asks for it.
func TestSessionIsFetched(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	mustSend(t, alice, "box", "1")
	f.mu.Lock()
	for c := range f.nodes["n1"].conns {
		for id := range f.boxes["box"].sessions {
			c.told[id] = true
		}
	}
	f.mu.Unlock()
	ms, err := bob.Receive(context.Background(), "box")
	if err != nil || len(ms) != 1 || len(taken[*wire.SessionGet](f)) != 1 {
		t.Errorf("%d messages, %v", len(ms), err)
	}
}

func TestReceiveErrors(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	ctx := context.Background()
	if _, err := alice.Receive(ctx, "nowhere"); !isCode(err, CodeNotFound) {
		t.Errorf("no such mailbox: %v", err)
	}
	_, err := alice.Receive(ctx, "box")
	if !isCode(err, CodeNoKey) || !strings.Contains(asError(err).Hint, "bob") {
		t.Errorf("without the key: %v", err)
	}
	if err := alice.Subscribe(ctx, "box", nil); !isCode(err, CodeNoKey) {
		t.Errorf("subscribing without the key: %v", err)
	}
	o := f.options(t, "carol")
	o.Identity, o.KeyStore = nil, nil
	carol := connect(t, o)
	if _, err := carol.Receive(ctx, "box"); !isCode(err, CodeConfig) {
		t.Errorf("without an identity: %v", err)
	}
	if _, err := carol.Send(ctx, "box", nil); !isCode(err, CodeConfig) {
		t.Errorf("sending without an identity: %v", err)
	}
	_ = bob
}

// A mailbox that demands signatures gets them, and its receiver takes no message without one.
func TestSignedMailbox(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	mustCreate(t, bob, "signed", Signed())
	mustSend(t, alice, "signed", "x")
	send := taken[*wire.Send](f)[0]
	if send.Items[0].Header.Flags&wire.HeaderSigned == 0 {
		t.Error("the message says that it is not signed")
	}
	ms, err := bob.Receive(ctx, "signed")
	if err != nil || len(ms) != 1 {
		t.Fatalf("%d messages, %v", len(ms), err)
	}
	// Somebody with the mailbox's own key makes one without.
	box, _ := bob.mailbox("signed")
	known := box.current()
	loose := *known.record
	loose.Policy = envelope.PolicySealed
	raw, err := loose.Sign(bob.opts.Identity)
	if err != nil {
		t.Fatal(err)
	}
	record, _ := envelope.ParseKeyRecord(raw)
	if err := record.Verify(time.Now(), "signed"); err != nil {
		t.Fatal(err)
	}
	forged := &resolved{ref: known.ref, record: record, ttl: known.ttl}
	forger, err := openSendSession(alice.opts.Identity, forged, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	abox, _ := alice.mailbox("signed")
	abox.use(forger)
	mustSend(t, alice, "signed", "forged")
	if _, err := bob.Receive(ctx, "signed"); !isCode(err, CodeBadSeal) {
		t.Errorf("a message without a signature: %v", err)
	}
}

func TestConsumersShareAMailbox(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := pair(t, f)
	ctx := context.Background()
	bob2 := connect(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
	for i := range 50 {
		mustSend(t, alice, "box", fmt.Sprint(i))
	}
	var got atomic.Int32
	done := make(chan error, 2)
	for _, c := range []*Client{bob, bob2} {
		go func() {
			for got.Load() < 50 {
				ms, err := c.Receive(ctx, "box", Max(5), Wait(10*time.Millisecond))
				if err != nil {
					done <- err
					return
				}
				for _, m := range ms {
					if err := m.Ack(ctx); err != nil {
						done <- err
						return
					}
					got.Add(1)
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got.Load() != 50 {
		t.Errorf("%d messages were acked", got.Load())
	}
}
