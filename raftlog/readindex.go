package raftlog

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/internal/codec"
)

// askStanding and askReadIndex are requests that this package answers itself: Raft knows nothing of them.
type (
	askStanding  struct{}
	askReadIndex struct{}
)

// standing is where a node stands in a group.
type standing struct{ term, applied uint64 }

// readIndex is an index of the leader that everything which was committed before the question is at or below.
type readIndex uint64

func appendStanding(dst []byte, s standing) []byte {
	return codec.AppendU64(codec.AppendU64(dst, s.term), s.applied)
}

func parseStanding(b []byte) (standing, error) {
	r := codec.NewReader(b)
	s := standing{term: r.U64(), applied: r.U64()}
	return s, finish(&r, "standing")
}

func appendReadIndex(dst []byte, index readIndex) []byte { return codec.AppendU64(dst, uint64(index)) }

func parseReadIndex(b []byte) (readIndex, error) {
	r := codec.NewReader(b)
	index := readIndex(r.U64())
	return index, finish(&r, "read index")
}

// ReadIndex returns an index that everything is at or below which was committed when it was called: who has applied
// that much knows all that anybody had been told by then. It asks the leader, and the leader asks a majority whether
// it still is the leader: Raft's own lease would be believed by a process that was stopped and goes on.
func (g *Group) ReadIndex(ctx context.Context) (uint64, error) {
	index, err := await(ctx, func() (readIndex, error) {
		term, leader, leads := g.leadership.look()
		switch {
		case leads:
			return g.readIndexHere()
		case leader == "":
			return 0, fmt.Errorf("%w: none of group %d is known in term %d", ErrUnconfirmed, g.id, term)
		}
		// The leader has the timeout to ask others.
		b, err := g.transport.call(raft.ServerID(leader), g.address(leader), channelControl,
			request{typ: frameReadIndex, timeout: 2 * g.host.o.Timeout})
		if err != nil {
			return 0, fmt.Errorf("asking node %s: %w", leader, err)
		}
		return parseReadIndex(b)
	})
	return uint64(index), err
}

// AppliedBy asks another node up to where it has applied the group's log.
func (g *Group) AppliedBy(ctx context.Context, node string) (uint64, error) {
	s, err := await(ctx, func() (standing, error) { return g.standingOf(raft.ServerID(node), g.address(node)) })
	if err != nil {
		return 0, fmt.Errorf("asking node %s: %w", node, err)
	}
	return s.applied, nil
}

// await returns what ask returns, or when ctx ends; ask ends by itself some time later.
func await[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := ask()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// answer answers what a peer asks about the group.
func (g *Group) answer(from string, command any, gone <-chan struct{}) (any, error) {
	switch command.(type) {
	case askStanding:
		return g.standing(), nil
	case askReadIndex:
		return g.readIndexHere()
	}
	return g.transport.deliver(from, command, gone)
}

func (g *Group) standing() standing {
	return standing{term: g.raft.CurrentTerm(), applied: g.logs.tail.reached(g.raft.AppliedIndex())}
}

// readIndexHere is ReadIndex on the leader. Before an entry of its term is applied a leader does not know what the
// leaders before it have committed.
func (g *Group) readIndexHere() (readIndex, error) {
	s := g.State()
	if !s.Leading {
		return 0, ErrNotLeader
	}
	index := readIndex(min(g.raft.CommitIndex(), g.logs.begun.below()))
	if !g.confirmed(s.Term) {
		return 0, fmt.Errorf("%w: this node in term %d", ErrUnconfirmed, s.Term)
	}
	return index, nil
}

// confirmed asks the voters for their terms. If a majority is still in this term, no other leader was elected before
// the question was asked: its voters would be in a later one.
func (g *Group) confirmed(term uint64) bool {
	var voters []raft.Server
	for _, s := range g.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, s)
		}
	}
	confirms := make(chan bool, len(voters))
	for _, s := range voters {
		if s.ID == raft.ServerID(g.host.o.Node) {
			confirms <- g.raft.CurrentTerm() == term
			continue
		}
		go func() {
			at, err := g.standingOf(s.ID, s.Address)
			confirms <- err == nil && at.term == term
		}()
	}
	needed := len(voters)/2 + 1
	for open := len(voters); open >= needed && needed > 0; open-- {
		if <-confirms {
			needed--
		}
	}
	return needed == 0
}

func (g *Group) standingOf(id raft.ServerID, address raft.ServerAddress) (standing, error) {
	b, err := g.transport.call(id, address, channelControl, request{typ: frameStanding, timeout: g.host.o.Timeout})
	if err != nil {
		return standing{}, err
	}
	return parseStanding(b)
}

// address is where the group's configuration says that a node is.
func (g *Group) address(node string) raft.ServerAddress {
	for _, s := range g.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == node {
			return s.Address
		}
	}
	return ""
}
