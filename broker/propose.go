package broker

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
)

const (
	// entryClosesAt ends an entry that is being filled. One entry of a group is on its way at a time and followers are
	// sent one after the other, so what waits meanwhile goes together: two of 256 KiB took a sixth longer for a message.
	entryClosesAt = 1 << 20
	// admitTime is how long a command waits for room before it is refused. Until then the connection that brings it is
	// not read, which is how its client learns to wait.
	admitTime = 2 * time.Second
)

// completion is told what became of one command, once, in the order of the log. It must not block.
type completion interface {
	done(o *machine.Outcome, err error)
}

// proposed is a command on its way into an entry: build appends it, done is told its outcome.
type proposed struct {
	build func(dst []byte) []byte
	completion
}

// proposal is an entry on its way through the log.
type proposal interface {
	Wait(ctx context.Context) (result any, index, term uint64, err error)
}

type proposerOptions struct {
	propose    func(data []byte) proposal
	control    func() uint64 // applied index of the control group, stamped into every entry
	now        func() int64  // unix ms, stamped into every entry
	asked      *atomic.Int64 // entries on their way: while there are any, the replica works out outcomes
	commit     prometheus.Observer
	limitBytes int // what the group may hold that is not applied
}

// proposer fills a group's open entry and hands entries to the log, the next when the one before is applied. There is no
// timer in it: a lone command goes out at once, and a busy group batches by itself.
type proposer struct {
	proposerOptions

	mu      sync.Mutex
	changed *sync.Cond
	queue   []*openEntry // the last one is open
	bytes   int          // of entries without an outcome
	// hint is what the next entry will probably need. An entry is kept in the cache, so room to spare is memory lost.
	hint   int
	closed bool

	finished chan struct{} // closed when everything that was queued has run its course
}

type openEntry struct {
	data    []byte
	waiting []completion
}

// settledEntry is an entry with its outcome.
type settledEntry struct {
	*openEntry
	result any
	err    error
}

func newProposer(o proposerOptions) *proposer {
	p := &proposer{proposerOptions: o, finished: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	go p.run()
	return p
}

// addAll appends commands to the open entry, with no other between them; build appends each to the bytes it is given.
// While the group holds too much it waits, and gives up with raftlog.ErrUnavailable. Commands may rest on something: if
// stands says after the wait that it has changed, they are not taken in, and the error is errMoved; stands must neither
// block nor lock. After a nil result every completion is told its outcome exactly once.
func (p *proposer) addAll(stands func() bool, commands ...proposed) error {
	return p.addWithin(p.limitBytes, stands, commands...)
}

// addRelief is addAll for commands that take load off the group, such as acks: when there is no room for others, there
// is as much again for them.
func (p *proposer) addRelief(stands func() bool, commands ...proposed) error {
	return p.addWithin(2*p.limitBytes, stands, commands...)
}

// errMoved says that what a command rests on is not as it was.
var errMoved = errors.New("what the command rests on has changed")

func (p *proposer) addWithin(limit int, stands func() bool, commands ...proposed) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.awaitRoom(limit); err != nil {
		return err
	}
	if stands != nil && !stands() {
		return errMoved
	}
	return p.addLocked(commands...)
}

// addNow is addAll for callers that must not block. Each of them has one command at a time on its way.
func (p *proposer) addNow(build func(dst []byte) []byte, c completion) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addLocked(proposed{build, c})
}

// awaitRoom waits until the group holds less than a limit. The caller holds the lock.
func (p *proposer) awaitRoom(limit int) error {
	if p.bytes < limit || p.closed {
		return nil
	}
	late := false
	timer := time.AfterFunc(admitTime, func() {
		p.mu.Lock()
		late = true
		p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer timer.Stop()
	for p.bytes >= limit && !p.closed && !late {
		p.changed.Wait()
	}
	if p.bytes >= limit && !p.closed {
		return raftlog.ErrUnavailable
	}
	return nil
}

func (p *proposer) addLocked(commands ...proposed) error {
	if p.closed {
		return raftlog.ErrShutdown
	}
	empty := len(p.queue) == 0
	for _, c := range commands {
		var e *openEntry
		if n := len(p.queue); n > 0 && len(p.queue[n-1].data) < entryClosesAt {
			e = p.queue[n-1]
		} else {
			e = &openEntry{data: machine.AppendEntryHeader(make([]byte, 0, p.hint), p.now(), p.control())}
			p.bytes += len(e.data)
			p.queue = append(p.queue, e)
		}
		before := len(e.data)
		e.data = c.build(e.data)
		e.waiting = append(e.waiting, c.completion)
		p.bytes += len(e.data) - before
	}
	if empty {
		p.changed.Broadcast()
	}
	return nil
}

// run takes one entry after the other through the log. Who waits for an entry is told while the next one is on its way.
func (p *proposer) run() {
	defer close(p.finished)
	var before *settledEntry
	for {
		e := p.take(before == nil)
		var on proposal
		begun := time.Now()
		if e != nil {
			p.asked.Add(1)
			on = p.propose(e.data)
		}
		if before != nil {
			p.tell(before)
		} else if e == nil {
			return
		}
		before = nil
		if e != nil {
			result, _, _, err := on.Wait(context.Background())
			p.asked.Add(-1)
			p.commit.Observe(time.Since(begun).Seconds())
			before = &settledEntry{e, result, err}
		}
	}
}

// take returns the oldest entry, nil if there is none: at once, or, if it is to wait, when there never will be any.
func (p *proposer) take(wait bool) *openEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	for wait && len(p.queue) == 0 && !p.closed {
		p.changed.Wait()
	}
	if len(p.queue) == 0 {
		return nil
	}
	e := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.hint = len(e.data) + len(e.data)/8
	if cap(e.data) > 4*len(e.data) {
		e.data = bytes.Clone(e.data) // a small entry after a large one: a small copy
	}
	return e
}

// tell tells every command of an entry its outcome, in the order of the log.
func (p *proposer) tell(e *settledEntry) {
	p.settled(len(e.data))
	outcomes, _ := e.result.([]machine.Outcome)
	err := e.err
	if err == nil && len(outcomes) != len(e.waiting) {
		// The entry was applied, but not by a machine that was asked for outcomes.
		err = errOutcomeLost
	}
	for i, c := range e.waiting {
		if err != nil {
			c.done(nil, err)
		} else {
			c.done(&outcomes[i], nil)
		}
	}
}

// settled gives back the room of an entry.
func (p *proposer) settled(bytes int) {
	p.mu.Lock()
	p.bytes -= bytes
	p.mu.Unlock()
	p.changed.Broadcast()
}

// held returns the bytes of commands without an outcome.
func (p *proposer) held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// errOutcomeLost is an unknown outcome: the command may have been applied.
var errOutcomeLost = errors.New("the outcome was lost in a change of leaders")

// refuse takes nothing in any more. What is queued runs its course.
func (p *proposer) refuse() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.changed.Broadcast()
}

// close waits until what was queued has run its course.
func (p *proposer) close() {
	p.refuse()
	<-p.finished
}
