package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// work handles messages one after the other until the subscription closes.
func (s *subscription) work() {
	for {
		in, r := s.next()
		if in == nil {
			return
		}
		s.one(in, r)
	}
}

func (s *subscription) next() (*incoming, *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closing {
		s.wake.Wait()
	}
	if s.closing {
		return nil, nil
	}
	in := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return in, s.reader
}

// one opens and handles one message.
func (s *subscription) one(in *incoming, r *reader) {
	defer s.free(in)
	s.mu.Lock()
	lost := in.lost || !time.Now().Before(in.lease.ends())
	s.mu.Unlock()
	if lost {
		// Another receiver has it by now, or will get it.
		in.d.opened()
		s.report("a lease ended before its message was handled", in, errLeaseLost)
		s.done(in)
		return
	}
	m, no := r.open(s.handling, in.d, in.i)
	if no != nil {
		if s.handling.Err() == nil {
			s.opts.onError(no.err)
		}
		s.decideRefused(in, no)
		return
	}
	ctx, cancel := context.WithCancelCause(s.handling)
	defer cancel(nil)
	s.mu.Lock()
	in.message = m
	m.lease.Store(in.lease)
	in.cancel = func() { cancel(errLeaseLost) }
	s.mu.Unlock()
	err := s.call(ctx, m)
	var panicked *panicError
	if errors.As(err, &panicked) {
		s.terminate(definite(CodePanic, err, "the handler panicked"))
	}
	switch {
	case m.decided.Load():
		s.done(in)
	case err == nil:
		s.decide(in, verdict{kind: verdictAck})
	case ctx.Err() != nil && context.Cause(ctx) == errLeaseLost:
		s.done(in)
	default:
		if panicked == nil {
			s.report("a handler failed", in, err)
		}
		s.decide(in, nackFor(err, m.Attempt))
	}
}

// call runs the handler.
func (s *subscription) call(ctx context.Context, m *Message) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return s.handle(ctx, m)
}

func (s *subscription) decideRefused(in *incoming, no *refusal) {
	l := s.beginFor(in, no.says)
	s.c.refuseOne(l, in.seq, no, func(error) { s.decided(in) })
}

// NackError is an error of a handler that says how its message goes back. Other errors are failures of the message,
// which has only so many, and delay it; see [Client.Subscribe].
type NackError struct {
	Err     error
	Options []NackOption
}

func (e *NackError) Error() string { return e.Err.Error() }
func (e *NackError) Unwrap() error { return e.Err }

// NackWith makes the error of a handler say how its message goes back: [Delay], [Reject] or [Release]. A message that
// is rejected comes back after the delay of one that failed.
func NackWith(err error, opts ...NackOption) error { return &NackError{err, opts} }

const (
	// failedFirst and failedMost are how long a message is put aside whose handler failed: twice as long each time. One
	// that came back at once would have used up its failures before anything could have been mended.
	failedFirst = time.Second
	failedMost  = 5 * time.Minute
)

// failedDelay returns how long a message is put aside that failed at that attempt. Up to a quarter of it is left off at
// random, so that what failed together does not come back together; in a few steps, so that it still shares frames.
func failedDelay(attempt int) time.Duration {
	const doublings = 9 // more than it takes to failedMost
	d := min(failedFirst<<min(max(attempt-1, 0), doublings), failedMost)
	return d - d/32*time.Duration(rand.N(9))
}

// nackFor returns what a handler's error says about its message.
func nackFor(err error, attempt int) verdict {
	v := verdict{kind: verdictNack, nack: wire.NackReject}
	var with *NackError
	if errors.As(err, &with) {
		for _, option := range with.Options {
			option(&v)
		}
	}
	if v.nack == wire.NackReject && v.delayMillis == 0 {
		v.delayMillis = uint32(failedDelay(attempt).Milliseconds())
	}
	return v
}

// keepLeases extends the leases of what waits or is being handled.
func (s *subscription) keepLeases(stop <-chan struct{}) {
	for {
		timer := time.NewTimer(s.untilExtension())
		select {
		case <-stop:
			timer.Stop()
			return
		case <-s.leased:
			// The new lease may be shorter than those before.
			timer.Stop()
			continue
		case <-timer.C:
		}
		s.extendAll()
	}
}

// A lease is extended when less than extendBelow of its length is left, and looked at this often.
const extendLooks = 6

// untilExtension returns when to look at leases again.
func (s *subscription) untilExtension() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	shortest := 30 * time.Second
	for _, in := range s.held {
		shortest = min(shortest, in.lease.lasts())
	}
	if s.opts.lease > 0 {
		shortest = min(shortest, s.opts.lease)
	}
	return max(shortest/extendLooks, 50*time.Millisecond)
}

// extendAll extends every lease that has less than two thirds of its time left.
func (s *subscription) extendAll() {
	now := time.Now()
	var due []*incoming
	s.mu.Lock()
	for _, in := range s.held {
		if !in.decided && in.lease.ends().Sub(now) < in.lease.lasts()*2/3 {
			due = append(due, in)
		}
	}
	s.mu.Unlock()
	v := verdict{kind: verdictExtend, leaseMillis: leaseMillis(s.opts.lease)}
	for _, in := range due {
		s.mu.Lock()
		l := in.lease
		s.mu.Unlock()
		s.c.settle(settleKey{l.mailbox, l.id, v}, settleOp{seq: in.seq, lease: l, then: func(err error) {
			if isCode(err, CodeLeaseLost) {
				s.lost(in, l)
			}
		}})
	}
}

// lost ends the handling of a message whose lease is gone. If it came again meanwhile, nothing is lost.
func (s *subscription) lost(in *incoming, l *lease) {
	s.mu.Lock()
	if in.lease != l || in.decided {
		s.mu.Unlock()
		return
	}
	in.lost = true
	cancel := in.cancel
	s.mu.Unlock()
	s.report("a lease was lost", in, errLeaseLost)
	if cancel != nil {
		cancel()
	}
}

// panicError is what a handler panicked with.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("%v\n%s", e.value, e.stack) }

// Unwrap gives errors that were panicked with.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// errLeaseLost ends the context of a handler whose message went to another receiver.
var errLeaseLost = errors.New("the lease of the message was lost")
