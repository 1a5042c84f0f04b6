package machine

import "github.com/sealmq/sealmq/storage"

// eachPiece goes over the numbers that a command names, page by page, and calls fn with each stretch that is in one
// state and page; fn answers for it. Numbers that are not there, or are long done with, are answered with missing.
func (m *Mail) eachPiece(
	mb *mailbox, ranges []SeqRange, missing Code, fn func(p *page, piece storage.Span) Code,
) {
	kept := keptFrom(mb.state.Head)
	next := mb.state.Next
	for _, r := range ranges {
		first, end := r.First, r.First+uint64(r.Count)
		if low := min(max(first, kept), end); low > first {
			m.code(missing, int(low-first))
			first = low
		}
		for first < min(end, next) && m.err == nil {
			p := m.states(mb, first/storage.PageSeqs)
			last := min(end-1, next-1, p.end())
			m.eachPieceOf(p, p.offset(first), p.offset(last), fn)
			first = last + 1
		}
		if first < end {
			m.code(missing, int(end-first))
		}
	}
}

func (m *Mail) eachPieceOf(p *page, first, last uint8, fn func(p *page, piece storage.Span) Code) {
	p.makeRoom()
	m.pieceScratch = p.pieces(m.pieceScratch[:0], first, last)
	for _, piece := range m.pieceScratch {
		n := int(piece.Last-piece.First) + 1
		m.code(fn(p, piece), n)
	}
	p.forgetAcked()
}

// keptFrom returns the lowest number whose page still has a row when the head is at a number.
func keptFrom(head uint64) uint64 {
	number := head / storage.PageSeqs
	return (number - min(number, keptPages)) * storage.PageSeqs
}

// holder reports whether a piece is held by a lease of a principal.
func holder(p *page, piece storage.Span, id [8]byte, principal [16]byte) bool {
	if piece.State != storage.SpanLeased {
		return false
	}
	l := &p.Leases[piece.Ref]
	return l.ID == id && l.Principal == principal
}

// finish ends a command that freed messages or room.
func (m *Mail) finish(mb *mailbox, o *Outcome, before load) {
	if m.err != nil {
		return
	}
	m.advance(mb)
	o.Codes = m.takeCodes()
	o.Ready = mb.state.Ready()
	more := o.Ready > before.ready
	room := before.leased >= MaxInFlight && mb.state.Leased < MaxInFlight
	o.Wake = o.Ready > 0 && (more || room)
}

// load is how many messages of a mailbox could be leased and were, before a command.
type load struct{ ready, leased uint64 }

func counts(s *storage.MailboxState) load { return load{s.Ready(), s.Leased} }
