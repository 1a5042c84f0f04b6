package broker

import (
	"crypto/rand"
	"errors"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// defaultPolicy is what every mailbox demands for now.
const defaultPolicy = wire.PolicySealedOnly

// handleMailboxCreate makes mailboxes of one group: a secret for each, then the rows.
func (c *conn) handleMailboxCreate(request uint32, payload []byte) error {
	var m wire.MailboxCreate
	if err := m.Decode(payload); err != nil {
		return err
	}
	if len(m.Items) == 0 {
		c.answer(request, &wire.MailboxCreateReply{})
		return nil
	}
	g, err := c.leading(wire.SlotOf(m.Items[0].Name))
	if err != nil {
		return c.failErr(request, g, err)
	}
	if !c.broker.control.fresh() {
		return c.failErr(request, g, errStale)
	}
	done := &createDone{conn: c, group: g, request: request, codes: make([]wire.Code, len(m.Items))}
	command := machine.MailboxCreate{Principal: c.principal}
	// Secrets go first: a mailbox that exists can always seal.
	var all []proposed
	for i, item := range m.Items {
		code, err := c.checkCreate(g, &item)
		switch {
		case err != nil:
			return c.failErr(request, g, err)
		case code != wire.CodeOK:
			done.codes[i] = code
		default:
			done.asked = append(done.asked, i)
			command.Items = append(command.Items, machine.MailboxCreateItem{Name: item.Name, ID: item.ID})
			put := &machine.KeyPut{Mailbox: item.ID, Generation: firstGeneration}
			rand.Read(put.Key[:])
			all = append(all, proposed{put.Append, ignored{}})
		}
	}
	if len(command.Items) == 0 {
		done.done(&machine.Outcome{}, nil)
		return nil
	}
	all = append(all, proposed{command.Append, done})
	err = c.underRight(func() error {
		for i := range command.Items {
			if err := c.may(wire.ActionManage, command.Items[i].Name, ""); err != nil {
				return err
			}
		}
		return nil
	}, func(stands func() bool) error { return g.proposer.addAll(stands, all...) })
	if err != nil {
		return c.failErr(request, g, err)
	}
	return nil
}

// checkCreate refuses a mailbox that is of another group, that the principal may not make, or whose name is taken. The
// machine would refuse the last as well, but the secret that goes before a create would stay: nothing that is there
// leads to it.
func (c *conn) checkCreate(g *mailGroup, item *wire.MailboxNew) (wire.Code, error) {
	if slotGroup(wire.SlotOf(item.Name), len(c.broker.mail)) != g.id {
		return wire.CodeBadRequest, nil
	}
	if err := c.may(wire.ActionManage, item.Name, ""); errors.Is(err, errStale) {
		return 0, err
	} else if err != nil {
		return wire.CodePermissionDenied, nil
	}
	mb, err := g.reader.MailboxByName(item.Name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return wire.CodeOK, nil
	case err == nil && mb.ID != item.ID:
		return wire.CodeExists, nil
	}
	return wire.CodeOK, err
}

// ignored is the completion of a command whose outcome shows in the next one's.
type ignored struct{}

func (ignored) done(*machine.Outcome, error) {}

// createDone answers a mailbox create.
type createDone struct {
	conn    *conn
	group   *mailGroup
	request uint32
	codes   []wire.Code
	asked   []int // places in the request of what was proposed
}

func (d *createDone) done(o *machine.Outcome, err error) {
	if err == nil && o.Code != machine.CodeOK {
		err = codeError(o.Code)
	}
	if err != nil {
		d.conn.failErr(d.request, d.group, err)
		return
	}
	for _, run := range o.Codes {
		for range run.Count {
			d.codes[d.asked[0]] = wireCode(run.Code)
			d.asked = d.asked[1:]
		}
	}
	reply := &wire.MailboxCreateReply{Items: make([]wire.MailboxCreated, len(d.codes))}
	for i, code := range d.codes {
		reply.Items[i] = wire.MailboxCreated{Code: code, Group: d.group.id}
		if code != wire.CodeOK {
			d.conn.broker.metrics.failures(code).Inc()
		}
	}
	d.conn.answer(d.request, reply)
}

// named returns the mailbox of a name if the principal may do any of actions with it. Who may not gets the same
// answer whether the mailbox is there or not.
func (c *conn) named(g *mailGroup, name string, actions ...wire.Actions) (storage.Mailbox, error) {
	mb, missing := g.reader.MailboxByName(name)
	if missing != nil && !errors.Is(missing, storage.ErrNotFound) {
		return mb, missing
	}
	var denied error
	for _, a := range actions {
		err := c.may(a, name, mb.Owner)
		switch {
		case err == nil && missing != nil:
			return mb, refusal(wire.CodeNotFound, "there is no mailbox of this name")
		case err == nil:
			return mb, nil
		case denied == nil || errors.Is(err, errStale):
			denied = err
		}
	}
	return storage.Mailbox{}, denied
}

func (c *conn) handleMailboxDelete(request uint32, payload []byte) error {
	var m wire.MailboxDelete
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, err := c.leading(wire.SlotOf(m.Name))
	if err != nil {
		return c.failErr(request, g, err)
	}
	mb, err := c.named(g, m.Name, wire.ActionManage)
	if err == nil && mb.ID != m.ID {
		err = refusal(wire.CodeMailboxGone, "the mailbox of this name has another id")
	}
	if err != nil {
		return c.failErr(request, g, err)
	}
	remove, forget := machine.MailboxDelete{Principal: c.principal, Mailbox: m.ID}, machine.KeyDelete{Mailbox: m.ID}
	done := &deleteDone{plainDone{c, g, request}, m.ID}
	err = c.underRight(func() error { return c.may(wire.ActionManage, mb.Name, mb.Owner) },
		func(stands func() bool) error {
			return g.proposer.addAll(stands, proposed{remove.Append, done}, proposed{forget.Append, ignored{}})
		})
	if err != nil {
		return c.failErr(request, g, err)
	}
	return nil
}

// deleteDone answers a mailbox delete, and ends whoever waits for messages of the mailbox.
type deleteDone struct {
	plainDone
	mailbox [16]byte
}

func (d *deleteDone) done(o *machine.Outcome, err error) {
	d.plainDone.done(o, err)
	if err == nil && o.Code == machine.CodeOK {
		d.group.headers.forget(d.mailbox)
		d.group.waits.on(d.mailbox, func(r *receiver) { r.fail(errNoMailbox) })
	}
}

// plainDone answers a command that did what it was told.
type plainDone struct {
	conn    *conn
	group   *mailGroup
	request uint32
}

func (d *plainDone) done(o *machine.Outcome, err error) {
	if err == nil && o.Code != machine.CodeOK {
		err = codeError(o.Code)
	}
	if err != nil {
		d.conn.failErr(d.request, d.group, err)
		return
	}
	d.conn.answer(d.request, &wire.Done{})
}
