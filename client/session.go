package client

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// sendSession is a session that messages to a mailbox are sealed in, and what goes with it, in one piece of memory: of
// many sessions, little is in the processor's caches.
type sendSession struct {
	renewAt int64 // unix nanoseconds: from then on a new one is opened beside it
	endsAt  int64 // unix nanoseconds: from then on nothing is sealed in it
	ttl     time.Duration
	form    envelope.Form
	flags   wire.HeaderFlags
	over    atomic.Bool // the mailbox has let go of it: those that keep it look there again
	envelope.SendSession
	mailbox wire.MailboxRef

	// The session's header goes out before its first message, in the same frame. It is repeated until a frame that
	// carried it was answered; frames behind the first on the same connection need not repeat it, as a node reads them in
	// their order.
	stored  atomic.Bool
	offered atomic.Pointer[conn]
}

// sealBefore is how long before its end a session is not used any more, so that a message does not meet the end while
// it is being sealed.
const sealBefore = 2 * time.Second

// renewBelow is how many messages a session still takes when the next one is opened.
const renewBelow = 1 << 16

// openEpoch opens a session to one epoch of the mailbox's record.
func openEpoch(id *envelope.Identity, to *resolved, epoch uint32, now time.Time, lasts time.Duration,
) (*sendSession, error) {
	s := &sendSession{mailbox: to.ref, ttl: to.ttl, form: envelope.FormPadded, flags: wire.HeaderPadded}
	if err := s.Open(id, to.record, epoch, now, lasts); err != nil {
		return nil, err
	}
	if s.Policy()&envelope.PolicySigned != 0 {
		s.form |= envelope.FormSigned
		s.flags |= wire.HeaderSigned
	}
	s.renewAt, s.endsAt = s.RenewAt().UnixNano(), s.NotAfter().Add(-sealBefore).UnixNano()
	return s, nil
}

// usable reports whether messages may be sealed in the session, and whether it is time for the next one.
func (s *sendSession) usable(unixNano int64) (usable, renew bool) {
	if s == nil || s.over.Load() {
		return false, true
	}
	left := s.Remaining()
	return unixNano < s.endsAt && left > 0, unixNano >= s.renewAt || left < renewBelow
}

// header returns the session's header if a frame on this connection has to carry it.
func (s *sendSession) headerFor(c *conn) []byte {
	if s.stored.Load() || s.offered.Load() == c {
		return nil
	}
	s.offered.Store(c)
	return s.Init()
}

// doubted makes the next frame carry the header again.
func (s *sendSession) doubted() { s.offered.Store(nil) }

// lost is told by a node that does not have the header.
func (s *sendSession) lost() {
	s.stored.Store(false)
	s.offered.Store(nil)
}

// sessionLasts returns how long the next session has to last by this clock. Nodes go by theirs: one that is ahead would
// find a short session over before it has begun, one that is behind a long one too long.
func (c *Client) sessionLasts() (lasts, ahead time.Duration) {
	skew := time.Duration(c.skew.Load())
	ahead = max(skew, 0)
	most := envelope.MaxSessionLifetime + min(skew, 0)
	lasts = max(min(c.opts.SessionFor+ahead, most), minSessionFor)
	return lasts, min(ahead, lasts-minSessionFor)
}

// leaveOff makes a session be used for so much less than it lasts.
func (s *sendSession) leaveOff(now time.Time, d time.Duration) {
	begin := now.UnixNano()
	used := 1 - float64(d)/float64(s.NotAfter().UnixNano()-begin)
	s.renewAt = begin + int64(float64(s.renewAt-begin)*used)
	s.endsAt = begin + int64(float64(s.endsAt-begin)*used)
}

// openSendSession opens a session to the mailbox of a verified record, for so long at most.
func openSendSession(id *envelope.Identity, known *resolved, now time.Time, lasts time.Duration) (*sendSession, error) {
	if known.record == nil {
		return nil, noKey(known.owner, "the mailbox has no key yet")
	}
	epoch, err := known.record.Choose(now)
	if err == nil {
		var s *sendSession
		if s, err = openEpoch(id, known, epoch.Number, now, lasts); err == nil {
			return s, nil
		}
	}
	if errors.Is(err, envelope.ErrExpired) || errors.Is(err, envelope.ErrNoEpoch) {
		return nil, noKey(known.owner, "the mailbox's keys ended on "+known.record.NotAfter.UTC().Format(time.DateOnly))
	}
	return nil, definite(CodeBadSeal, err, "no session can be opened with the mailbox's key record")
}

// noKey says who has to do what before the mailbox can be sent to.
func noKey(owner, detail string) *Error {
	e := definite(CodeNoKey, nil, "%s", detail)
	if owner == "" {
		owner = "the owner"
	}
	e.Hint = "Ask " + owner + " to run a receiver of the mailbox as its owner: it makes and publishes keys"
	return e
}
