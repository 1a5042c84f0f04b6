package client

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// How far a sender's key is trusted.
const (
	// TrustPinned means that the sender's key is the one that was pinned under its name before.
	TrustPinned = "pinned"
	// TrustNew means that the name was met for the first time, and its key was pinned now.
	TrustNew = "new"
)

// Message is a message that was received and opened. Its sender proved to hold the key that is pinned under its name.
type Message struct {
	// Seal by the sender, authenticated.
	ID           MessageID
	Sender       string // the name of the sender's identity
	SenderKey    [32]byte
	Trust        string // TrustPinned or TrustNew
	SentAt       time.Time
	Body         []byte
	ContentType  string
	ReplyTo      string
	Correlation  []byte
	TraceContext []byte

	// By the nodes' word.
	Seq      uint64
	Attempt  int // deliveries, this one included
	StoredAt time.Time

	c       *Client
	lease   atomic.Pointer[lease]
	decided atomic.Bool // somebody acked or nacked it
}

// lease is the right to messages of one delivery.
type lease struct {
	mailbox wire.MailboxRef
	id      [8]byte
	length  atomic.Int64 // nanoseconds that it was given last
	endsAt  atomic.Int64 // unix nanoseconds, on this clock
}

func (l *lease) ends() time.Time { return time.Unix(0, l.endsAt.Load()) }

// lasts returns how long the lease was when it was given or extended last.
func (l *lease) lasts() time.Duration { return time.Duration(l.length.Load()) }

// extended notes a lease that has so much left from now.
func (l *lease) extended(left time.Duration) {
	l.length.Store(int64(left))
	l.endsAt.Store(time.Now().Add(left).UnixNano())
}

// Handle returns the proof of the lease as text, for another process of the same principal.
func (m *Message) Handle() string {
	l := m.lease.Load()
	return wire.EncodeHandle(wire.Handle{
		Incarnation: m.c.hello.Load().Incarnation, Mailbox: l.mailbox, Lease: l.id, Seq: m.Seq,
	})
}

// LeaseEnds returns when the message goes to another receiver unless it is acked, nacked or extended before.
func (m *Message) LeaseEnds() time.Time { return m.lease.Load().ends() }

// Ack says that the message is done with: it is never delivered again. [CodeLeaseLost] means that it came too late.
func (m *Message) Ack(ctx context.Context) error {
	m.decided.Store(true)
	return m.settle(ctx, verdict{kind: verdictAck})
}

// NackOption changes how a message is given back.
type NackOption func(*verdict)

// DelayMost is the longest delay of [Delay]. A longer one counts as this.
const DelayMost = wire.NackDelayMillis * time.Millisecond

// Delay has the message delivered again after a while, [DelayMost] at most, instead of at once.
func Delay(d time.Duration) NackOption {
	return func(v *verdict) {
		v.nack, v.delayMillis = wire.NackRetryAfter, uint32(min(max(d.Milliseconds(), 0), wire.NackDelayMillis))
	}
}

// Reject says that handling the message failed, with a code of the application's own. It is delivered again, until it
// has failed too often: then no more.
func Reject(code uint32) NackOption {
	return func(v *verdict) { v.nack, v.appCode = wire.NackReject, code }
}

// Release gives the message back as if it had never been delivered: it does not count as a failure.
func Release() NackOption {
	return func(v *verdict) { v.nack = wire.NackRelease }
}

// Nack gives the message back: it is delivered again at once, unless an option says otherwise.
func (m *Message) Nack(ctx context.Context, opts ...NackOption) error {
	m.decided.Store(true)
	v := verdict{kind: verdictNack, nack: wire.NackRetry}
	for _, option := range opts {
		option(&v)
	}
	return m.settle(ctx, v)
}

// Extend asks for the lease to last so long from now, within [LeaseLeast] and [LeaseMost]; 0 means as long as leases of
// the mailbox last. It extends this message, not the others that came with it.
func (m *Message) Extend(ctx context.Context, d time.Duration) error {
	return m.settle(ctx, verdict{kind: verdictExtend, leaseMillis: leaseMillis(d)})
}

func (m *Message) settle(ctx context.Context, v verdict) error {
	ctx, stop := withDeadline(ctx)
	defer stop()
	result := make(chan error, 1)
	l := m.lease.Load()
	m.c.settle(settleKey{l.mailbox, l.id, v}, settleOp{seq: m.Seq, lease: l, then: func(err error) { result <- err }})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ended(context.Cause(ctx), nil, true)
	}
}

// LeaseLeast and LeaseMost bound the lease that a receiver may ask for. One beyond them counts as the nearer of them.
const (
	LeaseLeast = wire.LeaseMinMillis * time.Millisecond
	LeaseMost  = wire.LeaseMaxMillis * time.Millisecond
)

// leaseMillis returns a lease as it is asked for.
func leaseMillis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min(max(d.Milliseconds(), wire.LeaseMinMillis), wire.LeaseMaxMillis))
}
