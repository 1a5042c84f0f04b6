package broker

import (
	"cmp"
	"errors"
	"slices"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// keyedFrom tells ids that are a producer's counter from keyed ones, for the sake of their size on the wire only: a
// counter never gets there, and the low half of a keyed id is below it once in 65,536.
const keyedFrom = 1 << 48

// initRoom is what a frame keeps free for each session header that it may have to bring.
const initRoom = wire.SessionInitBytes + 24

// delivery makes one frame of the messages of a lease, from the front of rest, and returns how many of them it has
// dealt with. m is nil if none of those can be sent: the lease has passed, or their bodies cannot be read. They stay
// leased until their time is over, and are tried again.
func (g *mailGroup) delivery(c *conn, ref wire.MailboxRef, o *machine.Outcome, rest []machine.Delivery) (
	m *wire.Deliver, n int, err error) {
	left := g.millisLeft(o.Deadline)
	if left == 0 {
		return nil, len(rest), nil
	}
	mb, err := g.machine.Lookup(ref.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, 0, errNoMailbox
	}
	if err != nil {
		return nil, 0, err
	}
	m = &wire.Deliver{Mailbox: ref, Lease: o.Lease, LeaseMillis: left, Items: make([]wire.DeliverItem, 0, len(rest))}
	if n = g.fill(m, rest); len(m.Items) == 0 {
		return nil, n, nil
	}
	return m, n, g.attachHeaders(c, mb, m)
}

// millisLeft returns what is left of a lease, 0 if it has passed.
func (g *mailGroup) millisLeft(deadline int64) uint32 {
	return uint32(min(max(deadline-g.stamp(), 0), wire.LeaseMaxMillis))
}

// fill puts messages into m until it is full, and returns how many it has dealt with.
func (g *mailGroup) fill(m *wire.Deliver, messages []machine.Delivery) (n int) {
	size := m.SizeBound()
	for i := range messages {
		d := &messages[i]
		item, err := g.item(d)
		if err != nil {
			g.broker.failures.note("a stored body cannot be delivered", "group", g.id, "index", d.Index, "term", d.Term,
				"offset", d.Offset, "length", d.Length, "err", err)
			continue
		}
		sessions, producers := len(m.Sessions), len(m.Producers)
		if !m.Place(&item, item.Header.Counter() >= keyedFrom) {
			return i
		}
		size += item.SizeBound() + (len(m.Sessions)-sessions)*initRoom
		if size > wire.FrameBytes && len(m.Items) > 0 {
			m.Sessions, m.Producers = m.Sessions[:sessions], m.Producers[:producers]
			return i
		}
		m.Items = append(m.Items, item)
	}
	return len(messages)
}

var errBody = errors.New("the body is not the one that was stored")

// item reads a body and takes its clear header off.
func (g *mailGroup) item(d *machine.Delivery) (wire.DeliverItem, error) {
	record, err := g.log.Body(d.Index, d.Term, int(d.Offset), int(d.Length))
	if err != nil {
		return wire.DeliverItem{}, err
	}
	if len(record) == 0 || machine.StoredDigest(record) != d.Digest {
		return wire.DeliverItem{}, errBody
	}
	header, sealed, err := wire.CutClearHeader(record[1:])
	if err != nil {
		return wire.DeliverItem{}, err
	}
	return wire.DeliverItem{
		Seq: d.Seq, Attempts: d.Attempts, StoredMillis: d.StoredMillis, Header: header, Sealed: sealed,
	}, nil
}

// attachHeaders adds the headers of sessions that the connection has not been brought yet.
func (g *mailGroup) attachHeaders(c *conn, mb *storage.Mailbox, m *wire.Deliver) error {
	var missing [][16]byte
	for i := range m.Sessions {
		if !c.window.knows(m.Sessions[i].ID) {
			missing = append(missing, m.Sessions[i].ID)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	headers, err := g.headers.fetch(mb, missing, g.rules.TimeMillis())
	if err != nil {
		return err
	}
	for i := range m.Sessions {
		m.Sessions[i].Init = headers[m.Sessions[i].ID]
	}
	return nil
}

// release gives messages of a lease back that were not looked at.
func (g *mailGroup) release(principal string, mailbox [16]byte, lease [8]byte, messages []machine.Delivery,
	on pending) {
	command := machine.Nack{Principal: principal, Mailbox: mailbox, Lease: lease, Reason: machine.NackRelease}
	for i := range messages {
		seq := messages[i].Seq
		if n := len(command.Ranges); n > 0 && command.Ranges[n-1].First+uint64(command.Ranges[n-1].Count) == seq {
			command.Ranges[n-1].Count++
		} else {
			command.Ranges = append(command.Ranges, machine.SeqRange{First: seq, Count: 1})
		}
	}
	// An error means that this node does not lead any more or stops: the lease runs out then.
	if g.proposer.addNow(command.Append, released{g, on}) != nil {
		on.done()
	}
}

// released wakes who waits for what was given back.
type released struct {
	group *mailGroup
	on    pending
}

func (d released) done(o *machine.Outcome, err error) {
	d.on.done()
	if err == nil && o.Wake {
		d.group.waits.wake(o.Mailbox, o.Ready)
	}
}

// heldBy returns the leases that a receiver of the connection's principal has of a mailbox now, in the order of their
// messages, as far as their messages are wanted.
func (g *mailGroup) heldBy(c *conn, mb *storage.Mailbox, receiver [16]byte,
	wanted func(lease [8]byte, m *storage.Message) bool) ([]*catch, error) {
	snapshot, closer, err := g.messages()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	leases, err := snapshot.Leased(mb.Number, receiver, c.principal)
	if err != nil {
		return nil, err
	}
	var all []*catch
	for _, l := range leases {
		o := &machine.Outcome{Mailbox: mb.ID, Lease: l.Lease, Deadline: l.DeadlineMillis}
		for i := range l.Messages {
			m := &l.Messages[i]
			if !wanted(l.Lease, m) {
				continue
			}
			o.Deliveries = append(o.Deliveries, machine.Delivery{
				Seq: m.Seq, Index: m.Index, Term: m.Term, Offset: m.Offset, Length: m.Length, Digest: m.Digest,
				StoredMillis: m.StoredMillis, Epoch: m.Epoch, NotAfterMinutes: m.NotAfterMinutes,
				Attempts: m.Attempts, Failures: m.Failures,
			})
		}
		if len(o.Deliveries) > 0 {
			all = append(all, &catch{o, true})
		}
	}
	return all, nil
}

// inherit takes over from the receiver's earlier connections and notes what they have leased. Nothing of that changes
// behind its back any more: they lease nothing and give nothing back, and what they did before is waited for.
func (r *receiver) inherit() (err error) {
	select {
	case <-r.group.heirs.takeOver(r):
	case <-r.conn.gone:
		return errStopping
	}
	if r.pull {
		return nil // its attempt is repeated, and brings the same
	}
	r.held, err = r.group.heldBy(r.conn, r.row, r.id, func(_ [8]byte, m *storage.Message) bool {
		return contains(r.epochs, m.Epoch)
	})
	return err
}

// stillHeld returns which of some messages the receiver holds under a lease now, from the first one on as far as one
// deadline goes. It is nil if there are none: the client was done with them before they were brought again.
func (r *receiver) stillHeld(lease [8]byte, messages []machine.Delivery) (*machine.Outcome, error) {
	all, err := r.group.heldBy(r.conn, r.row, r.id, func(l [8]byte, m *storage.Message) bool {
		_, named := slices.BinarySearchFunc(messages, m.Seq, func(d machine.Delivery, seq uint64) int {
			return cmp.Compare(d.Seq, seq)
		})
		return named && l == lease
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0].Outcome, nil
}

// epochsOf returns the key epochs of messages that a lease of a principal holds.
func (g *mailGroup) epochsOf(mb *storage.Mailbox, principal string, lease [8]byte, ranges []machine.SeqRange) (
	[]uint32, error) {
	snapshot, closer, err := g.messages()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	var receiver [16]byte
	found := false
	err = snapshot.HoldsOf(mb.Number, func(h storage.Hold) error {
		if h.Leased && h.Lease == lease {
			receiver, found = h.Receiver, true
			return storage.ErrStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, storage.ErrStop) || !found {
		return nil, err
	}
	leases, err := snapshot.Leased(mb.Number, receiver, principal)
	if err != nil {
		return nil, err
	}
	var epochs []uint32
	for _, l := range leases {
		for _, m := range l.Messages {
			named := slices.ContainsFunc(ranges, func(s machine.SeqRange) bool {
				return m.Seq-s.First < uint64(s.Count)
			})
			if l.Lease == lease && named && !slices.Contains(epochs, m.Epoch) {
				epochs = append(epochs, m.Epoch)
			}
		}
	}
	return epochs, nil
}
