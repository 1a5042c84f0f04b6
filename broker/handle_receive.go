package broker

import (
	"time"

	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// handlePull waits for messages once.
func (c *conn) handlePull(request uint32, payload []byte) error {
	var m wire.Pull
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, mb, err := c.receivable(m.Mailbox)
	if err != nil {
		return c.failErr(request, g, err)
	}
	r := &receiver{
		conn: c, group: g, row: mb, request: request, mailbox: m.Mailbox, id: m.Receiver, pull: true,
		attempt: m.Attempt, lease: m.LeaseMillis, messages: m.MaxMessages, bytes: int64(m.MaxBytes),
		epochs: epochsWithout(m.EpochLow, m.EpochHigh, c.excluded(m.Mailbox.ID)),
		// Without a wait the first round answers, whatever it brings.
		expired: m.WaitMillis == 0,
	}
	if err := c.addReceiver(r, true); err != nil {
		return c.failErr(request, g, err)
	}
	if m.WaitMillis > 0 {
		r.wait(time.Duration(m.WaitMillis) * time.Millisecond)
	}
	r.begin()
	return nil
}

// handleSubscribe delivers messages as they come.
func (c *conn) handleSubscribe(request uint32, payload []byte) error {
	var m wire.Subscribe
	if err := m.Decode(payload); err != nil {
		return err
	}
	g, mb, err := c.receivable(m.Mailbox)
	if err != nil {
		return c.failErr(request, g, err)
	}
	r := &receiver{
		conn: c, group: g, row: mb, request: request, mailbox: m.Mailbox, id: m.Receiver, lease: m.LeaseMillis,
		messages: m.CreditMessages, bytes: int64(m.CreditBytes),
		epochs: epochsWithout(m.EpochLow, m.EpochHigh, c.excluded(m.Mailbox.ID)),
	}
	if err := c.addReceiver(r, !c.attends(r.mailbox.ID, r.id)); err != nil {
		return c.failErr(request, g, err)
	}
	r.begin()
	return nil
}

// receivable returns the mailbox that a receiver wants to receive from, if this node leads it and the receiver may.
func (c *conn) receivable(ref wire.MailboxRef) (*mailGroup, *storage.Mailbox, error) {
	g, err := c.leading(ref.Slot)
	if err != nil {
		return g, nil, err
	}
	mb, err := c.mailbox(g, ref.ID, wire.ActionReceive)
	return g, mb, err
}

// attends reports whether a subscription of the same receiver is on this connection already: then the client knows the
// messages that it holds, and is not brought them once more.
func (c *conn) attends(mailbox, receiver [16]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.receivers {
		if r.mailbox.ID == mailbox && r.id == receiver && !r.pull {
			return true
		}
	}
	return false
}

func (c *conn) handleCredit(request uint32, payload []byte) error {
	var m wire.Credit
	if err := m.Decode(payload); err != nil {
		return err
	}
	// A subscription may have ended while its credit was on the way.
	if r := c.receiver(request); r != nil && !r.pull {
		r.credit(&m, c.excluded(r.mailbox.ID))
	}
	return nil
}

func (c *conn) handleUnsubscribe(request uint32, payload []byte) error {
	var m wire.Unsubscribe
	if err := m.Decode(payload); err != nil {
		return err
	}
	if r := c.receiver(request); r != nil && !r.pull {
		r.end(&wire.SubscriptionEnd{Code: wire.CodeOK})
	}
	return nil
}

// addReceiver puts a receiver in line. inherits says that it takes over from those that its client had before.
func (c *conn) addReceiver(r *receiver, inherits bool) (err error) {
	if inherits {
		err = r.inherit()
	} else {
		r.group.heirs.join(r)
	}
	if err == nil {
		err = c.line(r)
	}
	if err != nil {
		r.group.heirs.leave(r)
	}
	return err
}

// line puts a receiver in line of its mailbox.
func (c *conn) line(r *receiver) error {
	c.mu.Lock()
	full := len(c.receivers) >= subscriptionsPerConn
	if !full {
		c.receivers[r.request] = r
	}
	c.mu.Unlock()
	if full {
		return refusal(wire.CodeOverloaded, "too many subscriptions on this connection")
	}
	if r.group.waits.join(r.mailbox.ID, r) {
		return nil
	}
	c.forgetReceiver(r)
	if err := r.group.mustLead(); err != nil {
		return err
	}
	return errNotYet
}

func (c *conn) receiver(request uint32) *receiver {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.receivers[request]
}

func (c *conn) forgetReceiver(r *receiver) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.receivers[r.request] == r {
		delete(c.receivers, r.request)
	}
}

// endReceivers ends everything that waits on this connection.
func (c *conn) endReceivers() {
	c.mu.Lock()
	all := make([]*receiver, 0, len(c.receivers))
	for _, r := range c.receivers {
		all = append(all, r)
	}
	c.mu.Unlock()
	for _, r := range all {
		r.fail(errStopping)
	}
}
