package machine

import (
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Expire frees messages whose lease or delay has run out by replicated time. The leader proposes it from what outcomes
// and Holds told it; numbers whose time has not come are answered CodeNotDue and stay as they are.
type Expire struct {
	Mailbox [16]byte
	Ranges  []SeqRange
}

// Append appends the command to an entry.
func (c *Expire) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindExpire)
	dst = append(dst, c.Mailbox[:]...)
	dst = appendRanges(dst, c.Ranges)
	return frame(dst, start)
}

func (c *Expire) decode(r *codec.Reader, _ names) {
	c.Mailbox = r.Array16()
	c.Ranges = readRanges(r, c.Ranges)
}

func (m *Mail) expire(c *Expire, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.codes = m.codes[:0]
	before := counts(&mb.state)
	m.eachPiece(mb, c.Ranges, CodeNotDue, func(p *page, piece storage.Span) Code {
		to := storage.Span{State: storage.SpanReturned, Attempts: piece.Attempts, Failures: piece.Failures}
		switch piece.State {
		case storage.SpanLeased:
			if p.Leases[piece.Ref].DeadlineMillis > m.now {
				return CodeNotDue
			}
			to = failure(to)
		case storage.SpanDelayed:
			if piece.Due > m.now {
				return CodeNotDue
			}
		default:
			return CodeNotDue
		}
		m.giveBack(mb, p, piece, to)
		return CodeOK
	})
	m.finish(mb, o, before)
}
