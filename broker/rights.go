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

// right is a mailbox with what was decided about it so far.
type right struct {
	mailbox         *storage.Mailbox
	group           *mailGroup
	lookups         uint64          // the group's LookupVersion, from before the mailbox was looked up
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
	u, err := c.use(g, id)
	if err != nil {
		return nil, err
	}
	return u.mailbox, u.may(actions)
}

// use is a mailbox of a request, with what is remembered of the connection's rights to it: a request looks for them once.
type use struct {
	conn *conn
	right
	version uint64 // of the grants that the right was decided by
}

// use looks up a mailbox by its id.
func (c *conn) use(g *mailGroup, id [16]byte) (use, error) {
	lookups := g.machine.LookupVersion()
	c.rights.mu.Lock()
	u := use{c, c.rights.by[id], c.rights.version}
	c.rights.mu.Unlock()
	if u.mailbox != nil && u.group == g && u.lookups == lookups {
		return u, nil
	}
	mb, err := g.machine.Lookup(id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return u, errNoMailbox
	case err != nil:
		return u, err
	}
	if u.mailbox != mb {
		u.asked, u.answered = 0, 0
	}
	u.mailbox, u.group, u.lookups = mb, g, lookups
	if u.asked != 0 {
		c.rights.remember(&u)
	}
	return u, nil
}

// may refuses unless the connection's principal may do all of actions with the mailbox.
func (u *use) may(actions wire.Actions) error { return u.mayBy(u.conn.broker.basis(), actions) }

// mayBy is may for a request that goes by one look at the basis.
func (u *use) mayBy(on basis, actions wire.Actions) error {
	switch {
	case !on.fresh:
		return errStale
	case !u.allowed(machine.Actions(actions)):
		return u.conn.denied(actions)
	}
	return nil
}

// allowed tells whether the connection's principal may do all of actions with the mailbox.
func (u *use) allowed(actions machine.Actions) bool {
	c := u.conn
	grants := c.broker.control.machine.Grants()
	if u.version != grants.Version() {
		u.version, u.asked, u.answered = grants.Version(), 0, 0
	}
	if u.asked&actions == actions {
		return u.answered&actions == actions
	}
	allowed := machine.Decide(grants, c.principal, u.mailbox.Owner, actions, u.mailbox.Name).Allowed
	// A set of several is remembered only when all of it is allowed: a refusal does not say which of them it was about.
	if allowed || actions&(actions-1) == 0 {
		u.asked |= actions
		if allowed {
			u.answered |= actions
		}
		c.rights.remember(u)
	}
	return allowed
}

// remember keeps what was decided for the requests to come.
func (r *rightsCache) remember(u *use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil || len(r.by) >= rightsCached || r.version < u.version {
		r.by, r.version = map[[16]byte]right{}, u.version
	}
	if r.version == u.version {
		r.by[u.mailbox.ID] = u.right
	}
}

// mayUse is [use.may] for a mailbox that was looked up before.
func (c *conn) mayUse(mb *storage.Mailbox, actions wire.Actions) error {
	c.rights.mu.Lock()
	u := use{c, c.rights.by[mb.ID], c.rights.version}
	c.rights.mu.Unlock()
	if u.mailbox != mb {
		u.right = right{mailbox: mb} // and which group it is of is found out by the next request that names it
	}
	return u.may(actions)
}

// mayReceive refuses unless the connection's principal may receive from the mailbox. It is asked before every lease and
// before every delivery.
func (c *conn) mayReceive(mb *storage.Mailbox) error { return c.mayUse(mb, wire.ActionReceive) }

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
