package storage

import (
	"slices"

	"github.com/sealmq/sealmq/internal/codec"
)

// SpanState is what a message is in. The default, for numbers in no span, is fresh: ready and never leased.
type SpanState uint8

const (
	SpanReturned SpanState = 1 // ready, and was leased before
	SpanLeased   SpanState = 2
	SpanDelayed  SpanState = 3 // not ready before Due
	SpanDead     SpanState = 4 // parked
	SpanDone     SpanState = 5 // acknowledged, expired or removed
)

// DeadReason says why a message was parked.
type DeadReason uint8

const (
	DeadFailures DeadReason = 1 // failed too often
	DeadBadSeal  DeadReason = 2
)

// Page is the delivery states of 256 sequence numbers, run-length coded: what a batch was leased and acknowledged by
// costs a few bytes. Spans are ascending and do not overlap, and neighbours differ. Every lease is referred to.
type Page struct {
	Leases []PageLease // what SpanLeased refers to
	Acked  [][8]byte   // ids of leases that acknowledged, what SpanDone refers to
	Spans  []Span
}

// PageLease is a lease with its deadline. A lease whose messages have different deadlines stands here once for each.
type PageLease struct {
	ID                [8]byte
	Principal         [16]byte // hash
	Receiver, Attempt [16]byte
	DeadlineMillis    int64
}

// NoRef is the Ref of a done span of which nothing more is known.
const NoRef = 0xffff

// Span is a state that the numbers from First to Last share. Numbers count from the start of the page.
type Span struct {
	First, Last uint8
	State       SpanState
	Reason      DeadReason // SpanDead
	Ref         uint16     // SpanLeased: index in Leases; SpanDone: index in Acked or NoRef
	Attempts    uint32     // all but SpanDone
	Failures    uint32     // all but SpanDone
	Due         int64      // SpanDelayed
}

// Alike reports whether two spans say the same of their numbers.
func (s Span) Alike(t Span) bool {
	s.First, s.Last = t.First, t.Last
	return s == t
}

type party struct{ principal, receiver [16]byte }

func (p *Page) append(dst []byte) []byte { return p.appendFields(append(dst, rowVersion)) }

func (p *Page) appendFields(dst []byte) []byte {
	var room [4]party
	parties := room[:0]
	for i := range p.Leases {
		parties, _ = partyOf(parties, &p.Leases[i])
	}
	dst = codec.AppendUvarint(dst, uint64(len(parties)))
	for i := range parties {
		dst = append(dst, parties[i].principal[:]...)
		dst = append(dst, parties[i].receiver[:]...)
	}
	dst = codec.AppendUvarint(dst, uint64(len(p.Leases)))
	for i := range p.Leases {
		dst = p.Leases[i].append(dst, parties)
	}
	dst = codec.AppendUvarint(dst, uint64(len(p.Acked)))
	for i := range p.Acked {
		dst = append(dst, p.Acked[i][:]...)
	}
	dst = codec.AppendUvarint(dst, uint64(len(p.Spans)))
	next := 0
	for i := range p.Spans {
		s := &p.Spans[i]
		dst = append(dst, byte(s.State)|s.flags())
		dst = codec.AppendUvarint(dst, uint64(int(s.First)-next))
		dst = append(dst, s.Last-s.First)
		dst = s.appendState(dst)
		next = int(s.Last) + 1
	}
	return dst
}

func partyOf(parties []party, l *PageLease) ([]party, int) {
	who := party{l.Principal, l.Receiver}
	for i := range parties {
		if parties[i] == who {
			return parties, i
		}
	}
	return append(parties, who), len(parties)
}

func (l *PageLease) append(dst []byte, parties []party) []byte {
	dst = append(dst, l.ID[:]...)
	_, who := partyOf(parties, l)
	dst = codec.AppendUvarint(dst, uint64(who))
	dst = codec.AppendUvarint(dst, uint64(l.DeadlineMillis))
	if l.Attempt == ([16]byte{}) {
		return append(dst, 0)
	}
	return append(append(dst, 1), l.Attempt[:]...)
}

// spanFailures and spanAttempts save the counts that usually are 0 and 1.
const (
	spanFailures = 1 << 6
	spanAttempts = 1 << 7
)

func (s *Span) flags() (f byte) {
	if s.State == SpanDone {
		return 0
	}
	if s.Failures != 0 {
		f |= spanFailures
	}
	if s.Attempts != 1 {
		f |= spanAttempts
	}
	return f
}

func (s *Span) appendState(dst []byte) []byte {
	switch s.State {
	case SpanDone:
		return codec.AppendUvarint(dst, uint64(s.Ref+1))
	case SpanLeased:
		dst = codec.AppendUvarint(dst, uint64(s.Ref))
	case SpanDelayed:
		dst = codec.AppendUvarint(dst, uint64(s.Due))
	case SpanDead:
		dst = append(dst, byte(s.Reason))
	}
	if s.Failures != 0 {
		dst = codec.AppendUvarint(dst, uint64(s.Failures))
	}
	if s.Attempts != 1 {
		dst = codec.AppendUvarint(dst, uint64(s.Attempts))
	}
	return dst
}

func (p *Page) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	p.read(&r)
	return damaged("page", r.Done())
}

func (p *Page) read(r *codec.Reader) {
	parties := make([]party, r.Count(PageSeqs, 32))
	for i := range parties {
		parties[i] = party{r.Array16(), r.Array16()}
		if slices.Contains(parties[:i], parties[i]) {
			r.Fail(errValue)
		}
	}
	p.Leases = p.Leases[:0]
	used := 0
	for range r.Count(PageSeqs, 11) {
		l, who := readPageLease(r, parties)
		if who > used {
			r.Fail(errValue)
		}
		used = max(used, who+1)
		p.Leases = append(p.Leases, l)
	}
	if used != len(parties) {
		r.Fail(errValue)
	}
	p.Acked = p.Acked[:0]
	for range r.Count(PageSeqs, 8) {
		var id [8]byte
		copy(id[:], r.Take(8))
		p.Acked = append(p.Acked, id)
	}
	p.Spans = p.Spans[:0]
	next := 0
	for range r.Count(PageSeqs, 3) {
		s := readSpan(r, next)
		next = int(s.Last) + 1
		p.Spans = append(p.Spans, s)
	}
	p.check(r)
}

func readPageLease(r *codec.Reader, parties []party) (l PageLease, who int) {
	copy(l.ID[:], r.Take(8))
	if who = r.Length(PageSeqs); who >= len(parties) {
		r.Fail(errValue)
		return l, 0
	}
	l.Principal, l.Receiver = parties[who].principal, parties[who].receiver
	l.DeadlineMillis = int64(r.Uvarint())
	switch r.U8() {
	case 0:
	case 1:
		if l.Attempt = r.Array16(); l.Attempt == ([16]byte{}) {
			r.Fail(errValue)
		}
	default:
		r.Fail(errValue)
	}
	return l, who
}

func readSpan(r *codec.Reader, next int) (s Span) {
	head := r.U8()
	s.State = SpanState(head &^ (spanFailures | spanAttempts))
	first := next + r.Length(PageSeqs-1)
	last := first + int(r.U8())
	if last >= PageSeqs {
		r.Fail(errValue)
	}
	s.First, s.Last = uint8(first), uint8(last)
	switch s.State {
	case SpanDone:
		if head != byte(SpanDone) {
			r.Fail(errValue)
		}
		s.Ref = uint16(r.Length(PageSeqs)) - 1
		return s
	case SpanLeased:
		s.Ref = uint16(r.Length(PageSeqs))
	case SpanDelayed:
		s.Due = int64(r.Uvarint())
	case SpanDead:
		s.Reason = DeadReason(r.U8())
	case SpanReturned:
	default:
		r.Fail(errValue)
	}
	s.Attempts = 1
	if head&spanFailures != 0 {
		s.Failures = uint32(r.Length(1<<32 - 1))
	}
	if head&spanAttempts != 0 {
		s.Attempts = uint32(r.Length(1<<32 - 1))
	}
	if head&(spanFailures|spanAttempts) != s.flags() {
		r.Fail(errValue)
	}
	return s
}

// check fails r if a reference leads nowhere, or if the page could have been written in another way.
func (p *Page) check(r *codec.Reader) {
	for i := range p.Spans {
		s := &p.Spans[i]
		if s.State == SpanLeased && int(s.Ref) >= len(p.Leases) ||
			s.State == SpanDone && s.Ref != NoRef && int(s.Ref) >= len(p.Acked) {
			r.Fail(errValue)
		}
		if i > 0 && int(p.Spans[i-1].Last)+1 == int(s.First) && s.Alike(p.Spans[i-1]) {
			r.Fail(errValue)
		}
	}
	if r.Err() == nil && p.Normalize() {
		r.Fail(errValue)
	}
}

// Normalize drops leases that no span refers to, and orders the rest by the first span that does, so that one page has
// one encoding. It reports whether that changed anything.
func (p *Page) Normalize() bool {
	var leases, acked bool
	p.Leases, leases = renumber(p.Leases, p.Spans, SpanLeased)
	p.Acked, acked = renumber(p.Acked, p.Spans, SpanDone)
	return leases || acked
}

func renumber[T any](items []T, spans []Span, state SpanState) (_ []T, changed bool) {
	if len(items) == 0 {
		return items, false
	}
	var to [2 * PageSeqs]uint16 // new index + 1; a page in use may hold a few leases more than it has numbers
	next := uint16(0)
	inOrder := true
	for i := range spans {
		s := &spans[i]
		if s.State != state || s.Ref == NoRef {
			continue
		}
		if to[s.Ref] == 0 {
			inOrder = inOrder && s.Ref == next
			next++
			to[s.Ref] = next
		}
	}
	if inOrder {
		return items[:next], int(next) != len(items)
	}
	out := make([]T, next, max(int(next), cap(items)))
	for i := range items {
		if to[i] != 0 {
			out[to[i]-1] = items[i]
		}
	}
	for i := range spans {
		if s := &spans[i]; s.State == state && s.Ref != NoRef {
			s.Ref = to[s.Ref] - 1
		}
	}
	return out, true
}
