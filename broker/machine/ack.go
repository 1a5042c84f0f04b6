package machine

import (
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Ack removes messages that a lease holds. A number that this lease already acked is CodeOK again for as long as the
// page of it is kept.
type Ack struct {
	Principal string
	Mailbox   [16]byte
	Lease     [8]byte
	Ranges    []SeqRange
}

// Append appends the command to an entry.
func (c *Ack) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindAck)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = append(dst, c.Lease[:]...)
	dst = appendRanges(dst, c.Ranges)
	return frame(dst, start)
}

func (c *Ack) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox, c.Lease = n.read(r), r.Array16(), array8(r)
	c.Ranges = readRanges(r, c.Ranges)
}

func (m *Mail) ack(c *Ack, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.codes = m.codes[:0]
	who := m.hash(c.Principal)
	before := counts(&mb.state)
	m.eachPiece(mb, c.Ranges, CodeLeaseLost, func(p *page, piece storage.Span) Code {
		if holder(p, piece, c.Lease, who) {
			m.move(mb, p, piece, storage.Span{State: storage.SpanDone, Ref: p.acked(c.Lease)})
			return CodeOK
		}
		if piece.State == storage.SpanDone && piece.Ref != storage.NoRef && p.Acked[piece.Ref] == c.Lease {
			return CodeOK // a repeated ack
		}
		return CodeLeaseLost
	})
	m.finish(mb, o, before)
}
