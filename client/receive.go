package client

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// ReceiveOption changes a call of [Client.Receive].
type ReceiveOption interface{ receive(*receiveOptions) }

type receiveOptions struct {
	max   int
	bytes int
	wait  time.Duration
	lease time.Duration
}

type receiveFunc func(*receiveOptions)

func (f receiveFunc) receive(o *receiveOptions) { f(o) }

// Max is the most messages that a call returns, 1 unless set.
func Max(n int) ReceiveOption { return receiveFunc(func(o *receiveOptions) { o.max = n }) }

// MaxBytes is the most sealed bytes that a call returns, 8 MiB unless set. One message always comes, however large.
func MaxBytes(n int) ReceiveOption { return receiveFunc(func(o *receiveOptions) { o.bytes = n }) }

// Wait is how long a call waits for the first message, 0 unless set.
func Wait(d time.Duration) ReceiveOption { return receiveFunc(func(o *receiveOptions) { o.wait = d }) }

// Lease is how long messages belong to the receiver before they go to another one, within [LeaseLeast] and [LeaseMost]:
// the mailbox's own time unless set.
func Lease(d time.Duration) LeaseOption { return LeaseOption(d) }

// LeaseOption is an option of both Receive and Subscribe.
type LeaseOption time.Duration

func (l LeaseOption) receive(o *receiveOptions) { o.lease = time.Duration(l) }

const defaultReceiveBytes = 8 << 20

// Receive takes messages out of a mailbox under a lease: the caller acks each when it is done with it, before
// [Message.LeaseEnds]. Without messages it waits as long as [Wait] says, and returns none and no error.
//
// A message that cannot be shown goes back to the mailbox and the call looks for others; the error says why if there
// are no others. That is so where a sender's key is not the one pinned under its name ([KeyChangedError]), where this
// receiver has no key for it, and where it does not open.
func (c *Client) Receive(ctx context.Context, mailbox string, opts ...ReceiveOption) ([]*Message, error) {
	o := receiveOptions{max: 1, bytes: defaultReceiveBytes}
	for _, option := range opts {
		option.receive(&o)
	}
	box, err := c.mailbox(mailbox)
	if err != nil {
		return nil, err
	}
	// A deadline of its own must leave room for the wait.
	if _, ok := ctx.Deadline(); !ok {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, defaultTimeout+max(o.wait, 0))
		defer stop()
	}
	until := time.Now().Add(o.wait)
	var refused error
	var pause backoff
	for {
		messages, no, err := box.pull(ctx, &o, until)
		switch {
		case err != nil:
			return nil, err
		case len(messages) > 0:
			return messages, nil
		case no != nil:
			refused = no
		}
		if !time.Now().Before(until) {
			return nil, refused
		}
		// What was just given back may come again at once.
		if no != nil && !sleep(ctx, min(pause.next(0), time.Until(until))) {
			return nil, refused
		}
	}
}

// pull makes one long poll, until a time at most. no is why messages that came were not shown.
func (b *mailbox) pull(ctx context.Context, o *receiveOptions, until time.Time,
) (ms []*Message, no *Error, err error) {
	var d *delivery
	var r *reader
	attempt := newID()
	err = b.c.retry(ctx, func(ctx context.Context) (err error) {
		if r, err = b.reader(ctx); err != nil {
			return err
		}
		low, high, _ := r.keys.epochs()
		d, err = b.pullOnce(ctx, &wire.Pull{
			Mailbox: r.known.ref, Attempt: attempt, Receiver: b.c.receiver, EpochLow: low, EpochHigh: high,
			LeaseMillis: leaseMillis(o.lease),
			MaxMessages: uint32(min(max(o.max, 1), wire.BatchItems)),
			MaxBytes:    uint32(min(max(o.bytes, 1), wire.CreditBytes)),
			WaitMillis:  uint32(min(waitMillis(time.Until(until)), int64(b.c.limits().WaitMillis))),
		})
		return b.retryIfGone(err, r.known.ref)
	})
	if err != nil || d == nil {
		return nil, nil, err
	}
	b.c.learnSessions(d)
	// The payload is given back with the last message that is opened.
	l, n := d.lease, len(d.Items)
	back := make(chan struct{}, n)
	for i := range n {
		seq := d.Items[i].Seq
		m, refusal := r.open(ctx, d, i)
		if refusal != nil {
			no = refusal.err
			b.c.refuseOne(l, seq, refusal, func(error) { back <- struct{}{} })
			continue
		}
		ms = append(ms, m)
	}
	if len(ms) > 0 {
		return ms, no, nil
	}
	// The caller may end with this: what was refused would stay leased if it had not been given back by then.
	for range n {
		select {
		case <-back:
		case <-ctx.Done():
			return nil, no, nil
		}
	}
	return nil, no, nil
}

// waitMillis rounds up: a wait of less than a millisecond would not wait, and be repeated until it is over.
func waitMillis(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

// retryIfGone makes a mailbox that was made anew be looked up again. Whether its owner is still the same is found out
// there.
func (b *mailbox) retryIfGone(err error, ref wire.MailboxRef) error {
	if !isCode(err, CodeMailboxGone) || b.current().ref != ref {
		return err
	}
	b.outdated(ref)
	e := *asError(err)
	e.Retryable = true
	return &e
}

// newID draws the id of an attempt or a receiver.
func newID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// pullCall is a pull whose caller may stop waiting: what comes then goes back to the mailbox at once.
type pullCall struct {
	*call
	c *Client

	mu   sync.Mutex
	left bool
}

func (p *pullCall) frame(dst []byte, c *conn, request uint32) ([]byte, waiter, bool) {
	out, _, more := p.call.frame(dst, c, request)
	return out, p, more
}

func (p *pullCall) answer(c *conn, t wire.Type, payload []byte, err error) {
	p.mu.Lock()
	left := p.left
	if !left {
		p.call.answer(c, t, payload, err)
	}
	p.mu.Unlock()
	if left && err == nil && t == wire.TypeDeliver {
		p.c.releaseUnread(payload)
	}
}

// leave reports whether the answer had come already.
func (p *pullCall) leave() (answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return true
	default:
		p.left = true
		return false
	}
}

// pullOnce makes one pull on one connection.
func (b *mailbox) pullOnce(ctx context.Context, m *wire.Pull) (*delivery, error) {
	c := b.c
	group := c.routes.knownGroup(b.slot)
	conn, err := c.routes.leaderOf(ctx, group)
	if err != nil {
		return nil, err
	}
	p := &pullCall{call: newCall(m), c: c}
	if !conn.enqueue(p) {
		return nil, unreachable(errNotSent, "the connection to node %s has ended", conn.nodeID)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if p.leave() && p.err == nil && p.t == wire.TypeDeliver {
			c.releaseUnread(p.payload)
		}
		return nil, ended(context.Cause(ctx), nil, false)
	}
	if p.err == nil && p.t == wire.TypeDeliver {
		d, err := takeDelivery(p.payload)
		if err != nil {
			return nil, &Error{Code: CodeInternal, Outcome: Definite, Err: err}
		}
		return d, nil
	}
	err = p.result(&wire.Deliver{})
	c.noteRoute(group, conn, err)
	return nil, err
}

// releaseUnread gives messages back that nobody waits for any more.
func (c *Client) releaseUnread(payload []byte) {
	var d wire.Deliver
	if d.Decode(payload) != nil {
		return
	}
	key := settleKey{d.Mailbox, d.Lease, verdict{kind: verdictNack, nack: wire.NackRelease}}
	for i := range d.Items {
		c.settle(key, settleOp{seq: d.Items[i].Seq, then: func(error) {}})
	}
}
