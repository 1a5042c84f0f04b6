package client

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// told collects what Then was told, by the number of the message.
type told struct {
	mu   sync.Mutex
	sent map[int][]Sent
	errs map[int]error
	last []int
}

func newTold() *told { return &told{sent: map[int][]Sent{}, errs: map[int]error{}} }

func (t *told) then(n int) SendOption {
	return Then(func(sent Sent, err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sent[n] = append(t.sent[n], sent)
		t.errs[n] = err
		t.last = append(t.last, n)
	})
}

// wait waits until at least n results were told.
func (t *told) wait(tt *testing.T, n int) {
	tt.Helper()
	waitFor(tt, func() bool { t.mu.Lock(); defer t.mu.Unlock(); return len(t.last) >= n })
}

func (t *told) result(n int) Sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent[n][0]
}

// once reports that each of n messages was told its result once.
func (t *told) once(tt *testing.T, n int) {
	tt.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range n {
		if len(t.sent[i]) != 1 {
			tt.Errorf("message %d was told %d results", i, len(t.sent[i]))
		}
	}
}

func TestThen(t *testing.T) {
	f := newFake(t, 3)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	mustCreate(t, bob, "box")
	const n = 300
	got := newTold()
	s := alice.Sender("box")
	var pending []*Pending
	for i := range n {
		pending = append(pending, s.Send(t.Context(), []byte{byte(i)}, got.then(i)))
	}
	for i, p := range pending {
		// Whoever waits may be first, but what both are told is the same.
		sent, err := p.Wait(t.Context())
		got.wait(t, i+1)
		if then := got.result(i); err != nil || sent != then || sent.Seq != uint64(i+1) {
			t.Fatalf("message %d: waiting gave %+v, %v; then %+v", i, sent, err, then)
		}
	}
	got.once(t, n)
	for i, message := range got.last {
		if message != i {
			t.Fatalf("result %d is that of message %d", i, message)
		}
	}
}

// lockless is [told.then] that also takes the locks of the sender, as a program's own locks might be taken.
func (t *told) lockless(tt *testing.T, n int, s *Sender) SendOption {
	return func(p *Pending) {
		t.then(n)(p)
		then := p.then
		p.then = func(sent Sent, err error) {
			for _, lock := range []*sync.Mutex{&s.mu, &s.sealing} {
				// Others may have it for a moment; who calls this never gives it back.
				free := false
				for range 2000 {
					if free = lock.TryLock(); free {
						lock.Unlock()
						break
					}
					time.Sleep(time.Millisecond)
				}
				if !free {
					tt.Error("a lock of the sender is held")
				}
			}
			then(sent, err)
		}
	}
}

// However a message ends, it is told, and no lock is held meanwhile.
func TestThenOfFailures(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	mustCreate(t, bob, "box")
	mustSend(t, alice, "box", "first")

	t.Run("before it leaves", func(t *testing.T) {
		got := newTold()
		s := alice.Sender("box")
		p := s.Send(t.Context(), make([]byte, wire.BodyBytes+1), got.lockless(t, 0, s))
		if _, err := p.Wait(t.Context()); !isCode(err, CodeTooLarge) || got.errs[0] != err {
			t.Errorf("%v, %v", err, got.errs[0])
		}
		if _, err := alice.Send(t.Context(), "no name", nil, got.then(1)); !isCode(err, CodeBadRequest) || got.errs[1] != err {
			t.Errorf("%v, %v", err, got.errs[1])
		}
		got.once(t, 2)
	})
	t.Run("refused", func(t *testing.T) {
		f.onRequest(func(r *fakeRequest) fault {
			if _, ok := r.message.(*wire.Send); ok {
				return fault{failure: &wire.Failure{Code: wire.CodePermissionDenied}}
			}
			return fault{}
		})
		defer f.onRequest(nil)
		got := newTold()
		s := alice.Sender("box")
		for i := range 5 {
			s.Send(t.Context(), []byte("x"), got.lockless(t, i, s))
		}
		if err := s.Flush(t.Context()); !isCode(err, CodePermissionDenied) {
			t.Error(err)
		}
		got.wait(t, 5)
		got.once(t, 5)
	})
	t.Run("its time is up", func(t *testing.T) {
		f.onRequest(func(r *fakeRequest) fault { _, ok := r.message.(*wire.Send); return fault{mute: ok} })
		defer f.onRequest(nil)
		got := newTold()
		s := alice.Sender("box")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		s.Send(ctx, []byte("x"), got.lockless(t, 0, s))
		got.wait(t, 1)
		if err := got.errs[0]; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		got.once(t, 1)
	})
	t.Run("its caller gives up", func(t *testing.T) {
		f.onRequest(func(r *fakeRequest) fault { _, ok := r.message.(*wire.Send); return fault{mute: ok} })
		defer f.onRequest(nil)
		got := newTold()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { _, err := alice.Send(ctx, "box", []byte("x"), got.then(0)); ended <- err }()
		waitFor(t, func() bool { return len(taken[*wire.Send](f)) > 1 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		got.wait(t, 1)
		if !errors.Is(got.errs[0], context.Canceled) {
			t.Error(got.errs[0])
		}
		got.once(t, 1)
	})
	t.Run("the client is closed", func(t *testing.T) {
		f.onRequest(func(r *fakeRequest) fault { _, ok := r.message.(*wire.Send); return fault{mute: ok} })
		defer f.onRequest(nil)
		got := newTold()
		s := alice.Sender("box")
		var waits []*Pending
		for i := range 5 {
			waits = append(waits, s.Send(t.Context(), []byte("x"), got.lockless(t, i, s)))
		}
		idle := alice.Sender("box") // has a session and no connection
		alice.Close()
		waits = append(waits, idle.Send(t.Context(), []byte("x"), got.lockless(t, 5, idle)))
		for _, p := range waits {
			if _, err := p.Wait(t.Context()); !isCode(err, CodeClosed) {
				t.Error(err)
			}
		}
		got.wait(t, 6)
		got.once(t, 6)
	})
}
