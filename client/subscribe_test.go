package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// subscribe runs a subscription and returns what ends it and waits for its result.
func subscribe(t *testing.T, c *Client, handle Handler, opts ...SubscribeOption) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Subscribe(ctx, "box", handle, opts...) }()
	return func() error {
		cancel()
		return <-done
	}
}

// emptied reports whether nothing waits in a mailbox.
func emptied(t *testing.T, c *Client) bool {
	t.Helper()
	m, err := c.ShowMailbox(context.Background(), "box")
	return err == nil && m.Ready+m.Leased+m.Parked == 0
}

func TestSubscribe(t *testing.T) {
	for _, concurrency := range []int{1, 8} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			f := newFake(t, 3)
			alice, bob := pair(t, f)
			const n = 600
			var mu sync.Mutex
			var got []string
			stop := subscribe(t, bob, func(_ context.Context, m *Message) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, string(m.Body))
				return nil
			}, Concurrency(concurrency), Prefetch(50, 1<<20))
			s := alice.Sender("box")
			var want []string
			for i := range n {
				want = append(want, fmt.Sprint(i))
				s.Send(t.Context(), []byte(want[i]))
			}
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return emptied(t, bob) })
			if err := stop(); err != nil {
				t.Error(err)
			}
			if concurrency > 1 {
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d messages, not in order or not all", len(got))
			}
			credit := 0
			for _, m := range taken[*wire.Credit](f) {
				credit += int(m.Messages)
			}
			if credit > n || credit < n-100 {
				t.Errorf("credit for %d messages was given back", credit)
			}
			if acks := len(taken[*wire.Ack](f)); acks > n/2 {
				t.Errorf("%d frames acked %d messages", acks, n)
			}
		})
	}
}

func TestHandlerResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "ok", "fail", "later", "mine", "release")
		broken := errors.New("broken")
		var tries atomic.Int32
		var errs []error
		stop := subscribe(t, bob, func(ctx context.Context, m *Message) error {
			switch string(m.Body) {
			case "fail":
				if tries.Add(1) < 3 {
					return broken
				}
			case "later":
				if m.Attempt == 1 {
					return NackWith(broken, Delay(10*time.Second))
				}
			case "mine":
				return m.Nack(ctx, Delay(time.Hour))
			}
			return nil
		}, OnError(func(err error) { errs = append(errs, err) }))
		time.Sleep(5 * time.Second)
		if state, _, failures := f.state("box", 2); state != stateAcked || failures != 2 {
			t.Errorf("the failing message: state %d, %d failures", state, failures)
		}
		if state, _, failures := f.state("box", 3); state != stateDelayed || failures != 0 {
			t.Errorf("the delayed message: state %d, %d failures", state, failures)
		}
		if state, deliveries, _ := f.state("box", 4); state != stateDelayed || deliveries != 1 {
			t.Errorf("the message that the handler nacked itself: state %d, %d deliveries", state, deliveries)
		}
		time.Sleep(10 * time.Second)
		if state, deliveries, _ := f.state("box", 3); state != stateAcked || deliveries != 2 {
			t.Errorf("the delayed message: state %d, %d deliveries", state, deliveries)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if len(errs) != 3 || slices.ContainsFunc(errs, func(err error) bool { return !errors.Is(err, broken) }) {
			t.Errorf("told of %v", errs)
		}
	})
}

// A message whose handler fails comes back after a delay that grows, and is dead after so many failures; meanwhile
// others are handled.
func TestFailedMessageComesBackLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "bad", "good")
		var tries []time.Time
		var good atomic.Int32
		stop := subscribe(t, bob, func(_ context.Context, m *Message) error {
			if string(m.Body) == "good" {
				good.Add(1)
				return nil
			}
			tries = append(tries, time.Now())
			return errors.New("broken")
		})
		time.Sleep(500 * time.Millisecond)
		if good.Load() != 1 {
			t.Error("what failed was in the way")
		}
		time.Sleep(2 * time.Hour)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if state, _, failures := f.state("box", 1); state != stateDead || failures != 20 || len(tries) != 20 {
			t.Fatalf("state %d, %d failures, handled %d times", state, failures, len(tries))
		}
		for i := range tries[1:] {
			most := min(time.Second<<i, 5*time.Minute)
			if d := tries[i+1].Sub(tries[i]); d < most*3/4 || d > most+100*time.Millisecond {
				t.Errorf("after failure %d it came back in %v", i+1, d)
			}
		}
		for _, n := range taken[*wire.Nack](f) {
			if n.Code != wire.NackReject || n.DelayMillis == 0 {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestNackForAnError(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		err         error
		code        wire.NackCode
		least, most time.Duration
	}{
		{broken, wire.NackReject, 3 * time.Second, 4 * time.Second},
		{fmt.Errorf("handling: %w", broken), wire.NackReject, 3 * time.Second, 4 * time.Second},
		{NackWith(broken), wire.NackReject, 3 * time.Second, 4 * time.Second},
		{NackWith(broken, Reject(7)), wire.NackReject, 3 * time.Second, 4 * time.Second},
		{NackWith(broken, Delay(time.Hour), Reject(7)), wire.NackReject, time.Hour, time.Hour},
		{NackWith(broken, Delay(time.Minute)), wire.NackRetryAfter, time.Minute, time.Minute},
		{NackWith(broken, Delay(0)), wire.NackRetryAfter, 0, 0},
		{NackWith(broken, Release()), wire.NackRelease, 0, 0},
	} {
		for range 100 {
			v := nackFor(tt.err, 3)
			d := time.Duration(v.delayMillis) * time.Millisecond
			if v.kind != verdictNack || v.nack != tt.code || d < tt.least || d > tt.most {
				t.Fatalf("%v: %+v", tt.err, v)
			}
		}
	}
	// Whatever a node says of the attempts.
	for attempt, most := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 9: 256 * time.Second, 10: failedMost,
		1 << 31: failedMost,
	} {
		if d := failedDelay(attempt); d < most*3/4 || d > most {
			t.Errorf("attempt %d: %v", attempt, d)
		}
	}
}

func TestHandlerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "1", "boom", "3")
		cause := errors.New("the cause")
		err := bob.Subscribe(t.Context(), "box", func(_ context.Context, m *Message) error {
			if string(m.Body) == "boom" {
				panic(cause)
			}
			return nil
		})
		if !isCode(err, CodePanic) || !errors.Is(err, cause) || !strings.Contains(err.Error(), "TestHandlerPanics") {
			t.Errorf("%v", err)
		}
		if state, _, failures := f.state("box", 2); state != stateDelayed || failures != 1 {
			t.Errorf("its message: state %d, %d failures", state, failures)
		}
		if state, _, failures := f.state("box", 3); state == stateLeased || failures != 0 {
			t.Errorf("the one behind: state %d, %d failures", state, failures)
		}
	})
}

// The leases of what is handled and of what waits behind it are extended for as long as it takes.
func TestLeasesAreExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		for i := range 20 {
			mustSend(t, alice, "box", fmt.Sprint(i))
		}
		stop := subscribe(t, bob, func(ctx context.Context, m *Message) error {
			if string(m.Body) == "0" {
				time.Sleep(5 * time.Minute)
			}
			return ctx.Err()
		}, Lease(2*time.Second))
		time.Sleep(6 * time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for seq := range uint64(20) {
			if state, deliveries, failures := f.state("box", seq+1); state != stateAcked || deliveries != 1 || failures != 0 {
				t.Errorf("message %d: state %d, %d deliveries, %d failures", seq+1, state, deliveries, failures)
			}
		}
		if n := len(taken[*wire.Extend](f)); n < 150 || n > 1000 {
			t.Errorf("%d extensions in five minutes of leases of 2 s", n)
		}
	})
}

// A handler whose lease was lost is told; the message goes to whoever has it now, and is not acked.
func TestLostLeaseEndsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "x")
		began := make(chan struct{}, 5)
		ended := make(chan error, 5)
		stop := subscribe(t, bob, func(ctx context.Context, m *Message) error {
			began <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}, Lease(10*time.Second))
		<-began
		// Somebody else gets it: another lease, and an operator who parked it.
		f.mu.Lock()
		x := f.boxes["box"].messages[0]
		x.state, x.lease = stateDead, [8]byte{1}
		f.mu.Unlock()
		if cause := <-ended; cause != errLeaseLost {
			t.Errorf("the handler ended for %v", cause)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(taken[*wire.Ack](f)) + len(taken[*wire.Nack](f)); n != 0 {
			t.Errorf("%d verdicts on a message that is another's", n)
		}
	})
}

// A message that is being handled comes again after a lost connection: it is not handled twice, and is acked under the
// new lease.
func TestReconnectKeepsWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "0", "1", "2", "3")
		var handled []string
		stop := subscribe(t, bob, func(_ context.Context, m *Message) error {
			handled = append(handled, string(m.Body))
			time.Sleep(10 * time.Second)
			return nil
		})
		time.Sleep(5 * time.Second)
		f.setDown("n1", true)
		time.Sleep(time.Second)
		f.setDown("n1", false)
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if !slices.Equal(handled, []string{"0", "1", "2", "3"}) {
			t.Errorf("handled %v", handled)
		}
		for seq := range uint64(4) {
			if state, _, failures := f.state("box", seq+1); state != stateAcked || failures != 0 {
				t.Errorf("message %d: state %d, %d failures", seq+1, state, failures)
			}
		}
		if n := len(taken[*wire.Subscribe](f)); n < 2 {
			t.Error("it never subscribed again")
		}
	})
}

// An ack that never arrived is given again under the lease that the message comes back with.
func TestLostAckIsRepeated(t *testing.T) {
	for _, what := range []fault{{before: true}, {after: true}, {silent: true}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 1)
			alice, bob := pair(t, f)
			mustSend(t, alice, "box", "0", "1", "2")
			f.onRequest(nth(wire.TypeAck, 1, what))
			var handled []string
			stop := subscribe(t, bob, func(_ context.Context, m *Message) error {
				handled = append(handled, string(m.Body))
				return nil
			})
			time.Sleep(time.Minute)
			if err := stop(); err != nil {
				t.Error(err)
			}
			if !slices.Equal(handled, []string{"0", "1", "2"}) || !emptied(t, bob) {
				t.Errorf("%+v: handled %v", what, handled)
			}
		})
	}
}

func TestSubscriptionFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 3)
		alice, bob := pair(t, f)
		var got atomic.Int32
		stop := subscribe(t, bob, func(context.Context, *Message) error { got.Add(1); return nil }, Concurrency(4))
		for i := range 60 {
			f.lead(fmt.Sprintf("n%d", 1+i%3))
			if i%20 == 10 {
				f.lead("") // nobody, for a while
				time.AfterFunc(3*time.Second, func() { f.lead("n2") })
			}
			mustSend(t, alice, "box", fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got.Load() != 60 || !emptied(t, bob) {
			t.Errorf("%d messages were handled", got.Load())
		}
	})
}

// What one part of a program holds is not handed to another.
func TestReceiversOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "1", "2", "3", "4")
		ms, err := bob.Receive(t.Context(), "box")
		if err != nil || len(ms) != 1 {
			t.Fatal(err)
		}
		var bodies []string
		var mu sync.Mutex
		handle := func(_ context.Context, m *Message) error {
			mu.Lock()
			bodies = append(bodies, string(m.Body))
			mu.Unlock()
			time.Sleep(10 * time.Second)
			return nil
		}
		first := subscribe(t, bob, handle, Prefetch(2, 1))
		time.Sleep(time.Second)
		second := subscribe(t, bob, handle)
		time.Sleep(25 * time.Second)
		for _, stop := range []func() error{first, second} {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
		slices.Sort(bodies)
		if !slices.Equal(bodies, []string{"2", "3", "4"}) {
			t.Errorf("handled %v", bodies)
		}
		if err := ms[0].Ack(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A cancelled subscription lets its handler finish, acks what it did, and gives the rest back untouched.
func TestCancelDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		for i := range 10 {
			mustSend(t, alice, "box", fmt.Sprint(i))
		}
		began := make(chan struct{})
		stop := subscribe(t, bob, func(ctx context.Context, m *Message) error {
			close(began)
			<-ctx.Done()
			time.Sleep(time.Minute) // longer than the lease: it is extended while draining, too
			return nil
		})
		<-began
		at := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(at); d != time.Minute {
			t.Errorf("it took %v to end", d)
		}
		for seq := range uint64(10) {
			state, deliveries, failures := f.state("box", seq+1)
			want := []int{stateReady, 0}
			if seq == 0 {
				want = []int{stateAcked, 1}
			}
			if state != want[0] || int(deliveries) != want[1] || failures != 0 {
				t.Errorf("message %d: state %d, %d deliveries, %d failures", seq+1, state, deliveries, failures)
			}
		}
	})
}

func TestSubscriptionEnds(t *testing.T) {
	for _, tt := range []struct {
		code wire.Code
		want Code
	}{{wire.CodePermissionDenied, CodePermissionDenied}, {wire.CodeNotFound, CodeNotFound}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 1)
			_, bob := pair(t, f)
			f.onRequest(nth(wire.TypeSubscribe, 1, fault{failure: refuseWith(tt.code)}))
			if err := bob.Subscribe(t.Context(), "box", nil); !isCode(err, tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// Rights are taken back while the subscription runs.
func TestRevokedSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		_, bob := pair(t, f)
		time.AfterFunc(time.Second, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, r := range slices.Clone(f.boxes["box"].waiting) {
				r.leave()
				r.conn.answer(r.request, &wire.SubscriptionEnd{Code: wire.CodePermissionDenied})
			}
		})
		if err := bob.Subscribe(t.Context(), "box", nil); !isCode(err, CodePermissionDenied) {
			t.Errorf("%v", err)
		}
	})
}

func TestSubscriptionSurvivesANewMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		got := make(chan string, 5)
		stop := subscribe(t, bob, func(_ context.Context, m *Message) error { got <- string(m.Body); return nil })
		mustSend(t, alice, "box", "1")
		<-got
		admin := connect(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
		if err := admin.DeleteMailbox(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		mustCreate(t, admin, "box")
		f.setDown("n1", true)
		f.setDown("n1", false)
		mustSend(t, alice, "box", "2")
		if s := <-got; s != "2" {
			t.Errorf("%q", s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What waits is bounded by the credit that was given.
func TestPrefetchBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		for range 40 {
			mustSend(t, alice, "box", "x")
		}
		release := make(chan struct{})
		handle := func(context.Context, *Message) error { <-release; return nil }
		stop := subscribe(t, bob, handle, Prefetch(7, 1), Concurrency(2))
		time.Sleep(10 * time.Second)
		if m, _ := bob.ShowMailbox(t.Context(), "box"); m.Leased != 7 {
			t.Errorf("%d messages are leased", m.Leased)
		}
		close(release)
		time.Sleep(10 * time.Second)
		if !emptied(t, bob) {
			t.Error("it stopped")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
