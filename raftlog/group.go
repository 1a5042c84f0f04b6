package raftlog

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Group is one Raft group on this node.
type Group struct {
	host       *Host
	id         uint16
	machine    Machine
	logs       *logStore
	transport  *transport
	raft       *raft.Raft
	pipeline   *pipeline
	leadership *leadership

	stop    chan struct{} // closed when Raft is about to stop
	told    chan struct{} // closed when the last event is queued
	work    sync.WaitGroup
	closing sync.Once
}

// Status is where a group stands on this node.
type Status struct {
	Term, Commit, Last uint64
	// Applied is up to where the machine has everything. Entries that never reach a machine, which Raft makes for
	// itself, count: at rest Applied equals Commit.
	Applied uint64
	Leader  string
	Leading bool
	// PendingBytes is what has been proposed here and not been answered.
	PendingBytes int64
}

func newGroup(h *Host, id uint16, m Machine, events func(LeaderState)) (*Group, error) {
	log, durable := h.o.Log(id), m.DurableApplied()
	if err := checkStart(log, durable); err != nil {
		return nil, err
	}
	g := &Group{host: h, id: id, machine: m, stop: make(chan struct{}), told: make(chan struct{})}
	g.logs = &logStore{host: h, group: id, log: log, tail: newTail(durable.Index), stop: g.stop}
	g.logs.busy.born = time.Now()
	g.transport = &transport{host: h, id: id, inbox: make(chan raft.RPC), begun: &g.logs.begun, stop: g.stop,
		leader: g.leader}
	stable := &stableStore{host: h, group: id, log: log, busy: &g.logs.busy}
	if err := h.bootstrap(log, durable, g.logs, stable); err != nil {
		return nil, err
	}
	g.leadership = newLeadership(id, max(h.o.Timeout/20, time.Millisecond))
	r, err := raft.NewRaft(h.raftConfig(g.leadership.won, id, g.stop), &fsm{machine: m, logs: g.logs, stop: g.stop},
		g.logs, stable, snapshots{m}, g.transport)
	if err != nil {
		return nil, err
	}
	g.raft = r
	g.logs.raft.Store(r)
	g.pipeline = newPipeline(r, h.o.InFlightBytes, max(h.o.Timeout/20, time.Millisecond))
	g.leadership.attach(r, g.pipeline)
	g.run(events)
	return g, nil
}

// run starts the group's goroutines.
func (g *Group) run(events func(LeaderState)) {
	g.work.Go(g.pipeline.handOver)
	go g.pipeline.await()
	g.work.Go(func() {
		defer close(g.told)
		g.leadership.follow(g.stop)
	})
	if events == nil {
		events = func(LeaderState) {}
	}
	g.work.Go(func() { g.leadership.report(events, g.told) })
	if g.host.o.Preferred[g.id] == g.host.o.Node {
		g.work.Go(g.lead)
	}
}

// leader returns the term and its leader as Raft knows them now.
func (g *Group) leader() (term uint64, node string) {
	term, node, _ = g.leadership.look()
	return term, node
}

// Propose puts an entry into the group. data must not be changed afterwards. It does not block.
func (g *Group) Propose(data []byte) *Proposal {
	p := newProposal(data)
	switch {
	case len(data) > MaxEntryBytes:
		p.fail(ErrTooLarge)
	case g.raft.State() == raft.Leader:
		g.pipeline.add(p)
	case g.raft.State() == raft.Shutdown:
		p.fail(ErrShutdown)
	default:
		p.fail(ErrNotLeader)
	}
	return p
}

// State returns who leads, the same as the last event.
func (g *Group) State() LeaderState { return *g.leadership.state.Load() }

// Status returns where the group stands.
func (g *Group) Status() Status {
	s, r := g.State(), g.raft
	return Status{
		Term: r.CurrentTerm(), Commit: min(r.CommitIndex(), g.logs.begun.below()), Last: r.LastIndex(),
		Applied: g.logs.tail.reached(r.AppliedIndex()),
		Leader:  s.Leader, Leading: s.Leading, PendingBytes: g.pipeline.pendingBytes(),
	}
}

// Body returns n bytes from off on of the data of the entry of this index and term: from the cache without a copy,
// else from the log. They must not be changed. It returns [ErrNotFound] if that entry, or that part of it, is not
// there.
func (g *Group) Body(index, term uint64, off, n int) ([]byte, error) {
	return g.logs.body(index, term, off, n)
}

// TransferLeadership hands leadership to the voter that has most of the log. It returns when this node has stopped
// leading, [ErrNotLeader] if it does not lead. Proposals wait meanwhile.
func (g *Group) TransferLeadership() error {
	if g.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	defer g.pipeline.hold(g.host.o.Timeout)()
	answer := make(chan error, 1)
	go func() { answer <- g.raft.LeadershipTransfer().Error() }()
	late := time.NewTimer(3 * g.host.o.Timeout)
	defer late.Stop()
	select {
	case err := <-answer:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, raft.ErrNotLeader):
			return ErrNotLeader
		case errors.Is(err, raft.ErrRaftShutdown):
			return ErrShutdown
		}
		return fmt.Errorf("transfer leadership of group %d: %w", g.id, err)
	case <-late.C:
		return fmt.Errorf("transfer leadership of group %d: %w", g.id, errTimeout)
	case <-g.stop:
		return ErrShutdown
	}
}

// close stops the group: what it has taken in is answered first, then leadership is given away. A log that hangs, or a
// majority that is away, cannot hold it up for long.
func (g *Group) close() {
	g.closing.Do(func() {
		g.pipeline.close()
		drained := g.drained()
		if drained && g.raft.State() == raft.Leader && g.hasHeir() {
			if err := g.TransferLeadership(); err != nil && !errors.Is(err, ErrNotLeader) {
				g.host.log.out.Warn("leadership not handed over", "group", g.id, "error", err)
			}
		}
		stopped := g.raft.Shutdown()
		close(g.stop)
		stopped.Error()
		g.pipeline.end()
		if drained {
			<-g.pipeline.awaited
		}
	})
	g.work.Wait()
}

// hasHeir reports whether another voter could lead.
func (g *Group) hasHeir() bool {
	for _, s := range g.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter && string(s.ID) != g.host.o.Node {
			return true
		}
	}
	return false
}

// drained waits until everything that was proposed is answered, and gives up when something is very wrong: a leader
// without a majority steps down, and answers, within the timeout.
func (g *Group) drained() bool {
	late := time.NewTimer(2 * g.host.o.Timeout)
	defer late.Stop()
	select {
	case <-g.pipeline.drained:
		return true
	case <-late.C:
		return false
	}
}
