package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// fixesMost is how often a message is mended in ways that should help at once, before what a node says is believed.
const fixesMost = 4

// resendFor is how long a message may be sent again after an attempt that may have stored it: a node remembers an id
// for 10 minutes at least, and would store the message a second time after that. The rest is for the way there.
const resendFor = 9 * time.Minute

// errForgotten ends messages that must not be sent again.
var errForgotten = errors.New("the cluster may have stored it and forgotten its id by now: " +
	"sending it again could store it twice")

// forgotten reports whether the cluster may have stored a message and forgotten its id since. The clock that says so
// first is believed: one stands still while a machine sleeps, and the other may be set back.
func (p *Pending) forgotten(now time.Time) bool {
	return p.unknown && max(now.Sub(p.since), now.Round(0).Sub(p.since.Round(0))) >= resendFor
}

// answered takes the results of a batch's items in.
func (s *Sender) answered(c *conn, b *batch, reply *wire.SendReply) {
	s.noteMinute(reply.TimeMinutes)
	s.land(c, b, func(use func(i int, r wire.SendResult, e *Error)) {
		for i, r := range reply.Results() {
			var e *Error
			if r.Code != wire.CodeOK {
				e = fromCode(r.Code, reply.RetryAfterMillis, "")
				e.failure = &wire.Failure{Code: r.Code}
			}
			use(i, r, e)
		}
	})
}

// refused takes in that a batch failed as a whole.
func (s *Sender) refused(c *conn, b *batch, e *Error) {
	if e.failure != nil {
		s.noteMinute(e.failure.TimeMinutes)
	}
	s.land(c, b, func(use func(i int, r wire.SendResult, e *Error)) {
		for i := range b.carried {
			use(i, wire.SendResult{}, e)
		}
	})
}

// noteMinute takes in what a node said of its clock: the middle of the minute that it named.
func (s *Sender) noteMinute(minutes uint32) {
	if minutes != 0 {
		s.c.noteTime(int64(minutes)*60_000 + 30_000)
	}
}

// land ends the flight of a batch.
func (s *Sender) land(c *conn, b *batch, results func(func(int, wire.SendResult, *Error))) {
	s.mu.Lock()
	again, took := false, 0
	results(func(i int, r wire.SendResult, e *Error) {
		if i >= len(b.carried) {
			return
		}
		took++
		p := b.carried[i]
		if e == nil {
			s.succeedLocked(p, r)
		} else if s.failLocked(p, e) {
			again = true
		}
	})
	for _, p := range b.carried[took:] {
		// An answer for fewer items than were asked about says nothing about the others.
		e := unreachable(nil, "the node gave fewer results than it was sent messages")
		e.Outcome = Unknown
		again = s.failLocked(p, e) || again
	}
	b.flying, b.carried = false, nil
	s.flying--
	s.finishLocked(b)
	if again {
		s.haltLocked(c)
	} else if !s.halted && s.allowed < s.window {
		s.allowed, s.attempts = s.window, backoff{}
	}
	s.unlock()
}

func (s *Sender) succeedLocked(p *Pending, r wire.SendResult) {
	if s.known != p.session {
		p.session.stored.Store(true)
		s.known = p.session
	}
	if !p.settled {
		p.sent.Seq, p.sent.Duplicate = r.Seq, r.Duplicate
		s.settleLocked(p, nil)
	}
}

// settleLocked gives a message its result, unless it has one.
func (s *Sender) settleLocked(p *Pending, err error) {
	if p.settled {
		return
	}
	b := p.batch
	p.settled, p.err = true, err
	s.releaseLocked(p.bytes)
	if b.left--; b.left == 0 {
		b.finish()
	}
	if p.then != nil {
		s.came.add(p)
	}
	if err != nil {
		s.noteFailureLocked(err)
	}
}

// failLocked decides what a failure means for a message. It reports true if the message is to be sent again.
func (s *Sender) failLocked(p *Pending, e *Error) (again bool) {
	if p.settled {
		return false
	}
	if e.Outcome == Unknown && !p.unknown {
		// It may have been stored as soon as it had left, however long the answer has been missing.
		p.unknown, p.since = true, p.batch.tookOff
	}
	p.last = e
	code := wire.CodeOK
	if e.failure != nil {
		code = e.failure.Code
	}
	mended := true
	switch code {
	case wire.CodeSessionUnknown:
		p.session.lost()
		s.known = nil
	case wire.CodeMailboxGone:
		s.why.gone, s.why.reseal = true, true
	case wire.CodeExpired:
		// The session ended on the way, or the message's own time did: then it will not be sent again.
		s.box.letGo(p.session)
		s.why.reseal = true
	case wire.CodeClockSkew:
		s.why.reseal = true
	default:
		mended = false
	}
	p.session.doubted()
	if mended {
		p.fixed++
	}
	switch {
	case mended && p.fixed > fixesMost, !mended && !e.Retryable:
		s.settleLocked(p, e.withOutcome(p.unknown))
		return false
	case p.unknown:
		s.armLocked(p.since.Add(resendFor))
	}
	s.why.note(e, mended)
	return true
}

// note keeps what is needed to choose how long to wait.
func (t *trouble) note(e *Error, mended bool) {
	if t.err == nil || !mended {
		t.err = e
	}
	t.waiting = max(t.waiting, e.RetryAfter)
	if mended || e.failure != nil && e.failure.Leader.Node != "" {
		t.hinted = true
	}
}

// haltLocked stops new batches from leaving until what is under way has landed and the trouble is mended.
func (s *Sender) haltLocked(c *conn) {
	s.halted, s.allowed = true, 1
	if s.conn == c {
		s.conn = nil
	}
	s.why.from = c
}

// finishLocked lets go of a batch whose items all have their result and that is not under way.
func (s *Sender) finishLocked(b *batch) {
	if b.flying || b.held {
		return
	}
	for _, p := range b.items {
		if p.settled && p.buf != nil {
			p.buf.giveBack()
			p.buf, p.body, p.sealed = nil, nil, nil
		}
	}
	if i := slices.Index(s.batches, b); b.left == 0 && i >= 0 {
		s.batches = slices.Delete(s.batches, i, i+1)
		if len(s.batches) == 0 {
			s.few = [len(s.few)]*batch{} // may name batches from before there were too many for it
			s.batches = s.few[:0]
		}
	}
}

// dropped says that a connection ended while the sender stood in its list.
func (s *Sender) dropped(c *conn, err error) {
	s.mu.Lock()
	defer s.unlock()
	if s.queuedOn == c {
		s.queuedOn = nil
	}
	if s.conn != c {
		return
	}
	s.why.note(unreachable(err, "the connection to node %s has ended", c.nodeID), false)
	s.haltLocked(c)
}

// abandon ends a message that its caller does not wait for any longer.
func (s *Sender) abandon(ctx context.Context, p *Pending) (Sent, error) {
	s.mu.Lock()
	defer s.release()
	if !p.settled {
		s.giveUpLocked(p, context.Cause(ctx))
	}
	return p.sent, p.err
}

// giveUpLocked ends a message that is not sent any more: definite if it never left.
func (s *Sender) giveUpLocked(p *Pending, cause error) {
	b := p.batch
	s.settleLocked(p, ended(cause, p.last, p.unknown || b.flying))
	s.finishLocked(b)
}

// armLocked makes sure that expire looks at the messages when a deadline passes.
func (s *Sender) armLocked(deadline time.Time) {
	if !s.timerAt.IsZero() && !deadline.Before(s.timerAt) {
		return
	}
	s.timerAt = deadline
	if s.timer == nil {
		s.timer = time.AfterFunc(time.Until(deadline), s.expire)
	} else {
		s.timer.Reset(time.Until(deadline))
	}
}

// expire ends the messages whose time is up, and those that wait to be sent again and must not be.
func (s *Sender) expire() {
	s.mu.Lock()
	defer s.release()
	now := time.Now()
	s.timerAt = time.Time{}
	var next time.Time
	for _, b := range slices.Clone(s.batches) {
		for _, p := range b.items {
			until := p.deadline
			if last := p.since.Add(resendFor); p.unknown && !b.flying && last.Before(until) {
				until = last
			}
			switch {
			case p.settled:
			case !p.deadline.After(now):
				s.giveUpLocked(p, context.DeadlineExceeded)
			case !b.flying && p.forgotten(now):
				s.giveUpLocked(p, errForgotten)
			case next.IsZero() || until.Before(next):
				next = until
			}
		}
	}
	if !next.IsZero() {
		s.armLocked(next)
	}
}

// reserve takes room for a message, waiting for it if need be.
func (s *Sender) reserve(ctx context.Context, p *Pending) error {
	s.mu.Lock()
	if len(s.room) == 0 && s.fitsLocked(p.bytes) {
		s.bytes += p.bytes
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.room = append(s.room, turn)
	s.mu.Unlock()
	ctx, stop := context.WithDeadline(ctx, p.deadline)
	defer stop()
	for {
		select {
		case <-turn:
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.leaveLocked(turn)
			e := ended(context.Cause(ctx), s.why.err, false)
			if e.Detail == "" {
				e.Detail = "the sender's buffer was full"
			}
			return e
		case <-s.c.ctx.Done():
			return definite(CodeClosed, errClosed, "")
		}
		s.mu.Lock()
		if !time.Now().Before(p.deadline) {
			// Both came at once: what never left certainly did not arrive.
			s.leaveLocked(turn)
			s.mu.Unlock()
			return ended(context.DeadlineExceeded, nil, false)
		}
		if s.fitsLocked(p.bytes) {
			s.bytes += p.bytes
			s.leaveLocked(turn)
			s.mu.Unlock()
			return nil
		}
		turn = make(chan struct{})
		s.room[0] = turn
		s.mu.Unlock()
	}
}

func (s *Sender) fitsLocked(bytes int) bool { return s.bytes == 0 || s.bytes+bytes <= s.maxBytes }

// leaveLocked takes a waiting caller off the list and lets the next one look.
func (s *Sender) leaveLocked(turn chan struct{}) {
	for i := range s.room {
		if s.room[i] == turn {
			s.room = slices.Delete(s.room, i, i+1)
			break
		}
	}
	s.callNextLocked()
}

func (s *Sender) releaseLocked(bytes int) {
	s.bytes -= bytes
	s.callNextLocked()
}

// callNextLocked wakes the first who waits for room.
func (s *Sender) callNextLocked() {
	if len(s.room) == 0 {
		return
	}
	select {
	case <-s.room[0]: // woken already
	default:
		close(s.room[0])
	}
}
