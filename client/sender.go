package client

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

const (
	defaultSenderBytes = 8 << 20
	// defaultInFlight is how many batches of a sender are on their way at once. While they are, messages gather in the
	// next one: few and full batches cost both sides least.
	defaultInFlight = 8
)

// SenderOption changes a [Sender].
type SenderOption func(*Sender)

// BufferBytes bounds the messages that a sender holds until they are stored: [Sender.Send] blocks above it. Unless
// set it is 8 MiB. One message may always be on its way.
func BufferBytes(n int) SenderOption { return func(s *Sender) { s.maxBytes = max(n, 1) } }

// InFlight sets how many batches are on their way at once, 8 unless set. With 1 the order of messages is kept whatever
// happens; see [Sender].
func InFlight(batches int) SenderOption { return func(s *Sender) { s.window = max(batches, 1) } }

// Sender sends messages to one mailbox without waiting for each. It is safe for concurrent use and meant to be long
// lived; it has no resources of its own to close.
//
// Order: messages get ascending ids in the order of the calls of Send, are sealed in that order, and leave in that
// order on one connection; a node takes the batches of a connection in order. The first batch on a connection goes
// alone, so that a node which only then begins to lead cannot refuse it and take the second. When a batch fails in a way
// that trying again may mend (its node does not lead any more, the connection is lost, there is no room), nothing new
// leaves, the answers of all batches under way are awaited, and what has no place in the mailbox yet is sent again from
// the oldest on, one batch at a time until the first succeeds, with the same ids: what was stored after all keeps its
// place and is not stored twice. A batch whose outcome is unknown cannot be overtaken by a later one of the same
// connection, as the log keeps all that came before what it keeps.
//
// So the order in the mailbox is the order of Send, with one exception: a node that refuses a batch of a pipeline for
// want of room or freshness, or because it does not lead, and a moment later takes one that was under way behind it.
// With InFlight(1) none is under way, and the order holds always. A message that fails for good leaves a gap; those
// behind it go on.
type Sender struct {
	// What every message needs stands together: of many senders with few messages each, little is in a cache.
	c        *Client
	box      *mailbox
	err      error // of a mailbox name that is none
	maxBytes int
	window   int
	producer [8]byte
	last     atomic.Pointer[sendSession] // what was sealed in: asking the mailbox would be another wait for memory

	// sealing is held from drawing a counter until the sealed message stands in its batch.
	sealing sync.Mutex
	counter uint64

	mu       sync.Mutex
	issued   uint64       // the highest counter in a batch
	batches  []*batch     // without all results, oldest first
	few      [2]*batch    // where batches begins
	flying   int          // batches under way
	allowed  int          // how many may be: window, or 1 on a connection on which none has succeeded
	bytes    int          // of messages without a result
	conn     *conn        // where batches go, nil before the first and after a failure
	queuedOn *conn        // in whose ready list the sender stands
	known    *sendSession // a node has its header: frames do without it, until one says that it is lost
	halted   bool         // nothing leaves until mend is through
	mending  bool         // mend is running
	timerAt  time.Time
	came     results // that nobody was told yet
	room     []chan struct{}
	timer    *time.Timer
	failed   error // the first failure since Flush returned
	why      trouble
	attempts backoff

	scratch [wire.ClearHeaderMaxBytes]byte // with sealing
}

// trouble is what has to be mended before anything is sent again.
type trouble struct {
	gone    bool // the mailbox was made anew
	reseal  bool // the messages have to be sealed again: another session, or another time
	hinted  bool // it helps to try again at once
	err     *Error
	from    *conn // where err came from
	waiting time.Duration
}

var _ source = (*Sender)(nil)

// Sender returns a new sender to a mailbox.
func (c *Client) Sender(mailbox string, opts ...SenderOption) *Sender {
	box, err := c.mailbox(mailbox)
	s := newSender(c, box, opts...)
	s.err = err
	return s
}

func newSender(c *Client, box *mailbox, opts ...SenderOption) *Sender {
	s := &Sender{c: c, box: box, maxBytes: defaultSenderBytes, window: defaultInFlight}
	for _, option := range opts {
		option(s)
	}
	s.batches = s.few[:0]
	rand.Read(s.producer[:])
	return s
}

// Send puts a message on its way. It blocks while the sender's buffer is full, or while nothing is known about the
// mailbox yet, until ctx ends; body may be used again when it returns. The message itself is tried until the deadline
// that ctx has now, or for 30 s; cancelling ctx later does not take it back. But 9 minutes after the first attempt that
// may have stored it, it is not sent again: the cluster may have forgotten its id, and its outcome is unknown.
func (s *Sender) Send(ctx context.Context, body []byte, opts ...SendOption) *Pending {
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(defaultTimeout)
	}
	p := &Pending{body: body, deadline: deadline}
	if len(opts) > 0 {
		p.setOptions(opts)
	}
	if err := s.send(ctx, p, now); err != nil {
		p.err, p.body = err, nil
		s.mu.Lock()
		s.noteFailureLocked(err)
		s.mu.Unlock()
		if p.then != nil {
			p.then(p.sent, err)
		}
	}
	return p
}

func (s *Sender) send(ctx context.Context, p *Pending, now time.Time) error {
	if s.err != nil {
		return s.err
	}
	if limit := int(s.c.limits().BodyBytes); len(p.body) > limit {
		return definite(CodeTooLarge, nil, "the body has %d bytes and the cluster takes %d", len(p.body), limit)
	}
	cause := context.Cause(ctx)
	if cause == nil && !now.Before(p.deadline) {
		cause = context.DeadlineExceeded
	}
	if cause != nil {
		return ended(cause, nil, false)
	}
	p.bytes = 2*len(p.body) + itemBytes
	if err := s.reserve(ctx, p); err != nil {
		return err
	}
	for {
		session, err := s.session(ctx, p, now)
		if err == nil {
			err = s.seal(p, session, now)
			if err == nil {
				return nil
			}
			if errors.Is(err, envelope.ErrSessionExhausted) {
				s.box.letGo(session)
				now = time.Now()
				continue
			}
			err = sealError(err)
		}
		s.mu.Lock()
		s.releaseLocked(p.bytes)
		s.mu.Unlock()
		return err
	}
}

// itemBytes is what a message costs beside its bytes.
const itemBytes = 512

// session returns what to seal in, blocking only where there is nothing yet.
func (s *Sender) session(ctx context.Context, p *Pending, now time.Time) (*sendSession, error) {
	last := s.last.Load()
	if usable, renew := last.usable(now.UnixNano()); usable && !renew {
		return last, nil
	}
	ctx, stop := context.WithDeadline(ctx, p.deadline)
	defer stop()
	session, err := s.box.sealing(ctx, now.UnixNano())
	s.last.Store(session)
	return session, err
}

// seal gives the message its id, seals it and puts it into its batch.
func (s *Sender) seal(p *Pending, session *sendSession, now time.Time) error {
	body := p.body
	s.sealing.Lock()
	if err := s.sealInto(p, session, now); err != nil {
		s.sealing.Unlock()
		p.body = body
		return err
	}
	if !p.keyed {
		s.counter++
	}
	s.mu.Lock()
	s.publishLocked(p)
	s.sealing.Unlock() // first: what unlock tells is told with no lock held
	s.unlock()
	return nil
}

// sealInto seals p as the next message of the sender. It copies the body, so that it can be sealed again.
func (s *Sender) sealInto(p *Pending, session *sendSession, now time.Time) error {
	if p.keyed {
		s.nameKeyed(p, session)
	} else {
		p.header.ID = wire.CountedID(s.producer, s.counter+1)
	}
	message := envelope.Message{Form: session.form, Body: p.body}
	p.extra.fill(&message, now)
	need := len(p.body) + message.MaxSealedLen()
	if p.buf == nil {
		p.buf = takeBuffer(need)
		p.buf.b = append(p.buf.b, p.body...)
	}
	if err := s.sealAs(p, session, &message); err != nil {
		p.buf.giveBack()
		p.buf = nil
		return err
	}
	p.sent.ID, p.sent.SealedBytes = p.header.ID, len(p.sealed)
	return nil
}

// sealAs seals the message behind its body in its buffer, under a header made for the session and this time.
func (s *Sender) sealAs(p *Pending, session *sendSession, message *envelope.Message) error {
	now, err := s.c.now()
	if err != nil {
		return err
	}
	p.session = session
	p.header.Type, p.header.Flags = wire.BodySealed, session.flags
	p.header.NotAfterMinutes = uint32(now.Add(session.ttl).Unix() / 60)
	p.header.Epoch, p.header.Session = session.Epoch(), session.ID()
	header := wire.AppendClearHeader(s.scratch[:0], &p.header)
	n := len(p.body)
	p.body = p.buf.b[:n]
	message.Body = p.body
	sealed, err := session.Seal(p.buf.b[:n], header, *message)
	if err != nil {
		return err
	}
	p.buf.b = sealed
	p.body, p.sealed = sealed[:n], sealed[n:]
	return nil
}

// publishLocked puts a sealed message into the open batch.
func (s *Sender) publishLocked(p *Pending) {
	limits := s.c.limits()
	size := len(p.sealed) + wire.ClearHeaderBytes + 64
	var b *batch
	if n := len(s.batches); n > 0 {
		b = s.batches[n-1]
	}
	if b == nil || !b.room(size, p.session.mailbox, limits) {
		b = newBatch(s, p.session.mailbox)
		s.batches = append(s.batches, b)
	}
	b.add(p, size)
	if !p.keyed {
		s.issued = p.header.Counter()
	}
	s.armLocked(p.deadline)
}

// release gives the lock back and tells the results that came under it.
func (s *Sender) release() {
	came := s.takeCameLocked()
	s.mu.Unlock()
	came.tell()
}

func (s *Sender) takeCameLocked() results {
	came := s.came
	s.came = results{}
	return came
}

// unlock is release at the end of what may have changed whether something can leave: it gives the sender a turn on its
// connection if there is something to send, and has it mended if there is and it cannot leave.
func (s *Sender) unlock() {
	var next *conn
	mend := false
	switch {
	case len(s.batches) == 0 || s.mending:
	case s.halted || s.conn == nil:
		mend = s.flying == 0
		s.mending, s.halted = mend, true
	case s.queuedOn != s.conn && s.flying < s.allowed && s.nextLocked() != nil:
		s.queuedOn = s.conn
		next = s.conn
	}
	came := s.takeCameLocked()
	s.mu.Unlock()
	if mend && !s.c.start(s.mend) {
		s.close()
	}
	if next != nil && !next.enqueue(s) {
		s.dropped(next, errNotSent)
	}
	came.tell()
}

// nextLocked returns the oldest batch that is not under way.
func (s *Sender) nextLocked() *batch {
	for _, b := range s.batches {
		if !b.flying {
			return b
		}
	}
	return nil
}

// nextSafeLocked is nextLocked once the messages that must not be sent again have their result.
func (s *Sender) nextSafeLocked(now time.Time) *batch {
	for {
		b := s.nextLocked()
		if b == nil || b.tookOff.IsZero() {
			return b
		}
		for _, p := range b.items {
			if !p.settled && p.forgotten(now) {
				s.giveUpLocked(p, errForgotten)
			}
		}
		if b.left > 0 {
			return b
		}
	}
}

// frame gives the connection the next batch.
func (s *Sender) frame(dst []byte, c *conn, request uint32) ([]byte, waiter, bool) {
	s.mu.Lock()
	if s.queuedOn == c {
		s.queuedOn = nil
	}
	now := c.gathering
	var b *batch
	if !s.halted && s.conn == c && s.flying < s.allowed {
		b = s.nextSafeLocked(now)
	}
	if b == nil {
		s.release()
		return dst, nil, false
	}
	b.takeOff()
	b.tookOff, b.known = now, s.known
	s.flying++
	lowest := s.lowestLocked()
	more := s.flying < s.allowed && s.nextLocked() != nil
	if more {
		s.queuedOn = c
	}
	s.release()
	return b.append(dst, c, request, lowest), b, more
}

// lowestLocked returns the lowest counter without an answer; the node may forget what lies below it.
func (s *Sender) lowestLocked() uint64 {
	for _, b := range s.batches {
		for _, p := range b.items {
			if !p.settled && !p.keyed {
				return p.header.Counter()
			}
		}
	}
	return s.issued + 1
}

// Flush waits until everything that was sent before has a result. It returns the first failure since it returned last.
func (s *Sender) Flush(ctx context.Context) error {
	ctx, stop := withDeadline(ctx)
	defer stop()
	s.mu.Lock()
	waiting := append([]*batch(nil), s.batches...)
	for _, b := range waiting {
		b.closed = true
	}
	s.mu.Unlock()
	for _, b := range waiting {
		select {
		case <-b.whenDone():
		case <-ctx.Done():
			return ended(context.Cause(ctx), nil, true)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failed
	s.failed = nil
	return err
}

func (s *Sender) noteFailureLocked(err error) {
	if s.failed == nil {
		s.failed = err
	}
}

// sealError says why a message cannot be sealed.
func sealError(err error) error {
	switch {
	case errors.As(err, new(*Error)):
		return err
	case errors.Is(err, envelope.ErrTooLarge):
		return definite(CodeTooLarge, err, "")
	}
	return definite(CodeBadRequest, err, "")
}
