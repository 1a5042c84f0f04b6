package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

// expiredAfter is how long past its not-after a message is still shown, for the sake of clocks.
const expiredAfter = envelope.ClockSkew

// refusedDelay is how long messages are put aside that this receiver cannot or must not show. Others get at theirs
// meanwhile, and somebody may mend what is wrong. The command line says to people that it is a minute.
const refusedDelay = time.Minute

// delivery is messages that came together under one lease, still sealed.
type delivery struct {
	wire.Deliver
	payload []byte
	lease   *lease
	left    atomic.Int32 // messages that still need the payload
}

// deliveries are used again: one holds the payload and the rows of a large batch.
var deliveries = sync.Pool{New: func() any { return new(delivery) }}

// maxKeptPayload is the largest payload that is kept for use again.
const maxKeptPayload = 512 << 10

// takeDelivery decodes a copy of a payload. It is nil if the payload brings no messages.
func takeDelivery(payload []byte) (*delivery, error) {
	d := deliveries.Get().(*delivery)
	d.payload = append(d.payload[:0], payload...)
	if err := d.Decode(d.payload); err != nil {
		return nil, err
	}
	if len(d.Items) == 0 {
		d.giveBack()
		return nil, nil
	}
	left := time.Duration(d.LeaseMillis) * time.Millisecond
	d.lease = &lease{mailbox: d.Mailbox, id: d.Lease}
	d.lease.extended(left)
	d.left.Store(int32(len(d.Items)))
	return d, nil
}

// opened says that one message does not need the payload any more.
func (d *delivery) opened() {
	if d.left.Add(-1) == 0 {
		d.giveBack()
	}
}

func (d *delivery) giveBack() {
	if cap(d.payload) <= maxKeptPayload {
		deliveries.Put(d)
	}
}

// learnSessions keeps the session headers that came along.
func (c *Client) learnSessions(d *delivery) {
	for i := range d.Sessions {
		if s := &d.Sessions[i]; len(s.Init) > 0 {
			c.accepted.learn(sessionKey{d.Mailbox.ID, s.ID}, s.Init)
		}
	}
}

// refusal is why a message is not shown, and what the node is told about it.
type refusal struct {
	err  *Error
	says verdict
}

func refuse(err *Error, code wire.NackCode, delay time.Duration) *refusal {
	return &refusal{err, verdict{kind: verdictNack, nack: code, delayMillis: uint32(delay.Milliseconds())}}
}

// reader is what opening the messages of a mailbox takes.
type reader struct {
	box   *mailbox
	known *resolved
	owner [32]byte
	keys  *keyring
}

// reader finds out what opening messages takes. The owner's key comes from the key record, which is checked against
// the pins.
func (b *mailbox) reader(ctx context.Context) (*reader, error) {
	store := b.c.opts.KeyStore
	if store == nil || b.c.opts.Identity == nil {
		return nil, definite(CodeConfig, nil, "receiving needs an identity and a key store")
	}
	known, err := b.keep(ctx)
	if err != nil {
		return nil, b.c.lacks(wire.ActionReceive, err)
	}
	r := &reader{box: b, known: known}
	if r.keys, err = store.ring(known.ref.ID); err != nil {
		return nil, definite(CodeConfig, err, "")
	}
	if _, _, ok := r.keys.epochs(); !ok || known.record == nil {
		return nil, missingKeys(known)
	}
	r.owner = known.record.Owner().Key
	return r, nil
}

// missingKeys says who has to do what before this receiver can read the mailbox.
func missingKeys(known *resolved) *Error {
	e := definite(CodeNoKey, nil, "the key store holds no key of the mailbox")
	owner := known.owner
	if known.record != nil {
		owner = known.record.Owner().Subject
	}
	e.Hint = "Receive as the owner, " + owner + ", or share the owner's keyring directory with this receiver"
	return e
}

// refresh looks at the key store again: another process may have added a key.
func (r *reader) refresh() *reader {
	keys, err := r.box.c.opts.KeyStore.ring(r.known.ref.ID)
	if err != nil || keys == nil || keys == r.keys {
		return r
	}
	next := *r
	next.keys = keys
	return &next
}

// open opens one message of a delivery. The payload may be used again when it returns.
func (r *reader) open(ctx context.Context, d *delivery, i int) (*Message, *refusal) {
	defer d.opened()
	item := &d.Items[i]
	session, no := r.session(ctx, d, item)
	if no != nil {
		return nil, no
	}
	isNew, err := r.box.c.pin(session.Sender())
	if isCode(err, CodeKeyChanged) {
		return nil, refuse(asError(err), wire.NackRetryAfter, refusedDelay)
	} else if err != nil {
		return nil, refuse(asError(err), wire.NackRelease, 0)
	}
	m := &Message{
		ID: MessageID(item.Header.ID), Sender: session.Sender().Subject, SenderKey: session.Sender().Key,
		Trust: TrustPinned, Seq: item.Seq, Attempt: int(item.Attempts),
		StoredAt: time.UnixMilli(item.StoredMillis).UTC(), c: r.box.c,
	}
	if isNew {
		m.Trust = TrustNew
	}
	m.lease.Store(d.lease)
	return m, r.unseal(m, session, item)
}

// session returns the session that a message was sealed in.
func (r *reader) session(ctx context.Context, d *delivery, item *wire.DeliverItem,
) (*envelope.ReceiveSession, *refusal) {
	c := r.box.c
	birth := d.Mailbox.ID
	if item.Birth != [16]byte{} {
		birth = item.Birth
	}
	key := sessionKey{birth, item.Header.Session}
	known := c.accepted.get(key)
	if known == nil {
		if err := c.fetchSession(ctx, d.Mailbox, key); err != nil {
			return nil, refuse(err, wire.NackRelease, 0)
		}
		if known = c.accepted.get(key); known == nil {
			e := definite(CodeInternal, nil, "the header of a message's session is missing")
			return nil, refuse(e, wire.NackNoSession, 0)
		}
	}
	session, err := known.open(birth, r.box.name, r.owner, r.keys)
	if errors.Is(err, envelope.ErrNoKey) {
		// A key is stored before it is published, so it is there now if it ever was.
		if keys, looked := c.opts.KeyStore.look(r.known.ref.ID); looked == nil && keys != r.keys {
			session, err = known.open(birth, r.box.name, r.owner, keys)
		}
	}
	switch {
	case err == nil:
		return session, nil
	case errors.Is(err, envelope.ErrNoKey):
		return nil, refuse(missingKeys(r.known), wire.NackNoKey, 0)
	case errors.Is(err, envelope.ErrUnsupported):
		return nil, refuse(tooNew(err), wire.NackRetryAfter, refusedDelay)
	}
	return nil, refuse(badSeal(err), wire.NackBadSeal, 0)
}

// unseal opens the message itself.
func (r *reader) unseal(m *Message, session *envelope.ReceiveSession, item *wire.DeliverItem) *refusal {
	if item.Header.Epoch != session.Epoch() {
		return refuse(badSeal(errors.New("the message names another epoch than its session")), wire.NackBadSeal, 0)
	}
	until := time.Unix(int64(item.Header.NotAfterMinutes)*60, 0)
	if time.Now().After(until.Add(expiredAfter)) {
		e := definite(Code(wire.CodeExpired.String()), nil, "the message ended at %s", until.UTC().Format(time.RFC3339))
		return refuse(e, wire.NackRetryAfter, refusedDelay)
	}
	var form envelope.Form
	if item.Header.Flags&wire.HeaderSigned != 0 {
		form |= envelope.FormSigned
	} else if r.known.record.Policy&envelope.PolicySigned != 0 {
		return refuse(badSeal(envelope.ErrPolicy), wire.NackBadSeal, 0)
	}
	if item.Header.Flags&wire.HeaderPadded != 0 {
		form |= envelope.FormPadded
	}
	var space [wire.ClearHeaderMaxBytes]byte
	header := wire.AppendClearHeader(space[:0], &item.Header)
	var o envelope.Opened
	body := make([]byte, 0, len(item.Sealed)-envelope.Overhead)
	switch err := session.OpenInto(&o, body, header, item.Sealed, form); {
	case errors.Is(err, envelope.ErrUnsupported):
		return refuse(tooNew(err), wire.NackRetryAfter, refusedDelay)
	case err != nil:
		return refuse(badSeal(err), wire.NackBadSeal, 0)
	}
	m.Body, m.SentAt = o.Body, o.Sent
	m.ContentType, m.ReplyTo, m.Correlation, m.TraceContext = o.ContentType, o.ReplyTo, o.Correlation, o.TraceContext
	return nil
}

// fetchSession asks for the header of a session that was not brought along.
func (c *Client) fetchSession(ctx context.Context, mailbox wire.MailboxRef, key sessionKey) *Error {
	var reply wire.SessionGetReply
	err := c.toSlot(ctx, mailbox.Slot, &wire.SessionGet{Mailbox: mailbox, IDs: [][16]byte{key.id}}, &reply)
	if err != nil {
		return asError(err)
	}
	for i := range reply.Items {
		if s := &reply.Items[i]; s.ID == key.id && len(s.Init) > 0 {
			c.accepted.learn(key, s.Init)
		}
	}
	return nil
}

func badSeal(err error) *Error {
	e := definite(CodeBadSeal, err, "a message does not open")
	e.Hint = "It was changed on its way, or the cluster holds something that its sender did not send: tell the operator"
	return e
}

func tooNew(err error) *Error {
	e := definite(Code(wire.CodeUnsupported.String()), err, "a message was sealed by newer software")
	e.Hint = "Update this receiver"
	return e
}

// refuseOne gives a message that is not shown back and says so in the log, without names.
func (c *Client) refuseOne(l *lease, seq uint64, no *refusal, then func(error)) {
	log := c.log.Warn
	if no.err.Code == CodeBadSeal {
		log = c.log.Error
	}
	log("message not shown", "code", no.err.Code, "seq", seq, "nack", no.says.nack.String(), "error", no.err.Err)
	c.settle(settleKey{l.mailbox, l.id, no.says}, settleOp{seq: seq, then: then})
}
