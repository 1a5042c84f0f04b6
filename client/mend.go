package client

import (
	"context"
	"slices"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// mend finds a connection to whoever leads the mailbox's group and sets right what was wrong with the messages, as
// often as it takes, until they may leave again or none is left. Nothing is under way meanwhile.
func (s *Sender) mend() {
	for {
		why, wait, ok := s.nextAttempt()
		if !ok {
			return
		}
		if wait > 0 && !sleep(s.c.ctx, wait) {
			s.close()
			return
		}
		conn, err := s.attempt(why)
		switch {
		case s.c.ctx.Err() != nil:
			s.close()
			return
		case err == nil:
			s.resume(conn)
			return
		}
		e := asError(err)
		gone := s.c.hopeless(s.c.ctx)
		if gone != nil && e.Retryable {
			e = gone
		}
		s.postpone(why, e, gone != nil)
	}
}

// nextAttempt takes what is known of the trouble and says how long to wait first. It is false if nothing is left to
// send: whoever sends next starts afresh.
func (s *Sender) nextAttempt() (why trouble, wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == 0 {
		s.mending, s.halted, s.attempts, s.why = false, false, backoff{}, trouble{}
		return why, 0, false
	}
	why, s.why = s.why, trouble{}
	switch {
	case why.err == nil: // the first connection
	case why.hinted && s.attempts.attempts == 0:
		s.attempts.attempts++
		wait = why.waiting
	default:
		wait = s.attempts.next(why.waiting)
	}
	return why, wait, true
}

// attempt tries once.
func (s *Sender) attempt(why trouble) (*conn, error) {
	ctx, cancel := context.WithTimeout(s.c.ctx, flightTimeout)
	defer cancel()
	group, err := s.c.routes.groupOf(ctx, s.box.slot)
	if err != nil {
		return nil, err
	}
	if why.err != nil && why.from != nil {
		s.c.noteRoute(group, why.from, why.err)
	}
	if why.gone || why.reseal {
		if err := s.resealAll(ctx, why.gone); err != nil {
			return nil, err
		}
	}
	return s.c.routes.leaderOf(ctx, group)
}

// resume lets the messages leave again. The first batch on a connection goes alone: a node that is about to lead may
// refuse it and take the next.
func (s *Sender) resume(c *conn) {
	s.mu.Lock()
	defer s.unlock()
	s.conn, s.halted, s.mending, s.allowed = c, false, false, 1
}

// postpone keeps the trouble for the next attempt, or ends the messages if another cannot help, or nobody is there.
func (s *Sender) postpone(why trouble, e *Error, hopeless bool) {
	s.mu.Lock()
	defer s.release()
	s.why = trouble{gone: why.gone, reseal: why.reseal, err: e, waiting: e.RetryAfter}
	for _, b := range slices.Clone(s.batches) {
		for _, p := range b.items {
			if p.settled {
				continue
			}
			p.last = e
			if !e.Retryable || hopeless {
				s.settleLocked(p, e.withOutcome(p.unknown))
			}
		}
		s.finishLocked(b)
	}
}

// close ends all messages when the client is closed.
func (s *Sender) close() {
	s.mu.Lock()
	defer s.release()
	s.mending = false
	for _, b := range slices.Clone(s.batches) {
		for _, p := range b.items {
			e := definite(CodeClosed, errClosed, "")
			s.settleLocked(p, e.withOutcome(p.unknown || b.flying))
		}
		s.finishLocked(b)
	}
}

// resealAll seals every message without a result again, in their order and under the same ids. gone says that the
// mailbox was made anew.
func (s *Sender) resealAll(ctx context.Context, gone bool) error {
	if gone {
		if ref, ok := s.oldest(); ok {
			s.box.outdated(ref)
		}
	}
	session, err := s.box.sealing(ctx, time.Now().UnixNano())
	if err != nil {
		return err
	}
	s.sealing.Lock()
	defer s.sealing.Unlock()
	s.mu.Lock()
	batches := slices.Clone(s.batches)
	for _, b := range batches {
		b.held, b.closed = true, true
		b.mailbox = session.mailbox
		b.takeCarried()
	}
	s.mu.Unlock()
	for _, b := range batches {
		for _, p := range b.carried {
			if err == nil {
				err = s.reseal(p, session)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		b.held, b.carried = false, nil
		s.finishLocked(b)
	}
	if err != nil {
		return sealError(err)
	}
	return nil
}

// oldest returns the mailbox that the oldest message was sealed for.
func (s *Sender) oldest() (ref wire.MailboxRef, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == 0 {
		return ref, false
	}
	return s.batches[0].mailbox, true
}

func (s *Sender) reseal(p *Pending, session *sendSession) error {
	if p.keyed && p.session.mailbox != session.mailbox {
		s.nameKeyed(p, session)
		s.mu.Lock()
		if !p.settled {
			p.sent.ID = p.header.ID
		}
		s.mu.Unlock()
	}
	message := envelope.Message{Form: session.form, Body: p.body}
	p.extra.fill(&message, time.Now())
	return s.sealAs(p, session, &message)
}

// nameKeyed gives a message the id and the body tag that follow from its key.
func (s *Sender) nameKeyed(p *Pending, session *sendSession) {
	id := s.c.opts.Identity
	p.header.ID = id.KeyedID(session.mailbox.ID, p.key)
	p.tag = id.BodyTag(session.mailbox.ID, p.header.ID, p.body)
}
