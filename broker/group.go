package broker

import (
	"errors"
	"sync/atomic"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// rules is what the control machine and a mail machine have in common.
type rules interface {
	Apply(entries []machine.Entry, config *machine.Applied, outcomes bool) ([][]machine.Outcome, error)
	Applied() machine.Applied
	TimeMillis() int64
}

// group joins a Raft group to its machine and its proposer.
type group struct {
	broker   *Broker
	id       uint16
	rules    rules
	reader   storage.Reader
	log      *raftlog.Group
	proposer *proposer
	asked    atomic.Int64  // entries proposed here whose outcomes somebody waits for
	ready    chan struct{} // closed when log and proposer are set: events may come before
}

// mailGroup is a group of mailboxes.
type mailGroup struct {
	group
	machine *machine.Mail
	waits   *waitList[*receiver]
	holds   *holds
	headers *headerSealer
}

// start begins to take part. follow is called for every change of leadership, applied after every run of entries.
func (g *group) start(follow func(raftlog.LeaderState), applied func()) error {
	g.ready = make(chan struct{})
	log, err := g.broker.host.Start(g.id, &replica{group: g, applied: applied}, func(s raftlog.LeaderState) {
		<-g.ready
		g.broker.log.Info("leader changed", "group", s.Group, "term", s.Term, "leader", s.Leader, "leading", s.Leading)
		follow(s)
	})
	if err != nil {
		return err
	}
	g.log = log
	g.proposer = newProposer(proposerOptions{
		propose: func(data []byte) proposal { return log.Propose(data) }, asked: &g.asked,
		control: g.broker.controlIndex, now: g.stamp, commit: g.broker.metrics.commit, limitBytes: g.broker.o.proposalBytes(),
	})
	close(g.ready)
	return nil
}

// stamp is the time that goes into an entry: this node's, but never before what was applied.
func (g *group) stamp() int64 { return max(g.broker.clock.now(), g.rules.TimeMillis()) }

// leader returns the hint for a client that came to the wrong node.
func (g *group) leader() wire.Leader {
	node := g.log.State().Leader
	return wire.Leader{Node: node, Address: g.broker.clientAddress(node)}
}

// errNotYet is what a node says that was elected and has not applied yet what was committed before. It would be the
// leader that it points to.
var errNotYet = refusal(wire.CodeUnavailable, "this node is about to lead the group")

// mustLead refuses unless this node leads the group.
func (g *group) mustLead() error {
	switch s := g.log.State(); {
	case s.Leading:
		return nil
	case s.Leader == g.broker.o.Node:
		return errNotYet
	}
	return raftlog.ErrNotLeader
}

// follow follows the leadership of a mail group: who waits here waits for nothing once another node leads, and
// deadlines are found in the rows when this one begins to, beside serving.
func (g *mailGroup) follow(s raftlog.LeaderState) {
	if !s.Leading {
		g.waits.close(func(r *receiver) { r.fail(raftlog.ErrNotLeader) })
		g.holds.clear()
		return
	}
	g.headers.renew()
	g.waits.open()
	if err := g.findHolds(); err != nil {
		g.broker.log.Error("cannot read what mailboxes hold; leases run out only after the next change of leaders",
			"group", g.id, "err", err)
	}
}

// findHolds fills the heap of deadlines from the rows.
func (g *mailGroup) findHolds() error {
	var last storage.Mailbox
	return g.reader.Holds(func(h storage.Hold) error {
		if h.Mailbox != last.Number {
			mb, err := g.reader.Mailbox(h.Mailbox)
			if errors.Is(err, storage.ErrNotFound) {
				return nil // deleted meanwhile
			}
			if err != nil {
				return err
			}
			last = mb
		}
		g.holds.push(last.ID, h.AtMillis)
		return nil
	})
}

// slotGroup returns the mail group of a slot: the slots are dealt out in equal runs.
func slotGroup(slot uint16, groups int) uint16 { return 1 + uint16(int(slot)*groups/wire.Slots) }
