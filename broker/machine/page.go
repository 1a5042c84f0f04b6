package machine

import (
	"slices"
	"sort"

	"github.com/sealmq/sealmq/storage"
)

// spanFresh is the state of numbers that no span covers: ready and never leased.
const spanFresh storage.SpanState = 0

// maxAcked is how many leases a page remembers as having acknowledged. One more makes it forget half of them.
const maxAcked = 32

// page is a page of delivery states in memory, with the addresses of its messages. The states are known only after
// they were read, the addresses likewise; a page that sends just append to needs neither.
type page struct {
	number uint64
	// addresses are those of the messages from number known on, to the last one of the page. What is before them is in the
	// store only, unless addressesRead. Rows that they are in begin at the offsets in rows; the newest may be in none yet.
	addresses     []storage.Address
	room          []storage.Address // beside the page, where they begin while it is being filled; nil in other pages
	known         uint64
	rows          []uint8
	statesRead    bool
	addressesRead bool
	dirty         bool // states differ from the row

	storage.Page
}

// tailPage is the page that is being filled, with room for the addresses that stay in memory when the others have rows.
type tailPage struct {
	page
	room [2 * maxInlineAddresses]storage.Address
}

func newTailPage(number uint64) *page {
	t := &tailPage{page: page{number: number}}
	t.page.room = t.room[:0]
	t.addresses = t.page.room
	return &t.page
}

// bare returns the page without its addresses and the room beside it.
func (p *page) bare() *page {
	b := *p
	b.addresses, b.room = nil, nil
	return &b
}

func (p *page) start() uint64 { return p.number * storage.PageSeqs }

// first returns the lowest number of the page: numbers begin at 1.
func (p *page) first() uint64 { return max(p.start(), 1) }

func (p *page) end() uint64 { return p.start() + storage.PageSeqs - 1 }

// offset turns a sequence number of this page into what spans count in.
func (p *page) offset(seq uint64) uint8 { return uint8(seq - p.start()) }

func (p *page) seq(offset uint8) uint64 { return p.start() + uint64(offset) }

// spanFrom returns the index of the first span that ends at or behind offset.
func (p *page) spanFrom(offset uint8) int {
	if n := len(p.Spans); n == 0 || p.Spans[n-1].Last < offset {
		return n
	}
	return sort.Search(len(p.Spans), func(i int) bool { return p.Spans[i].Last >= offset })
}

// at returns the span that covers offset, or a fresh one.
func (p *page) at(offset uint8) storage.Span {
	if i := p.spanFrom(offset); i < len(p.Spans) && p.Spans[i].First <= offset {
		return p.Spans[i]
	}
	return storage.Span{First: offset, Last: offset}
}

// pieces appends to dst the states of the numbers from first to last, cut to them: each number is in exactly one piece.
func (p *page) pieces(dst []storage.Span, first, last uint8) []storage.Span {
	next := int(first)
	for i := p.spanFrom(first); i < len(p.Spans) && p.Spans[i].First <= last; i++ {
		s := p.Spans[i]
		if int(s.First) > next {
			dst = append(dst, storage.Span{First: uint8(next), Last: s.First - 1})
		}
		s.First, s.Last = max(s.First, first), min(s.Last, last)
		dst = append(dst, s)
		next = int(s.Last) + 1
	}
	if next <= int(last) {
		dst = append(dst, storage.Span{First: uint8(next), Last: last})
	}
	return dst
}

// set gives the numbers of s its state, which is not fresh.
func (p *page) set(s storage.Span) {
	p.dirty = true
	from := p.spanFrom(s.First)
	to := from
	for to < len(p.Spans) && p.Spans[to].First <= s.Last {
		to++
	}
	var room [3]storage.Span
	put := room[:0]
	if from < to && p.Spans[from].First < s.First {
		left := p.Spans[from]
		left.Last = s.First - 1
		put = append(put, left)
	} else if from > 0 {
		from-- // a neighbour that may join
		put = append(put, p.Spans[from])
	}
	right, cut := storage.Span{}, false
	if to > 0 && p.Spans[to-1].Last > s.Last && p.Spans[to-1].First <= s.Last {
		right, cut = p.Spans[to-1], true
		right.First = s.Last + 1
	} else if to < len(p.Spans) {
		right, cut = p.Spans[to], true
		to++
	}
	put = joinSpan(put, s)
	if cut {
		put = joinSpan(put, right)
	}
	p.Spans = slices.Replace(p.Spans, from, to, put...)
}

// joinSpan appends s, or lengthens the last span if s continues it.
func joinSpan(spans []storage.Span, s storage.Span) []storage.Span {
	if n := len(spans); n > 0 && int(spans[n-1].Last)+1 == int(s.First) && spans[n-1].Alike(s) {
		spans[n-1].Last = s.Last
		return spans
	}
	return append(spans, s)
}

// makeRoom lets go of leases that hold nothing any more before more are added. It renumbers the others, so whoever
// calls it must not hold spans of the page.
func (p *page) makeRoom() {
	if len(p.Leases) >= storage.PageSeqs {
		p.Normalize()
	}
}

// lease returns the index of a lease of the page, adding it if need be.
func (p *page) lease(l storage.PageLease) uint16 {
	for i := range p.Leases {
		if p.Leases[i].ID == l.ID && p.Leases[i] == l {
			return uint16(i)
		}
	}
	return p.addLease(l)
}

// addLease adds a lease that the page does not have.
func (p *page) addLease(l storage.PageLease) uint16 {
	p.Leases = append(p.Leases, l)
	return uint16(len(p.Leases) - 1)
}

// acked returns the index of a lease that acknowledged, adding it if need be.
func (p *page) acked(id [8]byte) uint16 {
	if i := slices.Index(p.Acked, id); i >= 0 {
		return uint16(i)
	}
	p.Acked = append(p.Acked, id)
	return uint16(len(p.Acked) - 1)
}

// forgetAcked lets go of half of the leases that acknowledged, those of the lowest numbers, if there are too many. What
// it does depends on the spans alone, never on the order in which the page happens to hold the ids. It renumbers, so
// whoever calls it must not hold spans of the page.
func (p *page) forgetAcked() {
	if len(p.Acked) <= maxAcked {
		return
	}
	const n = maxAcked / 2
	p.Normalize() // orders the ids by the spans
	spans := p.Spans[:0]
	for _, s := range p.Spans {
		if s.State == storage.SpanDone && s.Ref != storage.NoRef {
			if int(s.Ref) < n {
				s.Ref = storage.NoRef
			}
		}
		spans = joinSpan(spans, s)
	}
	p.Spans = spans
	p.Normalize()
}

// done reports whether nothing of the page is left to do.
func (p *page) done() bool {
	next := int(p.offset(p.first()))
	for i := range p.Spans {
		if int(p.Spans[i].First) != next || p.Spans[i].State != storage.SpanDone {
			return false
		}
		next = int(p.Spans[i].Last) + 1
	}
	return next == storage.PageSeqs
}

// addressesOf returns the addresses of the numbers from first to last. They must have been read.
func (p *page) addressesOf(first, last uint64) []storage.Address {
	return p.addresses[first-p.known : last-p.known+1]
}
