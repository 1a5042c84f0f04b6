package machine

import (
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Extend moves the deadline of messages that a lease holds to LeaseMillis from now.
type Extend struct {
	Principal   string
	Mailbox     [16]byte
	Lease       [8]byte
	LeaseMillis uint32 // 0 is the default
	Ranges      []SeqRange
}

// Append appends the command to an entry.
func (c *Extend) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindExtend)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = append(dst, c.Lease[:]...)
	dst = codec.AppendU32(dst, c.LeaseMillis)
	dst = appendRanges(dst, c.Ranges)
	return frame(dst, start)
}

func (c *Extend) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox, c.Lease, c.LeaseMillis = n.read(r), r.Array16(), array8(r), r.U32()
	c.Ranges = readRanges(r, c.Ranges)
}

func (m *Mail) extend(c *Extend, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	m.codes = m.codes[:0]
	who := m.hash(c.Principal)
	before := counts(&mb.state)
	deadline := m.now + leaseMillis(c.LeaseMillis)
	m.eachPiece(mb, c.Ranges, CodeLeaseLost, func(p *page, piece storage.Span) Code {
		if !holder(p, piece, c.Lease, who) {
			return CodeLeaseLost
		}
		l := p.Leases[piece.Ref]
		l.DeadlineMillis = deadline
		piece.Ref = p.lease(l)
		p.set(piece)
		o.Deadline = deadline
		return CodeOK
	})
	m.finish(mb, o, before)
}
