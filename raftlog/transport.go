package raftlog

import (
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// raftProtocol is the version of Raft's own messages, fixed by the version of our frames.
	raftProtocol = raft.ProtocolVersionMax
	// linkPatience is how long AppendEntries waits for a link to come up. It is bounded because every term of a leader
	// has a goroutine of its own that waits.
	linkPatience = 30 * time.Second
)

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
)

// transport is what one group's Raft sees of the other nodes. Raft knows nodes by their id only: what it takes for
// the address of a leader or a candidate, and what it stores as its vote, is the node id, so that a node may move.
type transport struct {
	host  *Host
	id    uint16
	inbox chan raft.RPC
	begun *unsynced
	stop  <-chan struct{} // closed when the group stops
	// leader returns the term and its leader, "" if unknown, as this node knows them.
	leader func() (term uint64, node string)
}

// timeoutNow is Raft's TimeoutNow with the term of the leader that sent it.
type timeoutNow struct{ term uint64 }

// Consumer returns where every request for this group arrives.
func (t *transport) Consumer() <-chan raft.RPC { return t.inbox }

// LocalAddr returns the node id.
func (t *transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.host.o.Node) }

// EncodePeer returns the node id.
func (t *transport) EncodePeer(id raft.ServerID, _ raft.ServerAddress) []byte { return []byte(id) }

// DecodePeer is the reverse of EncodePeer.
func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler ignores the handler: it would run beside the main loop.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline refuses: Raft then sends one AppendEntries after the other.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// InstallSnapshot refuses: the log is never cut, so whatever a follower lacks is in it.
func (t *transport) InstallSnapshot(raft.ServerID, raft.ServerAddress, *raft.InstallSnapshotRequest,
	*raft.InstallSnapshotResponse, io.Reader) error {
	return errNoSnapshot
}

// AppendEntries sends entries or a heartbeat. It shortens args.Entries in place when they are too many bytes for one
// frame: Raft goes on from the last entry that is left.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest,
	resp *raft.AppendEntriesResponse) error {
	if t.host.stalled() {
		return errStalled
	}
	if err := bound(args); err != nil {
		return err
	}
	args.LeaderCommitIndex = min(args.LeaderCommitIndex, t.begun.below())
	q := request{typ: frameAppend, entries: args.Entries, timeout: t.host.o.Timeout}
	ch := channelControl
	if len(args.Entries) > 0 {
		ch, q.timeout = channelBulk, 2*t.host.silence(channelBulk)
	}
	if args.PrevLogEntry > 0 {
		// Not a heartbeat. Raft waits up to 10 s after a failure, also when the peer is back long before.
		q.patience = linkPatience
	}
	q.payload = appendAppendHead(make([]byte, 0, appendFixedBytes+len(args.Entries)*entryHeadBytes), args)
	b, err := t.call(id, target, ch, q)
	if err != nil {
		return err
	}
	a, err := parseAppendReply(b)
	if err != nil {
		return err
	}
	*resp = raft.AppendEntriesResponse{
		RPCHeader: header(string(id)), Term: a.term, LastLog: a.lastLog,
		Success: a.success, NoRetryBackoff: a.noRetryBackoff,
	}
	return nil
}

// bound cuts args to the bytes of one frame, at least one entry, and lowers its commit index to the last entry that
// it carries: the follower would otherwise commit what it happens to have behind that entry.
func bound(args *raft.AppendEntriesRequest) error {
	size := 0
	for i, e := range args.Entries {
		if e.Index != args.PrevLogEntry+1+uint64(i) {
			return fmt.Errorf("entry %d does not follow entry %d", e.Index, args.PrevLogEntry+uint64(i))
		}
		size += len(e.Data)
		if i > 0 && (size > maxAppendBytes || i == maxAppendEntries) {
			args.Entries = args.Entries[:i]
			break
		}
	}
	args.LeaderCommitIndex = min(args.LeaderCommitIndex, args.PrevLogEntry+uint64(len(args.Entries)))
	return nil
}

// RequestVote asks for a vote. A peer that cannot be asked has not granted it.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest,
	resp *raft.RequestVoteResponse) error {
	r := t.vote(id, target, frameVote, vote{
		term: args.Term, lastIndex: args.LastLogIndex, lastTerm: args.LastLogTerm, transfer: args.LeadershipTransfer,
	}, t.host.o.Timeout)
	*resp = raft.RequestVoteResponse{RPCHeader: header(string(id)), Term: r.term, Granted: r.granted}
	return nil
}

// RequestPreVote asks whether a vote would be granted.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest,
	resp *raft.RequestPreVoteResponse) error {
	r := t.vote(id, target, framePreVote, vote{
		term: args.Term, lastIndex: args.LastLogIndex, lastTerm: args.LastLogTerm,
	}, t.host.o.Timeout)
	*resp = raft.RequestPreVoteResponse{RPCHeader: header(string(id)), Term: r.term, Granted: r.granted}
	return nil
}

// vote never fails: Raft reads "unexpected command" in a pre-vote's error as a granted vote.
func (t *transport) vote(id raft.ServerID, target raft.ServerAddress, typ frameType, v vote,
	timeout time.Duration) voteReply {
	b, err := t.call(id, target, channelControl, request{typ: typ, payload: appendVote(nil, v), timeout: timeout})
	if err != nil {
		return voteReply{}
	}
	r, err := parseVoteReply(b)
	if err != nil {
		return voteReply{}
	}
	return r
}

// TimeoutNow makes a caught-up follower campaign: the last step of a transfer of leadership.
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, _ *raft.TimeoutNowRequest,
	resp *raft.TimeoutNowResponse) error {
	term, _ := t.leader()
	_, err := t.call(id, target, channelControl, request{
		typ: frameTimeoutNow, payload: appendTimeoutNow(nil, term), timeout: t.host.o.Timeout,
	})
	*resp = raft.TimeoutNowResponse{RPCHeader: header(string(id))}
	return err
}

func (t *transport) call(id raft.ServerID, target raft.ServerAddress, ch channel, q request) ([]byte, error) {
	p := t.host.peerAt(string(id), string(target))
	if p == nil {
		return nil, errClosed
	}
	q.group, q.stop = t.id, t.stop
	return p.link(ch).call(q)
}

// header is the part of Raft's messages that says who speaks. It is made from the authenticated connection, never
// read from a frame.
func header(node string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raftProtocol, ID: []byte(node), Addr: []byte(node)}
}

// deliver hands a command from a peer to Raft and waits for its answer, at most as long as the connection lives.
func (t *transport) deliver(from string, command any, gone <-chan struct{}) (any, error) {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		c.RPCHeader = header(from)
		response, err := t.ask(command, gone)
		// Raft does not write again what it has, and it may have it from this node's own time as the leader.
		r, ok := response.(*raft.AppendEntriesResponse)
		if n := uint64(len(c.Entries)); ok && r.Success && n > 0 && !t.begun.await(c.PrevLogEntry+n, gone) {
			return nil, errClosed
		}
		return response, err
	case *raft.RequestVoteRequest:
		c.RPCHeader = header(from)
	case *raft.RequestPreVoteRequest:
		c.RPCHeader = header(from)
	case timeoutNow:
		if term, node := t.leader(); term != c.term || node != from {
			return nil, errRefused
		}
		command = &raft.TimeoutNowRequest{RPCHeader: header(from)}
	}
	return t.ask(command, gone)
}

// ask puts a command through Raft's main loop.
func (t *transport) ask(command any, gone <-chan struct{}) (any, error) {
	answer := make(chan raft.RPCResponse, 1)
	select {
	case t.inbox <- raft.RPC{Command: command, RespChan: answer}:
	case <-t.stop:
		return nil, errStopped
	case <-gone:
		return nil, errClosed
	}
	select {
	case r := <-answer:
		return r.Response, r.Error
	case <-t.stop:
		return nil, errStopped
	case <-gone:
		return nil, errClosed
	}
}

// campaignNow makes this node campaign at once, without a pre-vote.
func (t *transport) campaignNow() error {
	_, err := t.ask(&raft.TimeoutNowRequest{RPCHeader: header(t.host.o.Node)}, nil)
	return err
}
