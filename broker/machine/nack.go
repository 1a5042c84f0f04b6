package machine

import (
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// NackReason says why a receiver gives messages back.
type NackReason uint8

const (
	// NackNoKey: the receiver lacks the epoch's key. Not a failure.
	NackNoKey NackReason = 1
	// NackBadSeal: the key is there and the seal is wrong. The message is dead at once.
	NackBadSeal NackReason = 2
	// NackNoSession: the receiver never got the session's header. Not a failure.
	NackNoSession NackReason = 3
	// NackRetry: try again, now or after the delay. Not a failure.
	NackRetry NackReason = 4
	// NackReject: the application failed on it. A failure; at MaxFailures the message is dead.
	NackReject NackReason = 5
	// NackRelease: it was never looked at. Not a failure and, unlike all others, not an attempt either.
	NackRelease NackReason = 6
)

// Nack gives messages that a lease holds back, after a delay if there is one.
type Nack struct {
	Principal   string
	Mailbox     [16]byte
	Lease       [8]byte
	Reason      NackReason
	DelayMillis uint32
	Ranges      []SeqRange
}

// Append appends the command to an entry.
func (c *Nack) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindNack)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = append(dst, c.Lease[:]...)
	dst = append(dst, byte(c.Reason))
	dst = codec.AppendU32(dst, c.DelayMillis)
	dst = appendRanges(dst, c.Ranges)
	return frame(dst, start)
}

func (c *Nack) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox, c.Lease = n.read(r), r.Array16(), array8(r)
	c.Reason, c.DelayMillis = NackReason(r.U8()), r.U32()
	if c.Reason < NackNoKey || c.Reason > NackRelease {
		r.Fail(errUnsupported)
	}
	c.Ranges = readRanges(r, c.Ranges)
}

func (m *Mail) nack(c *Nack, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.codes = m.codes[:0]
	who := m.hash(c.Principal)
	before := counts(&mb.state)
	due := int64(0)
	if c.DelayMillis > 0 {
		due = m.now + min(int64(c.DelayMillis), MaxDelayMillis)
	}
	m.eachPiece(mb, c.Ranges, CodeLeaseLost, func(p *page, piece storage.Span) Code {
		if !holder(p, piece, c.Lease, who) {
			return CodeLeaseLost
		}
		to := storage.Span{State: storage.SpanReturned, Attempts: piece.Attempts, Failures: piece.Failures}
		if due > 0 {
			to.State, to.Due = storage.SpanDelayed, due
		}
		switch c.Reason {
		case NackBadSeal:
			to.State, to.Due, to.Reason = storage.SpanDead, 0, storage.DeadBadSeal
		case NackReject:
			to = failure(to)
		case NackRelease:
			to.Attempts--
		}
		if to.State == storage.SpanDelayed {
			o.Deadline = due
		}
		m.giveBack(mb, p, piece, to)
		return CodeOK
	})
	m.finish(mb, o, before)
}

// failure counts a failure against messages that come back, which may be the last.
func failure(to storage.Span) storage.Span {
	if to.Failures++; to.Failures >= MaxFailures {
		to.State, to.Due, to.Reason = storage.SpanDead, 0, storage.DeadFailures
	}
	return to
}

// giveBack moves messages that something held to where they go next, except for those that have expired meanwhile.
func (m *Mail) giveBack(mb *mailbox, p *page, piece, to storage.Span) {
	m.byNotAfter(mb, p, piece, m.past, func(part storage.Span, past bool) {
		if past {
			m.move(mb, p, part, doneSpan)
		} else {
			m.move(mb, p, part, to)
		}
	})
}

// byNotAfter cuts a piece into parts by what a condition says of the messages' not-after.
func (m *Mail) byNotAfter(
	mb *mailbox, p *page, piece storage.Span, is func(minutes uint32) bool, fn func(part storage.Span, is bool),
) {
	m.readAddresses(mb, p)
	for next := int(piece.First); next <= int(piece.Last) && m.err == nil; {
		part := piece
		part.First = uint8(next)
		first := false
		for i, a := range p.addressesOf(p.seq(part.First), p.seq(piece.Last)) {
			at, now := uint8(next+i), is(a.NotAfterMinutes)
			if i == 0 {
				first = now
			}
			if now != first {
				break
			}
			part.Last = at
		}
		next = int(part.Last) + 1
		fn(part, first)
	}
}
