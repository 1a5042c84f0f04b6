package raftlog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// LeaderState says who leads a group, as this node knows it.
type LeaderState struct {
	Group uint16
	Term  uint64
	// Leader is "" when unknown.
	Leader string
	// Leading is true when this node leads and has applied everything that was committed before its term: an entry of
	// this term has been applied here.
	Leading bool
}

// eventsHeld is how many events wait for a slow callback before the oldest are left out. Every event is the whole
// state, so only history is lost.
const eventsHeld = 64

// leadership follows Raft's leadership. One goroutine drains Raft's channel, which Raft blocks on, and works out the
// state; another calls back, so that a callback may take its time and may propose.
type leadership struct {
	group    uint16
	raft     *raft.Raft
	pipeline *pipeline
	retry    time.Duration

	won      chan bool             // Raft's NotifyCh
	observed chan raft.Observation // a wake-up, no more

	state atomic.Pointer[LeaderState]

	mu     sync.Mutex
	events []LeaderState
	wake   chan struct{}
}

func newLeadership(group uint16, retry time.Duration) *leadership {
	l := &leadership{
		group: group, retry: retry,
		won: make(chan bool, 8), observed: make(chan raft.Observation, 1), wake: make(chan struct{}, 1),
	}
	l.state.Store(&LeaderState{Group: group})
	return l
}

// attach connects to a Raft that has just started.
func (l *leadership) attach(r *raft.Raft, q *pipeline) {
	l.raft, l.pipeline = r, q
	r.RegisterObserver(raft.NewObserver(l.observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	}))
}

// follow works out the state until stop is closed; by then Raft has stopped.
func (l *leadership) follow(stop <-chan struct{}) {
	var barrier *Proposal // proposed in barrierTerm, to be applied before this node counts as leading
	var barrierTerm, readyTerm uint64
	for {
		term, leader, leads := l.look()
		if leads && readyTerm != term && barrier == nil {
			barrier, barrierTerm = newProposal(nil), term
			barrier.barrier = true
			l.pipeline.add(barrier)
		}
		l.publish(LeaderState{Group: l.group, Term: term, Leader: leader, Leading: leads && readyTerm == term})

		var proposed <-chan struct{}
		if barrier != nil {
			proposed = barrier.done
		}
		select {
		case <-stop:
			l.publish(LeaderState{Group: l.group, Term: term})
			return
		case <-l.won:
		case <-l.observed:
		case <-proposed:
			// The barrier is an entry of barrierTerm only if the term has not changed in between.
			now, _, leads := l.look()
			switch {
			case !leads || now != barrierTerm:
			case barrier.err == nil:
				readyTerm = barrierTerm
			default:
				l.pauseFor(stop)
			}
			barrier = nil
		}
	}
}

// pauseFor keeps a barrier that fails while Raft is changing its state from being tried in a loop. Raft's channel is
// drained meanwhile.
func (l *leadership) pauseFor(stop <-chan struct{}) {
	timer := time.NewTimer(l.retry)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-stop:
			return
		case <-l.won:
		case <-l.observed:
		}
	}
}

// look reads Raft's state, all of it of one term.
func (l *leadership) look() (term uint64, leader string, leads bool) {
	for {
		term = l.raft.CurrentTerm()
		leads = l.raft.State() == raft.Leader
		_, id := l.raft.LeaderWithID()
		if l.raft.CurrentTerm() == term {
			return term, string(id), leads
		}
	}
}

// publish makes a state the current one and queues it for the callback. Between two terms that this node leads there
// is always a state in which it does not.
func (l *leadership) publish(s LeaderState) {
	old := *l.state.Load()
	if s == old {
		return
	}
	if s.Leading && old.Leading {
		l.queue(LeaderState{Group: s.Group, Term: s.Term, Leader: s.Leader})
	}
	l.state.Store(&s)
	l.queue(s)
}

func (l *leadership) queue(s LeaderState) {
	l.mu.Lock()
	if len(l.events) == eventsHeld {
		l.events = append(l.events[:0], l.events[1:]...)
	}
	l.events = append(l.events, s)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// report calls back with every event until stop is closed and all are told.
func (l *leadership) report(events func(LeaderState), stop <-chan struct{}) {
	for {
		l.mu.Lock()
		batch := l.events
		l.events = nil
		l.mu.Unlock()
		for _, s := range batch {
			events(s)
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-l.wake:
		case <-stop:
			l.mu.Lock()
			done := len(l.events) == 0
			l.mu.Unlock()
			if done {
				return
			}
		}
	}
}
