package broker

import (
	"errors"
	"fmt"
	"io"
	"sync"
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
	search  search // for deadlines, in the term that this node leads
	heirs   heirs
	headers *headerSealer
}

// start begins to take part. follow is called for every change of leadership, applied after every run of entries.
func (g *group) start(follow func(raftlog.LeaderState), applied func()) error {
	g.ready = make(chan struct{})
	var said raftlog.LeaderState // the last leader that a line was written about
	log, err := g.broker.host.Start(g.id, &replica{group: g, applied: applied}, func(s raftlog.LeaderState) {
		<-g.ready
		if s.Leader != "" && (s.Leader != said.Leader || s.Term != said.Term) {
			said = s
			g.broker.log.Info("leader changed", "group", s.Group, "term", s.Term, "leader", s.Leader)
		}
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
// deadlines are found in the rows when this one begins to, beside serving. The last event of a group says that this
// node does not lead.
func (g *mailGroup) follow(s raftlog.LeaderState) {
	if !s.Leading {
		g.waits.close(func(r *receiver) { r.fail(raftlog.ErrNotLeader) })
		g.heirs.passAll()
		g.search.end()
		g.holds.clear()
		return
	}
	g.headers.renew()
	g.waits.open()
	g.search.begin(func(over func() bool) {
		if err := g.findHolds(over); err != nil && !over() {
			g.broker.log.Error("cannot read what mailboxes hold; leases run out only after the next change of leaders",
				"group", g.id, "err", err)
		}
	})
}

// findHolds fills the heap of deadlines from the rows, until it is over.
func (g *mailGroup) findHolds(over func() bool) error {
	if err := g.writeOut(); err != nil {
		return err
	}
	var last storage.Mailbox
	return g.reader.Holds(func(h storage.Hold) error {
		if over() {
			return storage.ErrStop
		}
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

// writeOut makes the stores show everything that the group has applied. Whoever reads rows of messages calls it before;
// rows of mailboxes, their keys and sessions are there as soon as they are applied.
func (g *mailGroup) writeOut() error {
	err := g.machine.WriteOut()
	if err != nil {
		g.broker.fatal(fmt.Errorf("writing what group %d has applied: %w", g.id, err))
	}
	return err
}

// messages returns a reader of the rows of messages, of everything that was applied before the call and of one moment.
func (g *mailGroup) messages() (storage.Reader, io.Closer, error) {
	if err := g.writeOut(); err != nil {
		return storage.Reader{}, nil, err
	}
	reader, closer := g.broker.stores.Snapshot(g.id)
	return reader, closer, nil
}

// search looks for something beside everything else, until it is through or ended. One goroutine begins and ends it.
type search struct {
	stopped *atomic.Bool
	work    sync.WaitGroup
}

func (s *search) begin(look func(over func() bool)) {
	s.end()
	s.stopped = new(atomic.Bool)
	over := s.stopped.Load
	s.work.Go(func() { look(over) })
}

// end returns when nothing is looked for any more.
func (s *search) end() {
	if s.stopped != nil {
		s.stopped.Store(true)
	}
	s.work.Wait()
}

// slotGroup returns the mail group of a slot: the slots are dealt out in equal runs.
func slotGroup(slot uint16, groups int) uint16 { return 1 + uint16(int(slot)*groups/wire.Slots) }
