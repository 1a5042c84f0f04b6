package broker

import (
	"errors"
	"strings"
	"sync"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// The numbers of actions are the same on the wire and in the log; these lines do not compile if they part.
var _ = [1]struct{}{}[wire.AllActions-wire.Actions(machine.AllActions)]

// rightsCache remembers what a connection may do with which mailbox, for as long as the grants stay as they are.
type rightsCache struct {
	mu      sync.Mutex
	version uint64
	by      map[[16]byte]right
}

// right is what was decided about one mailbox so far.
type right struct {
	mailbox         *storage.Mailbox
	asked, answered machine.Actions // actions asked about, and those of them that are allowed
}

// rightsCached bounds a connection's cache. It is emptied when full.
const rightsCached = 8 << 10

// errStale is what a node says that cannot know whether a right was taken back.
var errStale = refusal(wire.CodeUnavailable, "this node has not heard from the control group for too long")

// errNoMailbox does not say whether the mailbox was deleted or never was.
var errNoMailbox = refusal(wire.CodeMailboxGone, "no mailbox of this group has this id")

// mailbox returns the mailbox if the connection's principal may do all of actions with it. An id is drawn at random:
// who knows one knows that the mailbox was there, so a refusal does not hide that.
func (c *conn) mailbox(g *mailGroup, id [16]byte, actions wire.Actions) (*storage.Mailbox, error) {
	mb, err := g.machine.Lookup(id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, errNoMailbox
	case err != nil:
		return nil, err
	}
	return mb, c.mayUse(mb, actions)
}

// mayUse refuses unless the connection's principal may do all of actions with the mailbox.
func (c *conn) mayUse(mb *storage.Mailbox, actions wire.Actions) error {
	switch {
	case !c.broker.control.fresh():
		return errStale
	case !c.allowed(mb, machine.Actions(actions)):
		return c.denied(actions)
	}
	return nil
}

// mayReceive refuses unless the connection's principal may receive from the mailbox. It is asked before every lease and
// before every delivery.
func (c *conn) mayReceive(mb *storage.Mailbox) error { return c.mayUse(mb, wire.ActionReceive) }

// allowed tells whether the connection's principal may do all of actions with the mailbox.
func (c *conn) allowed(mb *storage.Mailbox, actions machine.Actions) bool {
	grants := c.broker.control.machine.Grants()
	c.rights.mu.Lock()
	if c.rights.version != grants.Version() || c.rights.by == nil || len(c.rights.by) >= rightsCached {
		c.rights.by = map[[16]byte]right{}
		c.rights.version = grants.Version()
	}
	known := c.rights.by[mb.ID]
	c.rights.mu.Unlock()
	if known.mailbox == mb && known.asked&actions == actions {
		return known.answered&actions == actions
	}
	allowed := machine.Decide(grants, c.principal, mb.Owner, actions, mb.Name).Allowed
	if known.mailbox != mb {
		known = right{mailbox: mb}
	}
	// A set of several is remembered only when all of it is allowed: a refusal does not say which of them it was about.
	if allowed || actions&(actions-1) == 0 {
		known.asked |= actions
		if allowed {
			known.answered |= actions
		}
		c.rights.mu.Lock()
		if c.rights.version == grants.Version() {
			c.rights.by[mb.ID] = known
		}
		c.rights.mu.Unlock()
	}
	return allowed
}

// basis is what rights are decided by.
type basis struct {
	version uint64 // of the grants
	fresh   bool
}

func (b *Broker) basis() basis { return basis{b.control.machine.Grants().Version(), b.control.fresh()} }

// stands reports whether rights that were decided by it would be decided the same way now.
func (b *Broker) stands(on basis) bool {
	return b.control.machine.Grants().Version() == on.version && (!on.fresh || b.control.fresh())
}

// underRight proposes commands for which decide finds a right. While they wait for room that right may be taken back,
// and who took it back be told that nothing comes of it any more: then it is decided again.
func (c *conn) underRight(decide func() error, propose func(stands func() bool) error) error {
	for {
		on := c.broker.basis()
		if err := decide(); err != nil {
			return err
		}
		if err := propose(func() bool { return c.broker.stands(on) }); err != errMoved {
			return err
		}
	}
}

// proposeUse proposes a command that does actions with a mailbox.
func (c *conn) proposeUse(g *mailGroup, mb *storage.Mailbox, actions wire.Actions, command proposed) error {
	return c.underRight(func() error { return c.mayUse(mb, actions) },
		func(stands func() bool) error { return g.proposer.addAll(stands, command) })
}

// may decides about a name, for mailboxes that may not exist. What operators may does not rest on grants: they see how
// a cluster is that has lost its majority.
func (c *conn) may(actions wire.Actions, name, owner string) error {
	d := machine.Decide(c.broker.control.machine.Grants(), c.principal, owner, machine.Actions(actions), name)
	switch {
	case d.Allowed && d.By == machine.ByOperator:
		return nil
	case !c.broker.control.fresh():
		return errStale
	case !d.Allowed:
		return c.denied(actions)
	}
	return nil
}

// mayAll decides about every name that a pattern matches.
func (c *conn) mayAll(actions wire.Actions, pattern string) error {
	err := c.may(actions, pattern, "")
	if parent, ok := strings.CutSuffix(pattern, ">"); ok && err == nil {
		// A token that stands for one matches ">" as if that were one, but not the two that it also stands for.
		err = c.may(actions, parent+">.>", "")
	}
	return err
}

// denied is the refusal that names who needs what, and not the mailbox.
func (c *conn) denied(actions wire.Actions) error {
	return refusal(wire.CodePermissionDenied, "%s has no grant for %s", c.principal, actions)
}
