package machine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealmq/sealmq/storage"
)

const (
	// defaultCacheBytes bounds the mailboxes of a group that are kept in memory, by a rough count.
	defaultCacheBytes = 16 << 20

	mailboxCost  = 1100 // with its room
	pageCost     = 200
	addressCost  = 56
	spanCost     = 24
	leaseCost    = 200
	producerCost = 120
	runsCost     = 40 // of a producer in the mailbox itself
	sessionCost  = 60

	// maxCachedSenders bounds what one mailbox keeps about its senders.
	maxCachedSenders = 4_096
	// maxIdlePages is how many pages that nobody works on a mailbox keeps, and maxPages how many it keeps at all.
	maxIdlePages = 8
	maxPages     = 256
	// leasedFor is for how many runs after a lease a mailbox counts as one that somebody receives from.
	leasedFor = 32
)

// cache holds the mailboxes that were last used. Within a run of Apply nothing leaves it, so the rows that the run has
// changed and not yet written are always found here.
type cache struct {
	byID     map[[16]byte]*mailbox
	byNumber map[uint64]*mailbox
	newest   *mailbox
	oldest   *mailbox
	cost     int
	limit    int
	leased   int // leasedFor, but in tests
}

func newCache(limit int64) cache {
	if limit <= 0 {
		limit = defaultCacheBytes
	}
	return cache{byID: map[[16]byte]*mailbox{}, byNumber: map[uint64]*mailbox{}, limit: int(limit), leased: leasedFor}
}

func (c *cache) insert(mb *mailbox) {
	c.byID[mb.row.ID] = mb
	c.byNumber[mb.row.Number] = mb
	mb.cost = mailboxCost
	c.cost += mb.cost
	c.pushNewest(mb)
}

func (c *cache) remove(mb *mailbox) {
	if c.byID[mb.row.ID] == mb {
		delete(c.byID, mb.row.ID)
	}
	delete(c.byNumber, mb.row.Number)
	c.cost -= mb.cost
	c.unlink(mb)
}

func (c *cache) pushNewest(mb *mailbox) {
	mb.older, mb.newer = c.newest, nil
	if c.newest != nil {
		c.newest.newer = mb
	} else {
		c.oldest = mb
	}
	c.newest = mb
}

func (c *cache) unlink(mb *mailbox) {
	if mb.newer != nil {
		mb.newer.older = mb.older
	} else {
		c.newest = mb.older
	}
	if mb.older != nil {
		mb.older.newer = mb.newer
	} else {
		c.oldest = mb.newer
	}
	mb.newer, mb.older = nil, nil
}

// settle is called for each mailbox that a run used, after its rows were written.
func (c *cache) settle(mb *mailbox) {
	mb.touched = false
	mb.live = nil // only of use to what opens several sessions at once
	if mb.state.Next == 1 {
		c.remove(mb) // made, perhaps by the hundred thousand, and not used yet
		return
	}
	mb.trim()
	switch {
	case mb.leased > 0:
		mb.leased--
	case len(mb.leases) == 0:
		mb.forgetAddresses()
	}
	c.cost -= mb.cost
	mb.cost = mb.measure()
	c.cost += mb.cost
	if c.newest != mb {
		c.unlink(mb)
		c.pushNewest(mb)
	}
}

// shrink forgets the mailboxes that were used longest ago until the rest fits.
func (c *cache) shrink() {
	for c.cost > c.limit && c.oldest != nil {
		c.remove(c.oldest)
	}
}

func (mb *mailbox) measure() int {
	cost := mailboxCost + len(mb.leases)*leaseCost + len(mb.producers)*producerCost + len(mb.inline)*runsCost
	if n := mb.sessions.len(); n > roomSenders {
		cost += n * sessionCost
	}
	for _, p := range mb.pages {
		cost += pageCost + len(p.Spans)*spanCost + cap(p.room)*addressCost
		if cap(p.addresses) > cap(p.room) {
			cost += cap(p.addresses) * addressCost // they have outgrown the room
		}
	}
	return cost
}

// trim lets go of pages that are neither being filled nor next to be leased, and of senders when they are many.
func (mb *mailbox) trim() {
	if len(mb.producers) > maxCachedSenders {
		mb.producers = nil
	}
	if mb.sessions.len() > maxCachedSenders {
		mb.sessions = sessions{few: mb.room.sessions[:0]}
	}
	if len(mb.pages) <= maxIdlePages {
		return
	}
	next := mb.state.Next
	for i := range mb.state.Epochs {
		next = min(next, mb.state.Epochs[i].Fresh)
	}
	near, tail := next/storage.PageSeqs, mb.state.Next/storage.PageSeqs
	tooMany := len(mb.pages) > maxPages
	mb.pages = slices.DeleteFunc(mb.pages, func(p *page) bool {
		ends := p.number == tail || p.number == mb.inlinePage
		soon := p.number >= near && p.number < near+maxIdlePages/2
		held := len(p.Leases) > 0 && !tooMany
		return !ends && !soon && !held
	})
}

// forgetAddresses lets go of where messages lie that nobody asks for: a backlog is in the store, and would push
// mailboxes out that are worked on. What is inline stays: it is nowhere else.
func (mb *mailbox) forgetAddresses() {
	for i, p := range mb.pages {
		switch {
		case p.end() >= mb.state.Next-1:
			if len(p.addresses) > maxInlineAddresses {
				p.forgetAddresses(mb.inlineAddresses)
			}
		case len(p.addresses) > 0 || p.room != nil:
			p.forgetAddresses(0)
			mb.pages[i] = p.bare()
		}
	}
}

// forgetAddresses keeps the last few addresses only, none of which has a row.
func (p *page) forgetAddresses(keep int) {
	gone := len(p.addresses) - keep
	kept := p.addresses[gone:]
	p.addresses = append(p.room[:0], kept...)
	p.known += uint64(gone)
	p.rows, p.addressesRead = p.rows[:0], false
}

// mailbox returns a mailbox by its id, nil if there is none.
func (m *Mail) mailbox(id [16]byte) *mailbox {
	if mb := m.cache.byID[id]; mb != nil {
		m.touch(mb)
		return mb
	}
	if m.deleted[id] {
		return nil
	}
	row, err := m.reader.MailboxByID(id)
	return m.load(row, err)
}

// mailboxNumbered returns a mailbox by its number, nil if there is none.
func (m *Mail) mailboxNumbered(number uint64) *mailbox {
	if mb := m.cache.byNumber[number]; mb != nil {
		m.touch(mb)
		return mb
	}
	if m.numbers[number] {
		return nil
	}
	row, err := m.reader.Mailbox(number)
	return m.load(row, err)
}

func (m *Mail) load(row storage.Mailbox, err error) *mailbox {
	if errors.Is(err, storage.ErrNotFound) || m.failed(err) {
		return nil
	}
	state, err := m.reader.MailboxState(row.Number)
	if m.failed(err) {
		return nil
	}
	mb := newMailbox(&row, state)
	m.unpack(mb)
	if mb.state.Leased+mb.state.Returned > 0 && m.failed(m.loadHolds(mb)) {
		return nil
	}
	m.cache.insert(mb)
	m.touch(mb)
	return mb
}

// unpack takes apart the parts of a state row that are kept elsewhere in memory.
func (m *Mail) unpack(mb *mailbox) {
	s := &mb.state
	mb.inlinePage = mb.headPage()
	for i := range s.Producers {
		p := &s.Producers[i]
		mb.inline = append(mb.inline, producer{
			id: producerID{p.Sender, p.Producer}, mailbox: mb.row.Number, window: p.Window, Producer: p.State,
		})
	}
	s.Producers = nil
	if n := len(s.Inline); n > 0 {
		p := m.page(mb, s.Next/storage.PageSeqs)
		p.addresses, p.known, mb.inlineAddresses = append(p.room, s.Inline...), s.InlineFirst(), n
		s.Inline = nil
	}
	if len(s.Page.Spans) > 0 {
		m.page(mb, mb.inlinePage).Page = s.Page
		s.Page = storage.Page{}
	}
}

// pack puts them back, to be written at once: they are borrowed.
func (m *Mail) pack(mb *mailbox) {
	s := &mb.state
	m.packed = m.packed[:0]
	for i := range mb.inline {
		p := &mb.inline[i]
		m.packed = append(m.packed, storage.InlineProducer{
			Sender: p.id.sender, Producer: p.id.producer, Window: p.window, State: p.Producer,
		})
	}
	s.Producers, s.Inline, s.Page = m.packed, nil, storage.Page{}
	if n := mb.inlineAddresses; n > 0 {
		p, _ := mb.page(s.Next / storage.PageSeqs)
		s.Inline = p.addresses[len(p.addresses)-n:]
	}
	if p, _ := mb.page(mb.inlinePage); p != nil {
		p.Normalize()
		s.Page = p.Page
	}
}

// loadHolds reads what the pages of a mailbox say about leases and returned messages.
func (m *Mail) loadHolds(mb *mailbox) error {
	if p, _ := mb.page(mb.inlinePage); p != nil {
		m.noteHolds(mb, p)
	}
	return m.reader.Pages(mb.row.Number, &mb.state, func(number uint64, row *storage.Page) error {
		p := m.page(mb, number)
		p.Page, p.statesRead = storage.Page{
			Leases: slices.Clone(row.Leases), Acked: slices.Clone(row.Acked), Spans: slices.Clone(row.Spans),
		}, true
		m.noteHolds(mb, p)
		return m.err
	})
}

func (m *Mail) noteHolds(mb *mailbox, p *page) {
	for _, span := range p.Spans {
		numbers := seqSpan{p.seq(span.First), p.seq(span.Last)}
		switch span.State {
		case storage.SpanLeased:
			mb.hold(&p.Leases[span.Ref], numbers)
		case storage.SpanReturned:
			if m.readAddresses(mb, p); m.err != nil {
				return
			}
			p.byEpoch(numbers.first, numbers.last, func(epoch uint32, s seqSpan, _ uint64) {
				mb.returnedOf(epoch).add(s)
			})
		}
	}
}

func (m *Mail) touch(mb *mailbox) {
	if !mb.touched {
		mb.touched = true
		m.touched = append(m.touched, mb)
	}
}

// page returns a page of a mailbox. What is known of it depends on what it was used for; see states and readAddresses.
func (m *Mail) page(mb *mailbox, number uint64) *page {
	p, i := mb.page(number)
	if p != nil {
		return p
	}
	if number == mb.state.Next/storage.PageSeqs {
		p = newTailPage(number)
	} else {
		p = &page{number: number}
	}
	if p.first() >= mb.state.Next {
		p.statesRead, p.addressesRead = true, true // nothing of it was ever written
	}
	p.known = min(p.end()+1, mb.state.Next)
	if number == mb.inlinePage {
		p.statesRead = true // they came with the mailbox, if there were any
	}
	mb.pages = slices.Insert(mb.pages, i, p)
	return p
}

// states returns a page of a mailbox with its delivery states.
func (m *Mail) states(mb *mailbox, number uint64) *page {
	p := m.page(mb, number)
	if !p.statesRead {
		p.statesRead = true
		if err := m.reader.Page(mb.row.Number, number, &p.Page); !errors.Is(err, storage.ErrNotFound) {
			m.failed(err)
		}
	}
	return p
}

// readAddresses makes the addresses of a page's messages known. Their rows form a chain: each begins where the one
// before ends.
func (m *Mail) readAddresses(mb *mailbox, p *page) {
	if p.addressesRead {
		return
	}
	p.addressesRead = true
	var addresses []storage.Address
	var rows []uint8
	start := storage.FirstAddress(&mb.state, p.number)
	for first := start; first < p.known; first = start + uint64(len(addresses)) {
		row, err := m.reader.Addresses(mb.row.Number, first)
		if m.failed(err) {
			return
		}
		rows, addresses = append(rows, p.offset(first)), append(addresses, row...)
	}
	if len(addresses) > 0 && start+uint64(len(addresses)) != p.known {
		m.failed(fmt.Errorf("%w: addresses of a page do not end where the next ones begin", storage.ErrDamaged))
		return
	}
	if len(addresses) > 0 {
		p.known, p.addresses, p.rows = start, append(addresses, p.addresses...), append(rows, p.rows...)
	}
}
