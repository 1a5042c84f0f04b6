package raftlog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// Proposal is an entry on its way through the group.
type Proposal struct {
	data    []byte // nil once answered
	size    int64
	barrier bool // an empty entry that the machine never sees

	done   chan struct{} // closed when the fields below are set
	result any
	index  uint64
	term   uint64
	err    error
}

func newProposal(data []byte) *Proposal {
	return &Proposal{data: data, size: int64(len(data)), done: make(chan struct{})}
}

// Done returns a channel that is closed when Wait no longer waits.
func (p *Proposal) Done() <-chan struct{} { return p.done }

// Wait returns what the machine answered, and the entry's place in the log. The errors of this package say whether
// the outcome is definite; ctx's own says nothing about it, and Wait may be called again.
func (p *Proposal) Wait(ctx context.Context) (result any, index, term uint64, err error) {
	select {
	case <-p.done:
	default:
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, 0, 0, ctx.Err()
		}
	}
	return p.result, p.index, p.term, p.err
}

func (p *Proposal) fail(err error) {
	p.err = err
	close(p.done)
}

// pipeline hands proposals to Raft in the order in which they came, and takes the answers back in that order, which
// is the order of the log. Raft's futures can be waited for only by blocking, so two goroutines do that: one hands
// over, one waits.
type pipeline struct {
	raft  *raft.Raft
	limit int64
	pause time.Duration // before an entry is tried again that came during a transfer of leadership

	mu      sync.Mutex
	changed *sync.Cond
	waiting []*Proposal // not handed to Raft
	handed  []handed    // handed to Raft, the oldest first
	again   []*Proposal // refused because leadership was being transferred: they go first once handed is empty
	holding int         // transfers of leadership under way
	bytes   int64
	closing bool
	ended   bool
	drained chan struct{} // closed when closing and nothing is left
	awaited chan struct{} // closed when await has returned
}

type handed struct {
	*Proposal
	future raft.Future // nil while the goroutine that hands over is still in Raft's call
}

func newPipeline(r *raft.Raft, limit int64, pause time.Duration) *pipeline {
	q := &pipeline{raft: r, limit: limit, pause: pause, drained: make(chan struct{}), awaited: make(chan struct{})}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// add takes a proposal in. Barriers are let in always: they are few and have no bytes.
func (q *pipeline) add(p *Proposal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closing:
		p.fail(ErrShutdown)
	case !p.barrier && q.bytes > 0 && q.bytes+p.size > q.limit:
		p.fail(ErrUnavailable)
	default:
		q.bytes += p.size
		q.waiting = append(q.waiting, p)
		q.changed.Broadcast()
	}
}

// handOver gives waiting proposals to Raft until the pipeline ends.
func (q *pipeline) handOver() {
	for {
		p, ok := q.next()
		if !ok {
			return
		}
		var f raft.Future
		if p.barrier {
			f = q.raft.Barrier(0)
		} else {
			f = q.raft.ApplyLog(raft.Log{Data: p.data}, 0)
		}
		q.mu.Lock()
		if !q.ended {
			q.handed[len(q.handed)-1].future = f
			q.changed.Broadcast()
		}
		q.mu.Unlock()
	}
}

// next moves the oldest waiting proposal to handed.
func (q *pipeline) next() (*Proposal, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.ended:
			return nil, false
		case q.holding > 0:
			q.changed.Wait()
		case len(q.again) > 0 && len(q.handed) == 0:
			q.mu.Unlock()
			time.Sleep(q.pause)
			q.mu.Lock()
			q.waiting = append(q.again, q.waiting...)
			q.again = nil
		case len(q.again) == 0 && len(q.waiting) > 0:
			p := q.waiting[0]
			q.waiting[0], q.waiting = nil, q.waiting[1:]
			q.handed = append(q.handed, handed{Proposal: p})
			return p, true
		default:
			q.changed.Wait()
		}
	}
}

// await takes Raft's answers until the pipeline ends. A Raft that is stopped while its log hangs answers some of its
// futures never, and cannot be told to: this goroutine is then lost with it.
func (q *pipeline) await() {
	defer close(q.awaited)
	for {
		h, ok := q.oldest()
		if !ok {
			return
		}
		q.answered(h, h.future.Error())
	}
}

// answered settles the oldest proposal that Raft has, or keeps it to be tried again.
func (q *pipeline) answered(h handed, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.handed[0], q.handed = handed{}, q.handed[1:]
	if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		q.again = append(q.again, h.Proposal)
	} else {
		q.bytes -= h.size
		h.settle(err)
	}
	q.noteDrained()
	q.changed.Broadcast()
}

// hold keeps proposals waiting until release, and returns when Raft has answered those that it has, or after limit.
// While leadership is transferred Raft refuses entries, and takes them again from one moment to the next: those that
// it refused would come after later ones.
func (q *pipeline) hold(limit time.Duration) (release func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.holding++
	late := false
	timer := time.AfterFunc(limit, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		late = true
		q.changed.Broadcast()
	})
	defer timer.Stop()
	for len(q.handed) > 0 && !late && !q.ended {
		q.changed.Wait()
	}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.holding--
		q.changed.Broadcast()
	}
}

// oldest returns the oldest proposal that Raft has.
func (q *pipeline) oldest() (handed, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if len(q.handed) > 0 && q.handed[0].future != nil {
			return q.handed[0], true
		}
		if q.ended {
			return handed{}, false
		}
		q.changed.Wait()
	}
}

// settle translates Raft's answer. What is not known to be definite is unknown.
func (h handed) settle(err error) {
	h.data = nil
	switch {
	case err == nil:
		if f, ok := h.future.(raft.ApplyFuture); ok {
			h.index = f.Index()
			if o, ok := f.Response().(outcome); ok {
				if o.left {
					h.fail(ErrLeadershipLost)
					return
				}
				h.result, h.term = o.result, o.term
			}
		}
		close(h.done)
	case errors.Is(err, raft.ErrNotLeader):
		h.fail(ErrNotLeader)
	case errors.Is(err, journal.ErrNoSpace):
		h.fail(ErrUnavailable) // nothing was written, nothing was sent
	default:
		h.fail(ErrLeadershipLost)
	}
}

// close stops taking proposals in. drained says when those that are in have been answered.
func (q *pipeline) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing = true
	q.noteDrained()
}

func (q *pipeline) noteDrained() {
	if !q.closing || len(q.handed)+len(q.waiting)+len(q.again) > 0 {
		return
	}
	select {
	case <-q.drained:
	default:
		close(q.drained)
	}
}

// end stops the goroutines. Raft is stopped by then: what it still has is not going to be answered, and what it never
// had is refused.
func (q *pipeline) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	for _, h := range q.handed {
		h.fail(ErrLeadershipLost)
	}
	for _, p := range append(q.again, q.waiting...) {
		p.fail(ErrShutdown)
	}
	q.handed, q.again, q.waiting, q.bytes = nil, nil, nil, 0
	q.changed.Broadcast()
}

// pendingBytes returns what has been taken in and not answered.
func (q *pipeline) pendingBytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
