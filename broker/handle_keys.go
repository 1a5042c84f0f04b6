package broker

import (
	"crypto/sha256"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/wire"
)

// handleResolve tells a sender or receiver all that it needs to know of a mailbox at once.
func (c *conn) handleResolve(request uint32, payload []byte) error {
	var m wire.Resolve
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(wire.SlotOf(m.Name))
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb, err := c.named(g, m.Name, wire.ActionSend, wire.ActionReceive, wire.ActionAck, wire.ActionStat,
		wire.ActionManage, wire.ActionKeys)
	if err != nil {
		return c.failErr(request, g, err)
	}
	reply := &wire.ResolveReply{
		ID: mb.ID, Slot: wire.SlotOf(mb.Name), Group: g.id, Leader: g.leader(), Owner: mb.Owner, Policy: defaultPolicy,
		LeaseMillis: machine.DefaultLeaseMillis, TTLMillis: uint64(timeToLive.Milliseconds()), TimeMillis: g.stamp(),
		RecordVersion: mb.KeyVersion,
	}
	if mb.KeyVersion != 0 {
		if reply.Record, err = g.reader.KeyRecord(mb.Number, mb.KeyVersion); err != nil {
			return c.failErr(request, g, err)
		}
	}
	c.answer(request, reply)
	return nil
}

// handleKeyRecordPublish stores the next version of a mailbox's key record. Only the principal that owns the mailbox
// may; the machine checks it again.
func (c *conn) handleKeyRecordPublish(request uint32, payload []byte) error {
	var m wire.KeyRecordPublish
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(m.Mailbox.Slot)
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb, err := c.mailbox(g, m.Mailbox.ID, wire.ActionKeys)
	if err == nil && mb.Name != m.Name {
		err = refusal(wire.CodeMailboxGone, "the mailbox of this id has another name")
	}
	if err != nil {
		return c.failErr(request, g, err)
	}
	command := machine.KeyRecordPublish{
		Principal: c.principal, Mailbox: m.Mailbox.ID, Version: m.Version, Previous: m.PreviousHash,
		Hash: sha256.Sum256(m.Record), Identity: m.OwnerKey, Record: m.Record,
	}
	done := &plainDone{c, g, request}
	if err := c.proposeUse(g, mb, wire.ActionKeys, proposed{command.Append, done}); err != nil {
		return c.failErr(request, g, err)
	}
	return nil
}

func (c *conn) handleSessionPut(request uint32, payload []byte) error {
	var m wire.SessionPut
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(m.Mailbox.Slot)
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb, err := c.mailbox(g, m.Mailbox.ID, wire.ActionSend)
	if err != nil {
		return c.failErr(request, g, err)
	}
	command := machine.SessionPut{Principal: c.principal, Mailbox: mb.ID}
	for _, init := range m.Inits {
		item, err := g.sessionItem(mb, &wire.SessionRef{ID: wire.SessionID(mb.ID, init), Init: init})
		if err != nil {
			return c.failErr(request, g, err)
		}
		command.Items = append(command.Items, item)
	}
	done := &sessionPutDone{c, g, request}
	if err := c.proposeUse(g, mb, wire.ActionSend, proposed{command.Append, done}); err != nil {
		return c.failErr(request, g, err)
	}
	return nil
}

// sessionPutDone answers a session put.
type sessionPutDone struct {
	conn    *conn
	group   *mailGroup
	request uint32
}

func (d *sessionPutDone) done(o *machine.Outcome, err error) {
	if err == nil && o.Code != machine.CodeOK {
		err = codeError(o.Code)
	}
	if err != nil {
		d.conn.failErr(d.request, d.group, err)
		return
	}
	reply := &wire.SessionPutReply{}
	for _, run := range o.Codes {
		for range run.Count {
			reply.Codes = append(reply.Codes, wireCode(run.Code))
		}
	}
	d.conn.answer(d.request, reply)
}

func (c *conn) handleSessionGet(request uint32, payload []byte) error {
	var m wire.SessionGet
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(m.Mailbox.Slot)
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb, err := c.mailbox(g, m.Mailbox.ID, wire.ActionReceive)
	if err != nil {
		return c.failErr(request, g, err)
	}
	headers, err := g.headers.fetch(mb, m.IDs, g.rules.TimeMillis())
	if err != nil {
		return c.failErr(request, g, err)
	}
	reply := &wire.SessionGetReply{}
	for _, id := range m.IDs {
		reply.Items = append(reply.Items, wire.SessionRef{ID: id, Init: headers[id]})
	}
	c.answer(request, reply)
	return nil
}
