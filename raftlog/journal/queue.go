package journal

import (
	"math"
	"sync"
	"sync/atomic"
)

// request is one call's records, answered once they are durable or refused.
type request struct {
	entries []Entry // of an append
	control record  // of anything else
	group   uint16
	bytes   int // of all records, heads included
	records int
	// done is told the answer, once, by the writer, and must not block.
	done func(error)
	held *atomic.Int64 // what the queue counts the request in

	// prior is the part of the same append before this one: if it was refused, so is this.
	prior *request
	// The writer's: what it answered, and whether the answer must wait for the mark.
	refused error
	voted   bool
}

// answer ends the wait of the caller.
func (r *request) answer(err error) {
	r.refused = err
	r.held.Add(-int64(r.diskBytes()))
	r.done(err)
}

func newAppend(group uint16, entries []Entry, bytes int) *request {
	return &request{group: group, entries: entries, bytes: bytes, records: len(entries)}
}

func newControl(rec record) *request {
	return &request{group: rec.group, control: rec, bytes: 64 + len(rec.candidate), records: 1}
}

// diskBytes is never less than what the request takes in a segment.
func (r *request) diskBytes() int { return diskBound(r.records, r.bytes) }

// queue holds the requests that wait for the writer, in order.
type queue struct {
	mu     sync.Mutex
	waits  []*request
	closed bool
	wake   chan struct{} // a token in it: there is something to take

	heldBytes atomic.Int64 // on disk at most, of all requests that are not answered
}

// do hands requests over and waits for their answers. It returns the first error.
func (q *queue) do(requests ...*request) error {
	answers := make(chan error, len(requests))
	for _, r := range requests {
		r.done = func(err error) { answers <- err }
	}
	if !q.add(requests...) {
		return ErrClosed
	}
	var first error
	for range requests {
		if err := <-answers; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// add hands requests over. It returns false when the queue is closed.
func (q *queue) add(requests ...*request) bool { return q.addWithin(math.MaxInt64, requests...) }

// addWithin is add unless the requests that are not answered would then be more bytes than the limit.
func (q *queue) addWithin(limitBytes int64, requests ...*request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	var sum int64
	for _, r := range requests {
		r.held = &q.heldBytes
		sum += int64(r.diskBytes())
	}
	if q.closed || q.heldBytes.Load() > limitBytes-sum {
		return false
	}
	q.heldBytes.Add(sum)
	q.waits = append(q.waits, requests...)
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take empties the queue into dst; closed says that nothing will come any more.
func (q *queue) take(dst []*request) (waits []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dst = append(dst, q.waits...)
	clear(q.waits)
	q.waits = q.waits[:0]
	return dst, q.closed
}

// close refuses further requests. It returns false if that was done before.
func (q *queue) close() bool {
	q.mu.Lock()
	was := q.closed
	q.closed = true
	q.mu.Unlock()
	q.signal()
	return !was
}
