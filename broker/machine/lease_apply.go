package machine

import (
	"bytes"
	"math"

	"github.com/sealmq/sealmq/storage"
)

// leasing is the memory of the lease that is being applied.
type leasing struct {
	mailbox      *mailbox
	given        storage.PageLease
	low, high    uint32 // epochs
	left         uint64 // messages
	bytesLeft    uint64
	full         bool // no byte left for the next one
	fresh        uint64
	count        int
	deliveries   []Delivery
	wantDelivery bool
}

// lease picks the next messages that can be leased, in the order of their numbers.
func (m *Mail) lease(c *Lease, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	mb.leased = m.cache.leased
	l := &m.leasing
	*l = leasing{
		mailbox: mb, low: c.EpochLow, high: c.EpochHigh, bytesLeft: c.MaxBytes,
		deliveries: l.deliveries[:0], wantDelivery: m.wantOutcomes,
		given: storage.PageLease{
			ID: c.Lease, Principal: m.hash(c.Principal), Receiver: c.Receiver, Attempt: c.Attempt,
			DeadlineMillis: m.now + leaseMillis(c.LeaseMillis),
		},
	}
	o.Lease = c.Lease
	if !m.repeat(l, o) {
		if mb.leases[c.Lease] != nil {
			o.Code, o.Ready = CodeLeaseConflict, mb.state.Ready()
			return
		}
		l.left = min(uint64(c.MaxMessages), MaxInFlight-min(MaxInFlight, mb.state.Leased))
		m.pick(l)
		if l.count > 0 {
			o.Deadline = l.given.DeadlineMillis
		}
	}
	if m.wantOutcomes && m.err == nil {
		o.Deliveries = take(&m.slab.deliveries, l.deliveries)
	}
	o.Ready = mb.state.Ready()
}

// leaseMillis is how long a lease lasts that was asked for.
func leaseMillis(asked uint32) int64 {
	if asked == 0 {
		return DefaultLeaseMillis
	}
	return min(max(int64(asked), MinLeaseMillis), MaxLeaseMillis)
}

// repeat answers an attempt that was made before and whose lease still lasts: with the same lease and what it still
// holds. Of several such leases it is the one with the lowest id, so that the answer does not depend on what was in
// memory.
func (m *Mail) repeat(l *leasing, o *Outcome) bool {
	var first *lease
	for _, have := range l.mailbox.attempts[l.given.Attempt] {
		if have.principal != l.given.Principal || have.receiver != l.given.Receiver {
			continue
		}
		if first != nil && bytes.Compare(have.id[:], first.id[:]) >= 0 {
			continue
		}
		if m.earliest(l.mailbox, have) > m.now {
			first = have
		}
	}
	if first == nil {
		return false
	}
	o.Lease, o.Deadline = first.id, m.earliest(l.mailbox, first)
	m.held(l.mailbox, first, func(p *page, s storage.Span) { l.deliver(m, p, s) })
	return true
}

// held calls fn with what a lease holds, which is nothing below the head.
func (m *Mail) held(mb *mailbox, l *lease, fn func(p *page, s storage.Span)) {
	for number := max(l.first, mb.state.Head) / storage.PageSeqs; number <= l.last/storage.PageSeqs; number++ {
		p := m.states(mb, number)
		for _, s := range p.Spans {
			if s.State == storage.SpanLeased && p.Leases[s.Ref].ID == l.id {
				fn(p, s)
			}
		}
	}
}

// earliest returns the first deadline of what a lease holds.
func (m *Mail) earliest(mb *mailbox, l *lease) int64 {
	at := int64(math.MaxInt64)
	m.held(mb, l, func(p *page, s storage.Span) { at = min(at, p.Leases[s.Ref].DeadlineMillis) })
	return at
}

// pick gives messages to the lease until it has enough: those that came back first, then those that were never leased,
// always the lowest number of both.
func (m *Mail) pick(l *leasing) {
	l.startFresh()
	for l.left > 0 && !l.full && m.err == nil {
		back, hasBack := l.nextReturned()
		fresh, hasFresh := m.nextFresh(l)
		switch {
		case hasBack && (!hasFresh || back.first < fresh.first):
			m.give(l, cutBefore(back, fresh.first, hasFresh))
		case hasFresh:
			m.give(l, cutBefore(fresh, back.first, hasBack))
		default:
			l.left = 0
		}
	}
	l.endFresh()
}

// cutBefore ends s before a number, and at the end of its page.
func cutBefore(s seqSpan, before uint64, limited bool) seqSpan {
	s.last = min(s.last, s.first|(storage.PageSeqs-1))
	if limited && before > s.first {
		s.last = min(s.last, before-1)
	}
	return s
}

// nextReturned returns the lowest messages of the lease's epochs that came back.
func (l *leasing) nextReturned() (best seqSpan, ok bool) {
	for i := range l.mailbox.returned {
		r := &l.mailbox.returned[i]
		if r.epoch < l.low || r.epoch > l.high || len(r.ranges) == 0 {
			continue
		}
		if !ok || r.ranges[0].first < best.first {
			best, ok = r.ranges[0], true
		}
	}
	return best, ok
}

// startFresh puts l.fresh at the lowest number from which a message of the lease's epochs may never have been leased.
func (l *leasing) startFresh() {
	l.fresh = math.MaxUint64
	for i := range l.mailbox.state.Epochs {
		e := &l.mailbox.state.Epochs[i]
		if l.holds(e.Epoch) && l.mailbox.unleased(e) > 0 {
			l.fresh = min(l.fresh, max(e.Fresh, l.mailbox.state.Head))
		}
	}
}

// endFresh remembers how far that search came: below it, every message of these epochs was leased.
func (l *leasing) endFresh() {
	if l.fresh == math.MaxUint64 {
		return
	}
	for i := range l.mailbox.state.Epochs {
		e := &l.mailbox.state.Epochs[i]
		if l.holds(e.Epoch) && e.Fresh < l.fresh {
			e.Fresh = l.fresh
			l.mailbox.stateDirty = true
		}
	}
}

func (l *leasing) holds(epoch uint32) bool { return l.low <= epoch && epoch <= l.high }

// unleased counts the messages of an epoch that are ready and were never leased.
func (mb *mailbox) unleased(e *storage.EpochState) uint64 {
	for i := range mb.returned {
		if mb.returned[i].epoch == e.Epoch {
			return e.Ready - mb.returned[i].count
		}
	}
	return e.Ready
}

// nextFresh returns the next messages of the lease's epochs that were never leased, all in one page, from l.fresh on,
// and moves l.fresh to the first of them.
func (m *Mail) nextFresh(l *leasing) (seqSpan, bool) {
	mb := l.mailbox
	if !l.anyFresh() {
		return seqSpan{}, false // or it would be looked for among all that others wait for
	}
	for l.fresh < mb.state.Next && m.err == nil {
		p := m.states(mb, l.fresh/storage.PageSeqs)
		span := p.at(p.offset(l.fresh))
		if span.State != spanFresh {
			l.fresh = p.seq(span.Last) + 1
			continue
		}
		gap := seqSpan{l.fresh, min(p.end(), mb.state.Next-1, l.fresh+l.left-1)}
		if i := p.spanFrom(p.offset(l.fresh)); i < len(p.Spans) {
			gap.last = min(gap.last, p.seq(p.Spans[i].First)-1)
		}
		m.readAddresses(mb, p)
		if m.err != nil {
			break
		}
		found, ok := l.matching(p, gap)
		if ok {
			l.fresh = found.first
			return found, true
		}
		l.fresh = gap.last + 1
	}
	return seqSpan{}, false
}

func (l *leasing) anyFresh() bool {
	for i := range l.mailbox.state.Epochs {
		if e := &l.mailbox.state.Epochs[i]; l.holds(e.Epoch) && l.mailbox.unleased(e) > 0 {
			return true
		}
	}
	return false
}

// matching returns the first stretch of a gap whose messages are all of the lease's epochs.
func (l *leasing) matching(p *page, gap seqSpan) (found seqSpan, ok bool) {
	ended := false
	p.byEpoch(gap.first, gap.last, func(epoch uint32, s seqSpan, _ uint64) {
		switch {
		case ended:
		case !l.holds(epoch):
			ended = ok
		case ok:
			found.last = s.last
		default:
			found, ok = s, true
		}
	})
	return found, ok
}

// give leases the numbers of s, all in one page and in one state, as far as they are wanted. What has expired is
// removed instead.
func (m *Mail) give(l *leasing, s seqSpan) {
	mb := l.mailbox
	p := m.states(mb, s.first/storage.PageSeqs)
	p.makeRoom()
	m.readAddresses(mb, p)
	if m.err != nil {
		return
	}
	pieces := p.pieces(m.pieceScratch[:0], p.offset(s.first), p.offset(s.last))
	m.pieceScratch = pieces
	for _, piece := range pieces {
		for piece.First <= piece.Last && l.left > 0 && !l.full {
			part, expired := m.wanted(l, p, piece)
			if l.full {
				break
			}
			if expired {
				m.move(mb, p, part, doneSpan)
			} else {
				m.leasePart(l, p, part)
			}
			if part.State == spanFresh {
				l.fresh = p.seq(part.Last) + 1
			}
			if part.Last == piece.Last {
				break
			}
			piece.First = part.Last + 1
		}
		if l.left == 0 || l.full {
			break
		}
	}
	m.advance(mb)
}

var doneSpan = storage.Span{State: storage.SpanDone, Ref: storage.NoRef}

// wanted returns the front of a piece that has expired, or that has not and fits what the lease still asks for.
func (m *Mail) wanted(l *leasing, p *page, piece storage.Span) (part storage.Span, expired bool) {
	part = piece
	count := uint64(0)
	for i, a := range p.addressesOf(p.seq(piece.First), p.seq(piece.Last)) {
		past := m.past(a.NotAfterMinutes)
		if count == 0 {
			expired = past
		}
		size := uint64(a.Length)
		tooBig := !past && size > l.bytesLeft && l.count+int(count) > 0
		if past != expired || !expired && (count == l.left || tooBig) {
			l.full = l.full || tooBig && count == 0
			break
		}
		if !past {
			l.bytesLeft -= min(l.bytesLeft, size)
		}
		part.Last = piece.First + uint8(i)
		count++
	}
	return part, expired
}

// past reports whether a not-after has passed.
func (m *Mail) past(notAfterMinutes uint32) bool { return int64(notAfterMinutes)*minuteMillis <= m.now }

func (m *Mail) leasePart(l *leasing, p *page, part storage.Span) {
	to := storage.Span{State: storage.SpanLeased, Attempts: part.Attempts + 1, Failures: part.Failures}
	if l.mailbox.leases[l.given.ID] == nil {
		to.Ref = p.addLease(l.given) // it holds nothing yet
	} else {
		to.Ref = p.lease(l.given)
	}
	m.move(l.mailbox, p, part, to)
	to.First, to.Last = part.First, part.Last
	n := int(part.Last-part.First) + 1
	l.count += n
	l.left -= uint64(n)
	l.deliver(m, p, to)
}

// deliver lists the messages of a leased span.
func (l *leasing) deliver(m *Mail, p *page, s storage.Span) {
	if !l.wantDelivery {
		return
	}
	m.readAddresses(l.mailbox, p)
	if m.err != nil {
		return
	}
	first := p.seq(s.First)
	addresses := p.addressesOf(first, p.seq(s.Last))
	for i := range addresses {
		a := &addresses[i]
		l.deliveries = append(l.deliveries, Delivery{
			Seq: first + uint64(i), Index: a.Index, Term: a.Term, Offset: a.Offset, Length: a.Length,
			Digest: a.Digest, StoredMillis: a.StoredMillis, Epoch: a.Epoch,
			NotAfterMinutes: a.NotAfterMinutes, Attempts: s.Attempts, Failures: s.Failures,
		})
	}
}
