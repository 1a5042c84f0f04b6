package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// recordFresh is how old what is known about a mailbox may be when a session is opened with it.
const recordFresh = time.Minute

// defaultTTL is how long a message lives where the mailbox does not say.
const defaultTTL = 14 * 24 * time.Hour

// maxMailboxes bounds how many mailboxes a client remembers.
const maxMailboxes = 1 << 15

// mailbox is what a client knows about a mailbox by its name.
type mailbox struct {
	c    *Client
	name string
	slot uint16

	resolving flight[*resolved]
	opening   flight[*sendSession]
	keeping   flight[*resolved]

	session  atomic.Pointer[sendSession]
	renewing atomic.Bool

	mu     sync.Mutex
	known  *resolved
	sender *Sender // of Client.Send
	keptAt time.Time
}

// resolved is what was found out about a mailbox at one time. It is not changed.
type resolved struct {
	ref     wire.MailboxRef
	record  *envelope.KeyRecord // verified; nil if there is none
	owner   string              // principal, by the nodes' word
	lease   time.Duration
	ttl     time.Duration
	at      time.Time
	version uint64
}

// mailbox returns the mailbox of a name.
func (c *Client) mailbox(name string) (*mailbox, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.boxes[name]; b != nil {
		return b, nil
	}
	if err := wire.CheckName(name); err != nil {
		return nil, definite(CodeBadRequest, err, "the mailbox")
	}
	if len(c.boxes) >= maxMailboxes {
		c.dropIdleMailboxLocked()
	}
	b := &mailbox{c: c, name: name, slot: wire.SlotOf(name)}
	c.boxes[name] = b
	return b, nil
}

// dropIdleMailboxLocked makes room by forgetting a mailbox at random. Whoever holds it goes on with what it has.
func (c *Client) dropIdleMailboxLocked() {
	for name := range c.boxes {
		delete(c.boxes, name)
		return
	}
}

// resolve returns what is known about the mailbox, asking the cluster if that is older than fresh.
func (b *mailbox) resolve(ctx context.Context, fresh time.Duration) (known *resolved, err error) {
	b.mu.Lock()
	known = b.known
	b.mu.Unlock()
	if known != nil && time.Since(known.at) < fresh {
		return known, nil
	}
	err = b.c.retry(ctx, func(ctx context.Context) (err error) {
		known, err = b.resolving.do(ctx, b.c, b.ask)
		return err
	})
	return known, err
}

// current returns what is known without asking, nil if nothing is.
func (b *mailbox) current() *resolved {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known
}

// outdated forgets what is known, if it is still this.
func (b *mailbox) outdated(ref wire.MailboxRef) {
	b.mu.Lock()
	if b.known != nil && b.known.ref == ref {
		old := *b.known
		old.at = time.Time{}
		b.known = &old
	}
	b.mu.Unlock()
	if s := b.session.Load(); s != nil && s.mailbox == ref {
		b.letGo(s)
	}
}

// ask resolves the name once.
func (b *mailbox) ask(ctx context.Context) (*resolved, error) {
	group, err := b.c.routes.groupOf(ctx, b.slot)
	if err != nil {
		return nil, err
	}
	conn, err := b.c.routes.leaderOf(ctx, group)
	if err != nil {
		return nil, err
	}
	var reply wire.ResolveReply
	if err := conn.roundTrip(ctx, &wire.Resolve{Name: b.name}, &reply); err != nil {
		b.c.noteRoute(group, conn, err)
		return nil, err
	}
	if reply.TimeMillis != 0 {
		b.c.noteTime(reply.TimeMillis)
	}
	return b.learn(&reply)
}

// learn checks an answer and takes it in.
func (b *mailbox) learn(reply *wire.ResolveReply) (*resolved, error) {
	next := &resolved{
		ref:   wire.MailboxRef{Slot: b.slot, ID: reply.ID},
		owner: reply.Owner, at: time.Now(), version: reply.RecordVersion,
		lease: time.Duration(reply.LeaseMillis) * time.Millisecond,
		ttl:   time.Duration(reply.TTLMillis) * time.Millisecond,
	}
	if next.ttl <= 0 {
		next.ttl = defaultTTL
	}
	var err error
	if reply.RecordVersion != 0 {
		if next.record, err = b.verify(reply); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := next.mayReplace(b.known); err != nil {
		return nil, err
	}
	b.known = next
	return next, nil
}

// verify checks the key record that came: that it is of this mailbox, in date, and of the owner who is pinned. A record
// out of date is kept for what it says about the owner; no session can be opened with it.
func (b *mailbox) verify(reply *wire.ResolveReply) (*envelope.KeyRecord, error) {
	record, err := envelope.ParseKeyRecord(reply.Record)
	if err == nil {
		err = record.Verify(time.Now(), b.name)
	}
	if errors.Is(err, envelope.ErrExpired) {
		// Signature and name were good on the last day of the record, or it is refused for that.
		err = record.Verify(record.NotAfter, b.name)
	}
	if err == nil && (record.MailboxID != reply.ID || record.Version != reply.RecordVersion) {
		err = envelope.ErrWrongMailbox
	}
	if err != nil {
		return nil, definite(CodeBadSeal, err, "the mailbox's key record was refused")
	}
	return record, b.checkOwner(record.Owner())
}

// mayReplace refuses a record that does not follow the one before.
func (r *resolved) mayReplace(before *resolved) error {
	if before == nil || before.record == nil || r.ref.ID != before.ref.ID {
		return nil
	}
	if r.record == nil {
		return unreachable(envelope.ErrRollback, "the node does not know the mailbox's key record yet")
	}
	switch err := r.record.Follows(before.record); {
	case errors.Is(err, envelope.ErrRollback):
		return unreachable(err, "the node has an older key record of the mailbox than was seen before")
	case err != nil:
		return definite(CodeBadSeal, err, "the mailbox's key record was refused")
	}
	return nil
}

// checkOwner compares the owner of the mailbox with the first one, and the owner's key with the pinned one.
func (b *mailbox) checkOwner(s *envelope.Statement) error {
	if b.c.isSelf(s) {
		return nil
	}
	if err := b.c.opts.Pins.CheckOwner(b.name, s.Subject); err != nil {
		return pinError(err)
	}
	_, err := b.c.pin(s)
	return err
}

// pin compares an identity with its pin and pins it at first sight.
func (c *Client) pin(s *envelope.Statement) (isNew bool, err error) {
	if c.isSelf(s) {
		return false, nil
	}
	isNew, err = c.opts.Pins.Check(s.Subject, s.Key)
	if err != nil {
		return false, pinError(err)
	}
	return isNew, nil
}

// isSelf reports whether a statement is of this client's own identity.
func (c *Client) isSelf(s *envelope.Statement) bool {
	id := c.opts.Identity
	return id != nil && s.Key == id.PublicKey() && s.Subject == id.Name()
}

func pinError(err error) error {
	if errors.As(err, new(*KeyChangedError)) || errors.As(err, new(*OwnerChangedError)) {
		return definite(CodeKeyChanged, err, "")
	}
	return definite(CodeConfig, err, "the pins cannot be used")
}

// sealing returns a session to seal in. It makes one where there is none, and sees to the next one in good time.
func (b *mailbox) sealing(ctx context.Context, unixNano int64) (*sendSession, error) {
	s := b.session.Load()
	usable, renew := s.usable(unixNano)
	if usable {
		if renew && b.renewing.CompareAndSwap(false, true) {
			b.renew()
		}
		return s, nil
	}
	err := b.c.retry(ctx, func(ctx context.Context) (err error) {
		s, err = b.opening.do(ctx, b.c, b.open)
		return err
	})
	return s, b.c.lacks(wire.ActionSend, err)
}

// renew opens the next session while the old one is still in use. If that fails, a later message has it tried again.
func (b *mailbox) renew() {
	started := b.c.start(func() {
		defer b.renewing.Store(false)
		ctx, cancel := context.WithTimeout(b.c.ctx, flightTimeout)
		defer cancel()
		if _, err := b.opening.do(ctx, b.c, b.open); err != nil {
			b.c.log.Warn("cannot open the next session", "error", err)
			sleep(b.c.ctx, backoffMost)
		}
	})
	if !started {
		b.renewing.Store(false)
	}
}

// open opens a session with what the cluster says now, or with what is known where the cluster says nothing.
func (b *mailbox) open(ctx context.Context) (*sendSession, error) {
	id := b.c.opts.Identity
	if id == nil {
		return nil, definite(CodeConfig, nil, "sending needs an identity")
	}
	if s := b.session.Load(); s != nil {
		if usable, renew := s.usable(time.Now().UnixNano()); usable && !renew {
			return s, nil
		}
	}
	known := b.current()
	if known == nil || time.Since(known.at) > recordFresh ||
		known.record == nil || time.Now().After(known.record.NotAfter) {
		fresh, err := b.resolving.do(ctx, b.c, b.ask)
		switch {
		case err == nil:
			known = fresh
		case known == nil || known.at.IsZero() || !asError(err).Retryable:
			return nil, err
		}
	}
	now := time.Now()
	lasts, ahead := b.c.sessionLasts()
	s, err := openSendSession(id, known, now, lasts)
	if err != nil {
		return nil, err
	}
	s.leaveOff(now, ahead)
	b.use(s)
	return s, nil
}

// use makes a session the one that messages are sealed in from now on.
func (b *mailbox) use(s *sendSession) {
	if before := b.session.Swap(s); before != nil {
		before.over.Store(true)
	}
}

// letGo makes the next message open another session than s.
func (b *mailbox) letGo(s *sendSession) {
	b.session.CompareAndSwap(s, nil)
	s.over.Store(true)
}

// String says as much as a log may.
func (b *mailbox) String() string { return fmt.Sprintf("mailbox in slot %d", b.slot) }
