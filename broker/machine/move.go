package machine

import (
	"slices"

	"github.com/sealmq/sealmq/storage"
)

// byEpoch calls fn with stretches of the numbers from first to last that are of one epoch, and their bytes.
func (p *page) byEpoch(first, last uint64, fn func(epoch uint32, s seqSpan, sizeBytes uint64)) {
	for addresses := p.addressesOf(first, last); len(addresses) > 0; {
		epoch, n, size := addresses[0].Epoch, 0, uint64(0)
		for n < len(addresses) && addresses[n].Epoch == epoch {
			size += uint64(addresses[n].Length)
			n++
		}
		fn(epoch, seqSpan{first, first + uint64(n) - 1}, size)
		first += uint64(n)
		addresses = addresses[n:]
	}
}

// move takes the numbers of a piece of a page, all of which are in the piece's state, into another, and keeps every
// count that follows from states. It is the only way that a message changes its state.
func (m *Mail) move(mb *mailbox, p *page, piece, to storage.Span) {
	to.First, to.Last = piece.First, piece.Last
	m.readAddresses(mb, p)
	if m.err != nil {
		return
	}
	numbers := seqSpan{p.seq(piece.First), p.seq(piece.Last)}
	m.pending.messages += int(numbers.count())
	p.byEpoch(numbers.first, numbers.last, func(epoch uint32, s seqSpan, sizeBytes uint64) {
		mb.leave(piece.State, epoch, s)
		mb.enter(to.State, epoch, s, sizeBytes)
	})
	if piece.State == storage.SpanLeased {
		mb.unhold(p.Leases[piece.Ref].ID, numbers.count())
	}
	if to.State == storage.SpanLeased {
		mb.hold(&p.Leases[to.Ref], numbers)
	}
	p.set(to)
	mb.stateDirty = true
	if to.State == storage.SpanDone && p.done() {
		m.deleteAddresses(mb, p)
	}
}

func (mb *mailbox) leave(state storage.SpanState, epoch uint32, s seqSpan) {
	switch state {
	case spanFresh:
		mb.epoch(epoch).Ready -= s.count()
	case storage.SpanReturned:
		mb.epoch(epoch).Ready -= s.count()
		mb.state.Returned -= s.count()
		mb.returnedOf(epoch).remove(s)
	case storage.SpanLeased:
		mb.state.Leased -= s.count()
	case storage.SpanDelayed:
		mb.state.Delayed -= s.count()
	case storage.SpanDead:
		mb.state.Dead -= s.count()
	}
}

func (mb *mailbox) enter(state storage.SpanState, epoch uint32, s seqSpan, sizeBytes uint64) {
	switch state {
	case storage.SpanReturned:
		mb.epoch(epoch).Ready += s.count()
		mb.state.Returned += s.count()
		mb.returnedOf(epoch).add(s)
	case storage.SpanLeased:
		mb.state.Leased += s.count()
	case storage.SpanDelayed:
		mb.state.Delayed += s.count()
	case storage.SpanDead:
		mb.state.Dead += s.count()
	case storage.SpanDone:
		mb.state.Bytes -= sizeBytes
		e := mb.epoch(epoch)
		if e.Waiting -= s.count(); e.Waiting == 0 {
			mb.dropEpoch(epoch)
		}
	}
}

// deleteAddresses deletes the addresses of a page that is done with. One row each: a range tombstone would cost every
// later read from the memtable more than these cost once.
func (m *Mail) deleteAddresses(mb *mailbox, p *page) {
	for _, at := range p.rows {
		m.batch.DeleteAddresses(mb.row.Number, p.seq(at))
	}
	if mb.state.Next-1 <= p.end() {
		mb.inlineAddresses = 0 // it is the page that is being filled
	}
	p.known += uint64(len(p.addresses))
	p.addresses, p.rows = nil, nil
}

// keptPages is how many pages below the one that the head is in keep their row, so that an ack that is repeated late
// still gets the answer it got.
const keptPages = 1

// advance moves the head over what is done with and gives back the rows behind it.
func (m *Mail) advance(mb *mailbox) {
	s := &mb.state
	before := s.Head
	for s.Head < s.Next {
		p := m.states(mb, s.Head/storage.PageSeqs)
		span := p.at(p.offset(s.Head))
		if span.State != storage.SpanDone {
			break
		}
		s.Head = min(p.seq(span.Last)+1, s.Next)
	}
	if s.Head == before {
		return
	}
	mb.stateDirty = true
	if s.Head == s.Next {
		m.emptied(mb)
	}
	if from := before / storage.PageSeqs; from != mb.headPage() {
		m.turnPage(mb, from, mb.headPage())
	}
}

// turnPage is told that the head went from one page into another, whose states are in the state row from now on. The
// page that it left was changed by the same command, and so will be written to a row of its own if it is kept.
func (m *Mail) turnPage(mb *mailbox, from, to uint64) {
	m.batch.DeletePage(mb.row.Number, to)
	mb.inlinePage = to
	if p, _ := mb.page(to); p != nil {
		p.dirty = false
	}
	for number := max(from, keptPages) - keptPages; number+keptPages < to; number++ {
		m.batch.DeletePage(mb.row.Number, number)
		if p, i := mb.page(number); p != nil {
			mb.pages = slices.Delete(mb.pages, i, i+1)
		}
	}
}

// emptied deletes the addresses that a mailbox without messages still has, those of the page it will go on with.
func (m *Mail) emptied(mb *mailbox) {
	s := &mb.state
	if s.Base == s.Next {
		return
	}
	if p := m.page(mb, s.Next/storage.PageSeqs); p.first() < s.Next {
		m.readAddresses(mb, p)
		m.deleteAddresses(mb, p)
	}
	s.Base = s.Next
}
