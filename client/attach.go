package client

import (
	"context"
	"sync/atomic"

	"github.com/sealmq/sealmq/wire"
)

// attachment is a subscription on one connection.
type attachment struct {
	s       *subscription
	conn    *conn
	first   *wire.Subscribe
	ended   chan error // one error, when it is over
	request atomic.Uint32
	over    atomic.Bool
}

var _ source = (*attachment)(nil)
var _ waiter = (*attachment)(nil)

// attach subscribes on the node that leads.
func (s *subscription) attach(ctx context.Context) (*attachment, error) {
	r, err := s.box.reader(ctx)
	if err != nil {
		return nil, err
	}
	group := s.c.routes.knownGroup(s.box.slot)
	conn, err := s.c.routes.leaderOf(ctx, group)
	if err != nil {
		return nil, err
	}
	low, high, _ := r.keys.epochs()
	a := &attachment{s: s, conn: conn, ended: make(chan error, 1)}
	s.mu.Lock()
	s.reader, s.attached, s.credit = r, a, credit{}
	window := s.given
	for _, in := range s.held {
		// What is still held keeps its place.
		if !in.decided {
			window.messages -= min(1, window.messages)
			window.bytes -= min(in.bytes, window.bytes)
		}
	}
	s.mu.Unlock()
	a.first = &wire.Subscribe{
		Mailbox: r.known.ref, Attempt: newID(), Receiver: s.receiver, EpochLow: low, EpochHigh: high,
		LeaseMillis: leaseMillis(s.opts.lease), CreditMessages: window.messages, CreditBytes: window.bytes,
	}
	if !conn.enqueue(a) {
		return nil, unreachable(errNotSent, "the connection to node %s has ended", conn.nodeID)
	}
	return a, nil
}

// detach notes that there is no subscription on a connection.
func (s *subscription) detach(a *attachment) {
	s.mu.Lock()
	if s.attached == a {
		s.attached = nil
	}
	s.mu.Unlock()
}

func (a *attachment) frame(dst []byte, _ *conn, request uint32) ([]byte, waiter, bool) {
	a.request.Store(request)
	return wire.AppendFrame(dst, request, a.first), a, false
}

func (a *attachment) dropped(_ *conn, err error) {
	a.end(unreachable(err, "the connection to node %s has ended", a.conn.nodeID))
}

func (a *attachment) subscribed() bool { return true }

func (a *attachment) answer(_ *conn, t wire.Type, payload []byte, err error) {
	switch {
	case err != nil:
		a.end(unreachable(errConnLost, "%v", err))
	case t == wire.TypeDeliver:
		d, err := takeDelivery(payload)
		if err != nil {
			a.end(&Error{Code: CodeInternal, Outcome: Definite, Err: err})
		} else if d != nil {
			a.s.deliver(a, d)
		}
	case t == wire.TypeSubscriptionEnd:
		var m wire.SubscriptionEnd
		if err := m.Decode(payload); err != nil {
			a.end(&Error{Code: CodeInternal, Outcome: Definite, Err: err})
			return
		}
		a.refused(&wire.Failure{Code: m.Code, RetryAfterMillis: m.RetryAfterMillis, Leader: m.Leader, Detail: m.Detail})
	case t == wire.TypeFailure:
		var f wire.Failure
		if err := f.Decode(payload); err != nil {
			a.end(&Error{Code: CodeInternal, Outcome: Definite, Err: err})
			return
		}
		a.refused(&f)
	}
}

// refused takes in that the node ended the subscription.
func (a *attachment) refused(f *wire.Failure) {
	if f.Code == wire.CodeOK {
		a.end(&Error{Code: "ended", Outcome: Definite, Retryable: true, Detail: "the node ended the subscription"})
		return
	}
	e := fromFailure(f)
	e.failure = f
	// Nothing was asked for that could have happened unseen.
	e.Outcome = Definite
	a.end(a.s.box.retryIfGone(e, a.first.Mailbox))
}

// end tells the subscription that this attachment is over.
func (a *attachment) end(err error) {
	if a.over.Swap(true) {
		return
	}
	s := a.s
	s.c.noteRoute(s.c.routes.knownGroup(s.box.slot), a.conn, err)
	a.ended <- err
}

// creditNote gives credit back. It has no answer.
type creditNote struct {
	a *attachment
	m wire.Credit
}

func (n *creditNote) frame(dst []byte, _ *conn, _ uint32) ([]byte, waiter, bool) {
	return wire.AppendFrame(dst, n.a.request.Load(), &n.m), nil, false
}

func (n *creditNote) dropped(*conn, error) {}

// giveCredit returns credit to the node once it is worth a frame: at half of the window, or before what the node has
// left might not do for the next message. always sends the range of epochs even without any.
func (s *subscription) giveCredit(a *attachment, always bool) {
	s.mu.Lock()
	c := s.credit
	worth := c.messages >= (s.given.messages+1)/2 || c.bytes >= s.given.bytes/2 ||
		len(s.queue) == 0 && c.bytes > 0 && s.given.bytes-min(c.bytes, s.given.bytes) < wire.SealedBytes
	if s.attached != a || s.closing || !worth && !always {
		s.mu.Unlock()
		return
	}
	s.credit = credit{}
	low, high, _ := s.reader.keys.epochs()
	s.mu.Unlock()
	a.conn.enqueue(&creditNote{a, wire.Credit{Messages: c.messages, Bytes: c.bytes, EpochLow: low, EpochHigh: high}})
}

// leaveNote ends the subscription on the node.
type leaveNote struct{ a *attachment }

func (n *leaveNote) frame(dst []byte, _ *conn, _ uint32) ([]byte, waiter, bool) {
	return wire.AppendFrame(dst, n.a.request.Load(), &wire.Unsubscribe{}), nil, false
}

func (n *leaveNote) dropped(*conn, error) {}

// unsubscribe asks the node to end the subscription and waits until it has: nothing is delivered after that.
func (s *subscription) unsubscribe(a *attachment) {
	if !a.conn.enqueue(&leaveNote{a}) {
		return
	}
	ctx, cancel := context.WithTimeout(s.c.ctx, answerTimeout)
	defer cancel()
	select {
	case <-a.ended:
	case <-ctx.Done():
	}
	s.detach(a)
}
