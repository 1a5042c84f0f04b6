package client

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/wire"
)

const (
	// batchItems and batchBytes close a batch. Larger ones gain nothing: the fields of a batch are a few bytes a message
	// by then, and a batch waits for its last message.
	batchItems = 64
	batchBytes = 128 << 10
)

// batch is messages of one sender that go out in one frame, and again together if that fails.
type batch struct {
	sender  *Sender
	mailbox wire.MailboxRef
	items   []*Pending
	bytes   int // of the frame, at most
	closed  bool
	flying  bool       // its frame is under way: nothing of its items may change
	tookOff time.Time  // the last time, zero before the first
	held    bool       // its items are being sealed again
	left    int        // items without a result
	carried []*Pending // the items of the frame that is under way

	known *sendSession // the sender's, when the frame left
	few   [batchFew]*Pending

	isDone atomic.Bool
	done   chan struct{} // closed when isDone; made by the first who waits, with the sender's lock
}

// batchFew is how many messages a batch has room for without more memory: a mailbox among many gets them one by one.
const batchFew = 4

var _ waiter = (*batch)(nil)

func newBatch(s *Sender, mailbox wire.MailboxRef) *batch {
	b := &batch{sender: s, mailbox: mailbox}
	b.items = b.few[:0]
	return b
}

// add takes an item in.
func (b *batch) add(p *Pending, bytes int) {
	if len(b.items) == batchFew {
		b.items = slices.Grow(b.items, batchItems/2-batchFew)
	}
	p.batch = b
	b.items = append(b.items, p)
	b.bytes += bytes
	b.left++
}

// whenDone is closed when every item has its result.
func (b *batch) whenDone() <-chan struct{} {
	b.sender.mu.Lock()
	defer b.sender.mu.Unlock()
	if b.done == nil {
		b.done = make(chan struct{})
		if b.isDone.Load() {
			close(b.done)
		}
	}
	return b.done
}

// finish lets everybody know who waits. The caller holds the sender's lock.
func (b *batch) finish() {
	b.closed = true
	b.isDone.Store(true)
	if b.done != nil {
		close(b.done)
	}
}

// room reports whether another item of that size fits.
func (b *batch) room(bytes int, mailbox wire.MailboxRef, limits *wire.Limits) bool {
	return !b.closed && b.mailbox == mailbox && len(b.items) < min(batchItems, int(limits.BatchItems)) &&
		b.bytes+bytes <= batchBytes
}

// takeOff begins a flight.
func (b *batch) takeOff() {
	b.closed, b.flying = true, true
	b.takeCarried()
}

// takeCarried picks the items that have no result.
func (b *batch) takeCarried() {
	b.carried = b.items
	if b.left == len(b.items) {
		return
	}
	b.carried = make([]*Pending, 0, b.left)
	for _, p := range b.items {
		if !p.settled {
			b.carried = append(b.carried, p)
		}
	}
}

// append appends the batch as one frame to dst. It is called by the connection's writer while the batch is flying: no
// byte of its items changes until it has landed.
func (b *batch) append(dst []byte, c *conn, request uint32, lowest uint64) []byte {
	m := &c.send
	m.Mailbox, m.Producer, m.LowestUnanswered = b.mailbox, b.sender.producer, lowest
	m.Sessions, m.Items = m.Sessions[:0], m.Items[:0]
	for _, p := range b.carried {
		before := len(m.Sessions)
		index, _ := m.Index(p.header.Session) // a batch has few sessions: a new one every hour, and every 2^20 messages
		if len(m.Sessions) > before && p.session != b.known {
			m.Sessions[index].Init = p.session.headerFor(c)
		}
		m.Items = append(m.Items, wire.SendItem{
			Session: index, Keyed: p.keyed, Header: p.header, BodyTag: p.tag, Sealed: p.sealed,
		})
	}
	dst = wire.AppendFrame(dst, request, m)
	clear(m.Items)
	return dst
}

func (b *batch) subscribed() bool { return false }

// answer takes the results of the items in.
func (b *batch) answer(c *conn, t wire.Type, payload []byte, err error) {
	switch {
	case err == nil && t == wire.TypeSendReply:
		reply := &c.reply
		if err = reply.Decode(payload); err == nil {
			b.sender.answered(c, b, reply)
			return
		}
	case err == nil && t == wire.TypeFailure:
		var f wire.Failure
		if err = f.Decode(payload); err == nil {
			e := fromFailure(&f)
			e.failure = &f
			b.sender.refused(c, b, e)
			return
		}
	case err == nil:
		err = errors.New("the node answered a send with " + t.String())
	}
	e := unreachable(errConnLost, "%v", err)
	if !errors.Is(err, errNotSent) {
		e.Outcome = Unknown
	}
	b.sender.refused(c, b, e)
}
