package broker

import (
	"errors"
	"io"
	"sync"
)

// errOutboxClosed means that the connection is going away and the answer has nobody to go to.
var errOutboxClosed = errors.New("connection is closed")

const (
	// outboxBytes is how much may wait to be written to a client before it is not listened to any more.
	outboxBytes = 1 << 20
	// outboxShare is the same while the node's outboxes hold more than they should together: the clients that read go
	// on, those that do not give way.
	outboxShare = 64 << 10
	// outboxKeeps is the largest buffer that is kept for use again.
	outboxKeeps = 2 << 20
)

// outboxBuffers are used by all outboxes in turn: a connection that has nothing to say holds none.
var outboxBuffers = sync.Pool{New: func() any { return new([]byte) }}

// outbox collects the frames of one connection. Whoever has an answer appends it under the lock and goes on; one
// goroutine writes what has gathered in as few writes as there are, so that a busy connection pays for a TLS record
// and a system call once per many answers.
type outbox struct {
	all *budget // what the outboxes of the node hold together

	mu      sync.Mutex
	waiting *[]byte // nil if nothing waits
	writing int     // bytes that are being written
	closed  bool
	wake    *sync.Cond // writer: there is something; others: there is room
}

func newOutbox(all *budget) *outbox {
	o := &outbox{all: all}
	o.wake = sync.NewCond(&o.mu)
	return o
}

// append lets build append frames to the buffer. It never blocks, so that an apply is never held up by a slow
// receiver; whoever causes answers bounds them by calling room first.
func (o *outbox) append(build func(dst []byte) []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return errOutboxClosed
	}
	if o.waiting == nil {
		o.waiting = outboxBuffers.Get().(*[]byte)
	}
	before := len(*o.waiting)
	*o.waiting = build(*o.waiting)
	o.all.add(len(*o.waiting) - before)
	o.wake.Broadcast()
	return nil
}

// room blocks while too much waits to be written: a peer that sends without reading is not read any more, and is given
// no messages.
func (o *outbox) room() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed {
		most := outboxBytes
		if o.all.usedUp() {
			most = outboxShare
		}
		if o.bytes() <= most {
			return nil
		}
		o.wake.Wait()
	}
	return errOutboxClosed
}

// close makes append and room fail. run writes what has gathered by then, and returns.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.wake.Broadcast()
}

// bytes is what waits or is being written. The caller holds the lock.
func (o *outbox) bytes() int {
	if o.waiting == nil {
		return o.writing
	}
	return o.writing + len(*o.waiting)
}

// run writes to w until close or the first error, which it returns.
func (o *outbox) run(w io.Writer) error {
	for {
		out := o.take()
		if out == nil {
			return nil
		}
		_, err := w.Write(*out)
		o.written(out, err)
		if err != nil {
			return err
		}
	}
}

// take waits for something to write. It returns nil once the outbox is closed and empty.
func (o *outbox) take() *[]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.waiting == nil && !o.closed {
		o.wake.Wait()
	}
	out := o.waiting
	o.waiting = nil
	if out != nil {
		o.writing = len(*out)
	}
	return out
}

func (o *outbox) written(out *[]byte, err error) {
	o.mu.Lock()
	o.all.add(-o.writing)
	o.writing = 0
	if err != nil {
		o.closed = true
		o.all.add(-o.bytes())
		o.waiting = nil
	}
	o.mu.Unlock()
	o.wake.Broadcast()
	if cap(*out) <= outboxKeeps {
		*out = (*out)[:0]
		outboxBuffers.Put(out)
	}
}
