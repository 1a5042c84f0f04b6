package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// SubscribeOption changes a call of [Client.Subscribe].
type SubscribeOption interface{ subscribe(*subscribeOptions) }

type subscribeOptions struct {
	concurrency int
	messages    int
	bytes       int
	lease       time.Duration
	onError     func(error)
}

type subscribeFunc func(*subscribeOptions)

func (f subscribeFunc) subscribe(o *subscribeOptions) { f(o) }

func (l LeaseOption) subscribe(o *subscribeOptions) { o.lease = time.Duration(l) }

// Concurrency is how many messages are handled at once, 1 unless set. With 1 they are handled in the order in which
// they were delivered.
func Concurrency(n int) SubscribeOption {
	return subscribeFunc(func(o *subscribeOptions) { o.concurrency = max(n, 1) })
}

// Prefetch bounds what is delivered and not handled yet, in messages and sealed bytes: 256 and 8 MiB unless set.
// Messages that wait are leased, and their leases are extended.
func Prefetch(messages, bytes int) SubscribeOption {
	return subscribeFunc(func(o *subscribeOptions) { o.messages, o.bytes = max(messages, 1), max(bytes, 1) })
}

// OnError is told of what goes wrong without ending the subscription: a handler's error, a message that cannot be
// shown, a lease that was lost. It is called from several goroutines and must not block.
func OnError(f func(error)) SubscribeOption {
	return subscribeFunc(func(o *subscribeOptions) { o.onError = f })
}

// Handler handles one message. After nil the message is acked; after an error it goes back and is delivered again after
// a while, see [Client.Subscribe]. Its context ends with the subscription's, and when the lease of the message is lost.
// A handler may ack or nack the message itself.
type Handler func(ctx context.Context, m *Message) error

// Subscribe hands the messages of a mailbox to handle as they come, until ctx ends: then it takes no more, waits for
// the handlers that run, acks what they finished, gives back what was not begun, and returns nil. It survives lost
// connections and changes of leaders. A handler that panics ends it: its message goes back, and the panic comes back
// as an error with [CodePanic].
//
// A message whose handler failed or panicked comes back after a delay that grows with its deliveries: 1 s, 2 s, 4 s
// and so on up to 5 min, of which up to a quarter is left off at random. It counts as a failure each time, and a
// message has only so many; see [Reject]. For other delays a handler returns an error made by [NackWith], or calls
// [Message.Nack].
//
// The leases of messages that wait or are being handled are extended for as long as that takes. A message whose sender
// has another key than the pinned one is not shown and goes back; see [OnError].
func (c *Client) Subscribe(ctx context.Context, mailbox string, handle Handler, opts ...SubscribeOption) error {
	box, err := c.mailbox(mailbox)
	if err != nil {
		return err
	}
	s := newSubscription(c, box, handle)
	for _, option := range opts {
		option.subscribe(&s.opts)
	}
	return s.run(ctx)
}

// subscription is one call of Subscribe.
type subscription struct {
	c        *Client
	box      *mailbox
	handle   Handler
	opts     subscribeOptions
	receiver [16]byte // of its own: a node gives a receiver that comes back its leases again, and nobody else's

	handling   context.Context // of the handlers
	stop       context.CancelFunc
	workers    sync.WaitGroup
	terminated chan error    // the first reason to end that is not the context
	leased     chan struct{} // something was delivered

	mu       sync.Mutex
	wake     *sync.Cond // of the workers, and of who waits for verdicts
	verdicts int        // on their way
	reader   *reader
	queue    []*incoming          // delivered, waiting for a worker, oldest first
	held     map[uint64]*incoming // by sequence number: waiting, handled, or with a verdict on its way
	closing  bool
	attached *attachment // the subscription on a connection, nil while there is none
	credit   credit      // to be given back to the node
	given    credit      // what a full window is
}

type credit struct{ messages, bytes uint32 }

// incoming is a message that was delivered.
type incoming struct {
	d       *delivery
	i       int
	seq     uint64
	bytes   uint32
	lease   *lease             // the newest
	message *Message           // once it is opened
	cancel  context.CancelFunc // of its handler
	decided bool               // its verdict is on its way
	acked   bool               // the verdict is an ack
	lost    bool               // another receiver has it, or will
}

func newSubscription(c *Client, box *mailbox, handle Handler) *subscription {
	s := &subscription{
		c: c, box: box, handle: handle, receiver: newID(), held: map[uint64]*incoming{},
		terminated: make(chan error, 1), leased: make(chan struct{}, 1),
		opts: subscribeOptions{concurrency: 1, messages: 256, bytes: 8 << 20, onError: func(error) {}},
	}
	s.wake = sync.NewCond(&s.mu)
	return s
}

func (s *subscription) run(ctx context.Context) error {
	s.given = credit{
		messages: uint32(min(s.opts.messages, wire.CreditMessages)),
		bytes:    uint32(min(max(s.opts.bytes, wire.SealedBytes), wire.CreditBytes)),
	}
	s.handling, s.stop = context.WithCancel(ctx)
	defer s.stop()
	for range s.opts.concurrency {
		s.workers.Go(s.work)
	}
	leases := make(chan struct{})
	var keeping sync.WaitGroup
	keeping.Go(func() { s.keepLeases(leases) })
	err := s.stay(ctx)
	s.drain()
	close(leases)
	keeping.Wait()
	return err
}

// stay keeps the subscription on a connection until ctx ends or it fails for good.
func (s *subscription) stay(ctx context.Context) error {
	var wait backoff
	for {
		select {
		case err := <-s.terminated:
			return err
		default:
		}
		a, err := s.attach(ctx)
		if err == nil {
			var lasted bool
			if lasted, err = s.await(ctx, a); lasted {
				wait = backoff{}
			}
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		e := asError(err)
		if !e.Retryable {
			return e
		}
		s.c.log.Info("subscription interrupted", "error", e)
		hinted := e.failure != nil && e.failure.Leader.Node != "" && wait.attempts == 0
		if pause := wait.next(e.RetryAfter); !hinted && !sleep(ctx, pause) {
			return nil
		}
		if s.c.ctx.Err() != nil {
			return definite(CodeClosed, errClosed, "")
		}
	}
}

// await waits for the end of an attachment. A nil error is the end of ctx. lasted says that it worked for a while.
func (s *subscription) await(ctx context.Context, a *attachment) (lasted bool, err error) {
	began := time.Now()
	look := time.NewTicker(keysLookFor * 5)
	defer look.Stop()
	looked := make(chan struct{}, 1)
	looked <- struct{}{}
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case err := <-s.terminated:
			return true, err
		case err := <-a.ended:
			s.detach(a)
			return time.Since(began) > 2*backoffMost, err
		case <-look.C:
			select {
			case <-looked:
				s.workers.Go(func() {
					s.look(a)
					looked <- struct{}{}
				})
			default: // the one before is not through
			}
		}
	}
}

// look sees to the mailbox's keys and tells the node when there are new ones.
func (s *subscription) look(a *attachment) {
	ctx, cancel := context.WithTimeout(s.handling, flightTimeout)
	defer cancel()
	if _, err := s.box.keep(ctx); err != nil && ctx.Err() == nil {
		s.opts.onError(err)
	}
	s.mu.Lock()
	r := s.reader
	s.mu.Unlock()
	next := r.refresh()
	if next == r {
		return
	}
	s.mu.Lock()
	s.reader = next
	s.mu.Unlock()
	s.giveCredit(a, true)
}

// deliver takes a delivery in. It is called by the connection's reader.
func (s *subscription) deliver(a *attachment, d *delivery) {
	s.c.learnSessions(d)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		s.giveBackAll(d)
		return
	}
	n := len(d.Items)
	var handled []*incoming
	for i := range n {
		in := &incoming{d: d, i: i, seq: d.Items[i].Seq, bytes: uint32(len(d.Items[i].Sealed)), lease: d.lease}
		known := s.held[in.seq]
		switch {
		case known == nil || known.decided && !known.acked:
			s.held[in.seq] = in
			s.queue = append(s.queue, in)
			s.wake.Signal()
			continue
		case known.decided:
			// It was handled, and its ack did not arrive under the lease before.
			s.held[in.seq] = in
			handled = append(handled, in)
		default:
			// It is here already, waiting or being handled: the lease is another, the message is not.
			known.lease = d.lease
			if known.message != nil {
				known.message.lease.Store(d.lease)
			}
		}
		s.credit.messages++
		s.credit.bytes += in.bytes
		d.opened()
	}
	s.mu.Unlock()
	for _, in := range handled {
		s.decide(in, verdict{kind: verdictAck})
	}
	select {
	case s.leased <- struct{}{}:
	default:
	}
	s.giveCredit(a, false)
}

// giveBackAll releases messages that nobody will look at.
func (s *subscription) giveBackAll(d *delivery) {
	l, n := d.lease, len(d.Items)
	for i := range n {
		seq := d.Items[i].Seq
		d.opened()
		s.begin()
		s.c.settle(settleKey{l.mailbox, l.id, verdict{kind: verdictNack, nack: wire.NackRelease}},
			settleOp{seq: seq, then: func(error) { s.decided(nil) }})
	}
}

// begin counts a verdict that is on its way.
func (s *subscription) begin() {
	s.mu.Lock()
	s.verdicts++
	s.mu.Unlock()
}

// decided ends a verdict's way; in is nil if the message was never taken in.
func (s *subscription) decided(in *incoming) {
	s.mu.Lock()
	if in != nil && s.held[in.seq] == in {
		delete(s.held, in.seq)
	}
	if s.verdicts--; s.verdicts == 0 {
		s.wake.Broadcast()
	}
	s.mu.Unlock()
}

// done takes a message off the books; the node may send another one for it.
func (s *subscription) done(in *incoming) {
	s.mu.Lock()
	if s.held[in.seq] == in {
		delete(s.held, in.seq)
	}
	s.mu.Unlock()
}

// free says that a message does not need its place any more.
func (s *subscription) free(in *incoming) {
	s.mu.Lock()
	s.credit.messages++
	s.credit.bytes += in.bytes
	a := s.attached
	s.mu.Unlock()
	if a != nil {
		s.giveCredit(a, false)
	}
}

// drain ends the subscription in good order.
func (s *subscription) drain() {
	s.mu.Lock()
	s.closing = true
	a := s.attached
	unread := s.queue
	s.queue = nil
	s.wake.Broadcast()
	s.mu.Unlock()
	s.stop()
	if a != nil {
		s.unsubscribe(a)
	}
	for _, in := range unread {
		in.d.opened()
		s.decide(in, verdict{kind: verdictNack, nack: wire.NackRelease})
	}
	s.workers.Wait()
	s.mu.Lock()
	for s.verdicts > 0 {
		s.wake.Wait()
	}
	s.mu.Unlock()
}

// decide gives a verdict on a message on its way.
func (s *subscription) decide(in *incoming, v verdict) {
	l := s.beginFor(in, v)
	s.c.settle(settleKey{l.mailbox, l.id, v}, settleOp{seq: in.seq, then: func(err error) {
		if err != nil {
			s.report("a message was not settled", in, err)
		}
		s.decided(in)
	}})
}

// beginFor counts the verdict on a message, and returns the lease that it goes by.
func (s *subscription) beginFor(in *incoming, v verdict) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdicts++
	in.decided, in.acked = true, v.kind == verdictAck
	return in.lease
}

// report tells of what goes wrong without ending the subscription.
func (s *subscription) report(what string, in *incoming, err error) {
	s.c.log.Log(context.Background(), slog.LevelWarn, what, "seq", in.seq, "error", err)
	s.opts.onError(err)
}

// terminate ends the subscription with an error, the first one that is given. Nothing is begun any more.
func (s *subscription) terminate(err error) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.wake.Broadcast()
	select {
	case s.terminated <- err:
	default:
	}
}
