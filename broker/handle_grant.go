package broker

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// failControl answers a request to the control group with an error.
func (c *conn) failControl(request uint32, err error) error {
	c.failWith(request, c.broker.failure(&c.broker.control.group, err))
	return nil
}

// handleGrantAdd gives rights. Who gives them must have admin on the resource.
func (c *conn) handleGrantAdd(request uint32, payload []byte) error {
	var m wire.GrantAdd
	if err := m.Decode(payload); err != nil {
		return err
	}
	err := c.broker.control.mustLead()
	if err == nil {
		err = c.mayAll(wire.ActionAdmin, m.Resource)
	}
	if err != nil {
		return c.failControl(request, err)
	}
	command := machine.GrantAdd{
		Principal: c.principal, Subject: m.Subject, Actions: machine.Actions(m.Actions), Resource: m.Resource,
	}
	rand.Read(command.ID[:])
	return c.proposeControl(request, m.Resource, command.Append, func(o *machine.Outcome) {
		c.broker.control.answerAdded(c, request, o)
	})
}

// handleGrantRemove takes rights back.
func (c *conn) handleGrantRemove(request uint32, payload []byte) error {
	var m wire.GrantRemove
	if err := m.Decode(payload); err != nil {
		return err
	}
	if err := c.broker.control.mustLead(); err != nil {
		return c.failControl(request, err)
	}
	all, err := c.broker.control.reader.Grants()
	if err != nil {
		return c.failControl(request, err)
	}
	// Who may not remove a grant gets the same answer whether there is one or not.
	i := slices.IndexFunc(all, func(g storage.Grant) bool { return g.ID == m.ID })
	if i < 0 || c.mayAll(wire.ActionAdmin, all[i].Resource) != nil {
		if !c.grantsSomething(all) {
			return c.failControl(request, c.adminNeeded())
		}
		// It may have been removed a moment ago, and this be the request again that was not answered then: that it is
		// gone must hold on every node, too.
		go c.broker.control.answerGone(c, request)
		return nil
	}
	command := machine.GrantRemove{Principal: c.principal, ID: m.ID}
	return c.proposeControl(request, all[i].Resource, command.Append, func(o *machine.Outcome) {
		if o.Code == machine.CodeNotFound {
			c.broker.control.answerGone(c, request)
			return
		}
		c.broker.control.answerRemoved(c, request)
	})
}

// adminNeeded is the refusal of who grants nothing, or of a node that does not know who does.
func (c *conn) adminNeeded() error {
	if err := c.mayAll(wire.ActionAdmin, ">"); err != nil {
		return err
	}
	return c.denied(wire.ActionAdmin)
}

// grantsSomething reports whether the principal has admin on any resource that a grant names, or on all.
func (c *conn) grantsSomething(all []storage.Grant) bool {
	return c.mayAll(wire.ActionAdmin, ">") == nil || slices.ContainsFunc(all, func(g storage.Grant) bool {
		return machine.Actions(g.Actions)&machine.ActionAdmin != 0 && c.mayAll(wire.ActionAdmin, g.Resource) == nil
	})
}

// proposeControl proposes a command of the control group by one who administers a resource. answer is called when it
// was applied here, or found nothing to remove.
func (c *conn) proposeControl(request uint32, resource string, build func([]byte) []byte,
	answer func(*machine.Outcome)) error {
	command := proposed{build, &controlDone{c, request, answer}}
	err := c.underRight(func() error { return c.mayAll(wire.ActionAdmin, resource) },
		func(stands func() bool) error { return c.broker.control.proposer.addAll(stands, command) })
	if err != nil {
		return c.failControl(request, err)
	}
	return nil
}

// controlDone answers a command of the control group.
type controlDone struct {
	conn    *conn
	request uint32
	answer  func(*machine.Outcome)
}

func (d *controlDone) done(o *machine.Outcome, err error) {
	if err == nil && o.Code != machine.CodeOK && o.Code != machine.CodeNotFound {
		err = codeError(o.Code)
	}
	if err != nil {
		d.conn.failControl(d.request, err)
		return
	}
	go d.answer(o) // it waits for other nodes
}

// handleGrantList lists the grants that the principal administers or is the subject of, as this node knows them.
func (c *conn) handleGrantList(request uint32, payload []byte) error {
	var m wire.GrantList
	if err := m.Decode(payload); err != nil {
		return err
	}
	if !c.broker.control.fresh() {
		return c.failControl(request, errStale)
	}
	all, err := c.broker.control.reader.Grants()
	if err != nil {
		return c.failControl(request, err)
	}
	slices.SortFunc(all, func(a, b storage.Grant) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	reply := &wire.GrantListReply{}
	for _, g := range all {
		may := c.mayAll(wire.ActionAdmin, g.Resource)
		if errors.Is(may, errStale) {
			return c.failControl(request, may) // a list without it would be wrong
		}
		mine := g.Subject == c.principal || may == nil
		if bytes.Compare(g.ID[:], m.After[:]) <= 0 || m.Subject != "" && m.Subject != g.Subject || !mine {
			continue
		}
		if len(reply.Items) == int(m.Limit) {
			reply.Next = reply.Items[len(reply.Items)-1].ID
			break
		}
		reply.Items = append(reply.Items, wire.Grant{
			ID: g.ID, Subject: g.Subject, Actions: wire.Actions(g.Actions), Resource: g.Resource,
		})
	}
	c.answer(request, reply)
	return nil
}
