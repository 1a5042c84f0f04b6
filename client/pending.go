package client

import (
	"context"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// MessageID is the id of a message: 16 bytes that say nothing by themselves.
type MessageID [16]byte

// String returns the id in hexadecimal digits.
func (id MessageID) String() string { return hexString(id[:]) }

// Sent is what is known of a message that a quorum of the cluster has stored.
type Sent struct {
	ID MessageID
	// Seq is the message's number in its mailbox, 0 if the sender may not stat the mailbox.
	Seq uint64
	// Duplicate says that the message had been stored before, by an earlier attempt or under the same key.
	Duplicate bool
	// SealedBytes is how long the message was when it was sealed.
	SealedBytes int
}

// Pending is a message on its way.
type Pending struct {
	// What every message needs when its answer comes stands together, in as few cache lines as there can be.
	batch *batch // nil if the message never got that far; set before Send returns

	// Owned by the sender.
	buf     *buffer
	session *sendSession
	bytes   int // of the sender's bound
	settled bool
	unknown bool // an attempt may have got through
	keyed   bool
	fixed   uint8

	// Owned by the sender until settled, and never changed after that: Wait and Then read them without its lock.
	err  error
	sent Sent

	// Owned by the sender.
	body     []byte
	sealed   []byte
	header   wire.ClearHeader
	deadline time.Time
	key      string // of the application, for keyed ids
	tag      [16]byte
	extra    *sendOptions // options inside the seal, nil if there are none
	then     func(Sent, error)
	told     *Pending  // the next in the sender's list
	since    time.Time // when the first attempt left that may have got through
	last     *Error
}

// Wait waits for the message to be stored. If ctx ends first the message goes on: Wait may be called again. The error
// is an *[Error]; one with an unknown outcome comes only when the message's own time is up, when it cannot be sent
// again safely (see [Sender.Send]), or when the client was closed.
func (p *Pending) Wait(ctx context.Context) (Sent, error) {
	if p.batch != nil && !p.batch.isDone.Load() {
		ctx, stop := withDeadline(ctx)
		defer stop()
		select {
		case <-p.batch.whenDone():
		case <-ctx.Done():
			return p.waited(ctx)
		}
	}
	return p.sent, p.err
}

// waited returns the result of a wait that ended before the message did.
func (p *Pending) waited(ctx context.Context) (Sent, error) {
	s := p.batch.sender
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.settled {
		return p.sent, p.err
	}
	return p.sent, ended(context.Cause(ctx), p.last, p.unknown || p.batch.flying)
}

// results are messages whose results somebody wants to be told, in the order in which they came.
type results struct{ first, last *Pending }

func (r *results) add(p *Pending) {
	if r.first == nil {
		r.first = p
	} else {
		r.last.told = p
	}
	r.last = p
}

// tell tells them. The caller holds no lock.
func (r results) tell() {
	for p := r.first; p != nil; {
		next := p.told
		p.told = nil
		p.then(p.sent, p.err)
		p = next
	}
}
