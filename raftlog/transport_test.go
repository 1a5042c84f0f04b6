package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// bareHost starts a host whose only group is a transport without a Raft: the test plays Raft.
func (c *testNet) bareHost(name string) (*Host, *transport) {
	c.t.Helper()
	h, err := NewHost(c.options(c.nodes[name]))
	must(c.t, err)
	tr := &transport{host: h, id: 0, inbox: make(chan raft.RPC), begun: new(unsynced), stop: make(chan struct{}),
		leader: func() (uint64, string) { return 7, "n1" }}
	h.mu.Lock()
	h.groups[0] = &Group{host: h, transport: tr}
	h.mu.Unlock()
	return h, tr
}

// barePair starts two such hosts, n1 and n2.
func barePair(t *testing.T) (c *testNet, n1, n2 *transport) {
	c = newTestNet(t, 0)
	_, n1 = c.bareHost("n1")
	_, n2 = c.bareHost("n2")
	return c, n1, n2
}

// reply answers the next request with what f makes of it.
func (t *transport) reply(f func(command any) (any, error)) {
	rpc := <-t.Consumer()
	resp, err := f(rpc.Command)
	rpc.Respond(resp, err)
}

func entriesOf(prev uint64, sizes ...int) []*raft.Log {
	var logs []*raft.Log
	for i, n := range sizes {
		logs = append(logs, &raft.Log{Index: prev + 1 + uint64(i), Term: 5, Data: bytes.Repeat([]byte{byte(i)}, n)})
	}
	return logs
}

func TestAppendEntriesIsCutByBytesNeverToNothing(t *testing.T) {
	const big = maxAppendBytes
	tests := []struct {
		name  string
		sizes []int
		carry int
	}{
		{"all fit", []int{1, 2, 3}, 3},
		{"exactly full", []int{big - 1, 1}, 2},
		{"one byte too many", []int{big - 1, 2}, 1},
		{"first alone is full", []int{big, 1, 1}, 1},
		{"larger than the cap", []int{big + 1, 1}, 1},
		{"a heartbeat", nil, 0},
	}
	for _, tt := range tests {
		for _, commit := range []uint64{9, 11, 50} {
			args := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 10, PrevLogTerm: 5, LeaderCommitIndex: commit,
				Entries: entriesOf(10, tt.sizes...)}
			must(t, bound(args))
			if len(args.Entries) != tt.carry {
				t.Errorf("%s: carries %d entries, want %d", tt.name, len(args.Entries), tt.carry)
			}
			if want := min(commit, 10+uint64(tt.carry)); args.LeaderCommitIndex != want {
				t.Errorf("%s: commit index %d became %d, want %d", tt.name, commit, args.LeaderCommitIndex, want)
			}
		}
	}
	gap := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 10, Entries: entriesOf(11, 1)}
	if bound(gap) == nil {
		t.Error("sends entries that do not follow the previous one: their indexes are not in the frame")
	}
}

// Raft 1.8.0 commits min(LeaderCommitIndex, last index) whatever it checked: with a commit index beyond the entries
// that it carries, this AppendEntries commits the follower's stale entry 4.
func TestStaleSuffixIsNotCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		follower := c.nodes["n1"]
		follower.logs[0].term = 1
		follower.logs[0].entries = []journal.Entry{
			{Index: 1, Term: 1, Kind: uint8(raft.LogConfiguration),
				Data: raft.EncodeConfiguration(configurationOf(c.members))},
			{Index: 2, Term: 1, Data: []byte("a")}, {Index: 3, Term: 1, Data: []byte("b")},
			{Index: 4, Term: 1, Data: []byte("stale")},
		}
		c.start("n1")
		defer c.stop("n1")
		h, leader := c.bareHost("n2")
		defer h.Close()

		args := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 2, PrevLogTerm: 1, LeaderCommitIndex: 4,
			Entries: []*raft.Log{
				{Index: 3, Term: 1, Data: []byte("b")}, {Index: 4, Term: 5, Data: make([]byte, MaxEntryBytes)},
			}}
		var resp raft.AppendEntriesResponse
		must(t, leader.AppendEntries("n1", "n1:1", args, &resp))
		synctest.Wait()
		if !resp.Success || len(args.Entries) != 1 {
			t.Fatalf("success %v with %d entries", resp.Success, len(args.Entries))
		}
		if got := follower.machines[0].texts(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("applied %q", got)
		}
	})
}

// The other end sees to it too: a request whose commit index passes its entries ends the connection.
func TestCommitBeyondEntriesIsRefusedByTheReceiver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1")
		defer c.stop("n1")
		raw := c.rawConn("n2", "n1", channelControl)
		args := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 1, PrevLogTerm: 1, LeaderCommitIndex: 2}
		payload := appendAppendHead(nil, args)
		raw.expectClosed(t, head{typ: frameAppend, size: len(payload)}, payload)
	})
}

func TestHeartbeatsHaveNoFastPath(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		n2.SetHeartbeatHandler(func(raft.RPC) { t.Error("a heartbeat went beside the main loop") })
		go n2.reply(func(command any) (any, error) {
			a := command.(*raft.AppendEntriesRequest)
			if string(a.ID) != "n1" || string(a.Addr) != "n1" || a.ProtocolVersion != 3 {
				t.Errorf("header %+v", a.RPCHeader)
			}
			return &raft.AppendEntriesResponse{Term: 6, LastLog: 9, NoRetryBackoff: true}, nil
		})
		resp := raft.AppendEntriesResponse{Success: true}
		must(t, n1.AppendEntries("n2", "n2:1", &raft.AppendEntriesRequest{Term: 5}, &resp))
		if resp.Success || resp.Term != 6 || resp.LastLog != 9 || !resp.NoRetryBackoff {
			t.Errorf("answer %+v", resp)
		}
	})
}

func TestNoPipelineAndNoSnapshotInstall(t *testing.T) {
	var n1 transport
	if _, err := n1.AppendEntriesPipeline("n2", ""); err != raft.ErrPipelineReplicationNotSupported {
		t.Errorf("pipeline: %v", err)
	}
	if err := n1.InstallSnapshot("n2", "", nil, nil, nil); !errors.Is(err, errNoSnapshot) {
		t.Errorf("install: %v", err)
	}
}

// Raft 1.8.0 counts a pre-vote whose error contains "unexpected command" as granted.
func TestVotesAreNeverErrors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, n1, n2 := barePair(t)
		ask := func(what string) {
			t.Helper()
			resp, pre := raft.RequestVoteResponse{Granted: true}, raft.RequestPreVoteResponse{Granted: true}
			err := n1.RequestVote("n2", "n2:1", &raft.RequestVoteRequest{Term: 8}, &resp)
			if err != nil || resp.Granted {
				t.Errorf("%s: vote granted %v, %v", what, resp.Granted, err)
			}
			err = n1.RequestPreVote("n2", "n2:1", &raft.RequestPreVoteRequest{Term: 8}, &pre)
			if err != nil || pre.Granted {
				t.Errorf("%s: pre-vote granted %v, %v", what, pre.Granted, err)
			}
		}
		go func() {
			for range 2 {
				n2.reply(func(any) (any, error) { return nil, errors.New("unexpected command") })
			}
			for range 2 { // granted and failed is failed
				n2.reply(func(command any) (any, error) {
					if _, ok := command.(*raft.RequestVoteRequest); ok {
						return &raft.RequestVoteResponse{Granted: true}, errors.New("no")
					}
					return &raft.RequestPreVoteResponse{Granted: true}, errors.New("no")
				})
			}
		}()
		ask("error of Raft")
		ask("granted with an error")
		ask("no answer at all")
		n2.host.mu.Lock()
		delete(n2.host.groups, 0)
		n2.host.mu.Unlock()
		ask("unknown group")
		c.net.cut("n2", "n1")
		ask("no connection")
		n1.host.Close()
		n2.host.Close()
		ask("closed host")
	})
}

// The receiving end by itself, whatever the asking end makes of a failure.
func TestUnansweredVotesAreRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t)
		c.start("n1")
		defer c.stop("n1")
		raw := c.rawConn("n2", "n1", channelControl)
		defer raw.close(errClosed)
		for _, typ := range []frameType{frameVote, framePreVote} {
			payload := appendVote(nil, vote{term: 3})
			front := appendHead(nil, head{typ: typ, id: 5, size: len(payload)})
			must(t, raw.send(nil, nil, append(front, payload...), nil))
			h, b, err := raw.readSmall(&raw.buf)
			must(t, err)
			r, err := parseVoteReply(b)
			if h.typ != typ+1 || h.id != 5 || err != nil || r.granted {
				t.Errorf("a vote in a group that does not run: type %d, %+v, %v", h.typ, r, err)
			}
		}
	})
}

func TestVotesAreGranted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		go func() {
			n2.reply(func(command any) (any, error) {
				q := command.(*raft.RequestVoteRequest)
				granted := q.Term == 8 && q.LastLogIndex == 2 && q.LastLogTerm == 3 && q.LeadershipTransfer
				return &raft.RequestVoteResponse{Term: 8, Granted: granted}, nil
			})
			n2.reply(func(command any) (any, error) {
				q := command.(*raft.RequestPreVoteRequest)
				return &raft.RequestPreVoteResponse{Term: 9, Granted: q.Term == 9 && q.LastLogIndex == 2}, nil
			})
		}()
		var resp raft.RequestVoteResponse
		must(t, n1.RequestVote("n2", "n2:1",
			&raft.RequestVoteRequest{Term: 8, LastLogIndex: 2, LastLogTerm: 3, LeadershipTransfer: true}, &resp))
		var pre raft.RequestPreVoteResponse
		must(t, n1.RequestPreVote("n2", "n2:1", &raft.RequestPreVoteRequest{Term: 9, LastLogIndex: 2}, &pre))
		if !resp.Granted || resp.Term != 8 || !pre.Granted || pre.Term != 9 {
			t.Errorf("vote %+v, pre-vote %+v", resp, pre)
		}
	})
}

// A TimeoutNow that was delayed must not depose a later leader, nor one of a node that does not lead.
func TestTimeoutNowComesFromTheLeaderOfTheTerm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		send := func() error {
			return n1.TimeoutNow("n2", "n2:1", &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
		}
		n2.leader = func() (uint64, string) { return 8, "n1" }
		if err := send(); !errors.Is(err, errRefused) {
			t.Errorf("of an older term: %v", err)
		}
		n2.leader = func() (uint64, string) { return 7, "n3" }
		if err := send(); !errors.Is(err, errRefused) {
			t.Errorf("of another node: %v", err)
		}
		n2.leader = func() (uint64, string) { return 7, "n1" }
		go n2.reply(func(command any) (any, error) {
			_ = command.(*raft.TimeoutNowRequest)
			return &raft.TimeoutNowResponse{}, nil
		})
		must(t, send())
	})
}

// A leader whose disk hangs keeps its heartbeats to itself, so that another one takes over; stock Raft goes on.
func TestStalledLeaderLosesLeadership(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0, 1)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "before")
		old := c.leader(0)
		release := old.logs[0].stall()
		defer release()
		stuck := old.groups[0].Propose([]byte("stuck"))

		rest := c.others(old.name)
		c.propose(0, "after", rest...)
		// The groups of a node share its disk: the other group's leader goes as well.
		if next := c.leader(1, rest...); next == old {
			t.Error("the stalled node leads the other group")
		}
		release()
		// A follower had the entry, and Raft counted this node, which kept it; so whoever leads has it.
		if _, _, _, err := stuck.Wait(context.Background()); err != nil {
			t.Errorf("the entry that was on the others' disks: %v", err)
		}
		if got := c.agree(0); !slices.Equal(got, []string{"before", "stuck", "after"}) {
			t.Errorf("applied %q", got)
		}
	})
}

func TestBulkTrafficDoesNotDelayHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		var held, beats atomic.Int32
		release := make(chan struct{})
		go func() {
			for rpc := range n2.Consumer() {
				a, ok := rpc.Command.(*raft.AppendEntriesRequest)
				if !ok {
					return
				}
				if len(a.Entries) > 0 {
					held.Add(1)
					go func() {
						<-release
						rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
					}()
					continue
				}
				rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			}
		}()
		done := make(chan error)
		go func() {
			args := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 10, PrevLogTerm: 5, Entries: entriesOf(10, 1<<20)}
			done <- n1.AppendEntries("n2", "n2:1", args, &raft.AppendEntriesResponse{})
		}()
		synctest.Wait()
		for range 5 {
			must(t, n1.AppendEntries("n2", "n2:1", &raft.AppendEntriesRequest{Term: 5}, &raft.AppendEntriesResponse{}))
			beats.Add(1)
		}
		if held.Load() != 1 || beats.Load() != 5 {
			t.Errorf("%d entries under way, %d heartbeats", held.Load(), beats.Load())
		}
		close(release)
		must(t, <-done)
		n2.inbox <- raft.RPC{} // ends the consumer
	})
}

func TestUnansweredRequestsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		start := time.Now()
		err := n1.AppendEntries("n2", "n2:1", &raft.AppendEntriesRequest{Term: 5}, &raft.AppendEntriesResponse{})
		if !errors.Is(err, errTimeout) || time.Since(start) != testTimeout {
			t.Errorf("nobody takes the heartbeat: %v after %v", err, time.Since(start))
		}
		<-n2.Consumer()
		// A request under way when its connection breaks ends at once.
		done := make(chan error)
		go func() {
			args := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 10, PrevLogTerm: 5, Entries: entriesOf(10, 10)}
			done <- n1.AppendEntries("n2", "n2:1", args, &raft.AppendEntriesResponse{})
		}()
		<-n2.Consumer()
		start = time.Now()
		c.net.cut("n2", "n1")
		if err := <-done; err == nil || time.Since(start) > time.Second {
			t.Errorf("connection broken: %v after %v", err, time.Since(start))
		}
		// One that waits for a connection is sent when there is one again: Raft would wait up to 10 s after a failure.
		go func() {
			args := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 10, PrevLogTerm: 5, Entries: entriesOf(10, 10)}
			done <- n1.AppendEntries("n2", "n2:1", args, &raft.AppendEntriesResponse{})
		}()
		time.Sleep(20 * time.Second)
		c.net.heal()
		n2.reply(func(any) (any, error) { return &raft.AppendEntriesResponse{Success: true}, nil })
		must(t, <-done)
	})
}

func TestRemoteErrorTextsStayRemote(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		go n2.reply(func(any) (any, error) { return nil, errors.New("secret words") })
		err := n1.AppendEntries("n2", "n2:1", &raft.AppendEntriesRequest{Term: 5}, &raft.AppendEntriesResponse{})
		if !errors.Is(err, errRefused) || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("got %v", err)
		}
	})
}
