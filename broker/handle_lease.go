package broker

import (
	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// handleAck removes what a lease holds.
func (c *conn) handleAck(request uint32, payload []byte) error {
	m := &c.decoded.ack
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, mb, err := c.leased(m.Mailbox)
	if err != nil {
		return c.failErr(request, g, err)
	}
	command := machine.Ack{
		Principal: c.principal, Mailbox: m.Mailbox.ID, Lease: m.Lease, Ranges: c.decoded.seqRanges(m.Seqs),
	}
	return c.proposeLease(request, g, mb, command.Append, leaseAck)
}

// handleNack gives back what a lease holds.
func (c *conn) handleNack(request uint32, payload []byte) error {
	m := &c.decoded.nack
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, mb, err := c.leased(m.Mailbox)
	if err != nil {
		return c.failErr(request, g, err)
	}
	command := machine.Nack{
		Principal: c.principal, Mailbox: m.Mailbox.ID, Lease: m.Lease, Ranges: c.decoded.seqRanges(m.Seqs),
	}
	switch m.Code {
	case wire.NackNoKey:
		command.Reason = machine.NackNoKey
		epochs, err := g.epochsOf(mb, c.principal, m.Lease, command.Ranges)
		if err != nil {
			return c.failErr(request, g, err)
		}
		c.excludeEpochs(mb.ID, epochs)
	case wire.NackBadSeal:
		command.Reason = machine.NackBadSeal
		c.broker.warnings.note("a receiver could not open what a sender sealed", "group", g.id)
	case wire.NackNoSession:
		command.Reason = machine.NackNoSession
		c.window.clear()
	case wire.NackRetry:
		command.Reason = machine.NackRetry
	case wire.NackRetryAfter:
		command.Reason, command.DelayMillis = machine.NackRetry, m.DelayMillis
	case wire.NackReject:
		command.Reason, command.DelayMillis = machine.NackReject, m.DelayMillis
	case wire.NackRelease:
		command.Reason = machine.NackRelease
	default:
		c.fail(request, wire.CodeUnsupported, "unknown nack code")
		return nil
	}
	return c.proposeLease(request, g, mb, command.Append, leaseNack)
}

// handleExtend moves the deadline of what a lease holds.
func (c *conn) handleExtend(request uint32, payload []byte) error {
	m := &c.decoded.extend
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, mb, err := c.leased(m.Mailbox)
	if err != nil {
		return c.failErr(request, g, err)
	}
	command := machine.Extend{
		Principal: c.principal, Mailbox: m.Mailbox.ID, Lease: m.Lease, LeaseMillis: m.LeaseMillis,
		Ranges: c.decoded.seqRanges(m.Seqs),
	}
	return c.proposeLease(request, g, mb, command.Append, leaseExtend)
}

// leased returns the mailbox that a lease is of, if this node leads it and the principal may ack.
func (c *conn) leased(ref wire.MailboxRef) (*mailGroup, *storage.Mailbox, error) {
	g, err := c.leading(ref.Slot)
	if err != nil {
		return g, nil, err
	}
	mb, err := c.mailbox(g, ref.ID, wire.ActionAck)
	return g, mb, err
}

// seqRanges translates ranges into memory that is used again.
func (d *decoded) seqRanges(seqs []wire.SeqRange) []machine.SeqRange {
	d.ranges = d.ranges[:0]
	for _, s := range seqs {
		d.ranges = append(d.ranges, machine.SeqRange{First: s.First, Count: s.Count})
	}
	return d.ranges
}

// proposeLease proposes a command that takes load off the mailbox.
func (c *conn) proposeLease(request uint32, g *mailGroup, mb *storage.Mailbox, build func([]byte) []byte,
	verb leaseVerb) error {
	command := proposed{build, &leaseCommandDone{c, g, request, verb}}
	err := c.underRight(func() error { return c.mayUse(mb, wire.ActionAck) },
		func(stands func() bool) error { return g.proposer.addRelief(stands, command) })
	if err != nil {
		return c.failErr(request, g, err)
	}
	return nil
}

type leaseVerb uint8

const (
	leaseAck leaseVerb = iota
	leaseNack
	leaseExtend
)

// leaseCommandDone answers an ack, nack or extend.
type leaseCommandDone struct {
	conn    *conn
	group   *mailGroup
	request uint32
	verb    leaseVerb
}

func (d *leaseCommandDone) done(o *machine.Outcome, err error) {
	if err == nil && o.Code != machine.CodeOK {
		err = codeError(o.Code)
	}
	if err != nil {
		d.conn.failErr(d.request, d.group, err)
		return
	}
	d.conn.settled.Add(1)
	m := d.conn.broker.metrics
	reply := &wire.LeaseReply{}
	for _, run := range o.Codes {
		code := wireCode(run.Code)
		reply.Add(code, run.Count)
		switch {
		case code != wire.CodeOK:
			m.failures(code).Add(float64(run.Count))
		case d.verb == leaseAck:
			m.acks.Add(float64(run.Count))
		case d.verb == leaseNack:
			m.nacks.Add(float64(run.Count))
		}
	}
	if o.Deadline != 0 {
		d.group.holds.push(o.Mailbox, o.Deadline)
		if d.verb == leaseExtend {
			reply.LeaseMillis = d.group.millisLeft(o.Deadline)
		}
	}
	d.conn.answer(d.request, reply)
	if o.Wake {
		d.group.waits.wake(o.Mailbox, o.Ready)
	}
}
