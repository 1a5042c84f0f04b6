package raftlog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

func (l *memLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.entries, func(e journal.Entry) bool { return string(e.Data) == text })
}

// The followers write an entry while the leader still does. Until the leader has it too, nobody is told anything.
func TestLeaderWritesBesideItsFollowers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "before")
		c.agree(0)
		lead := c.leader(0)
		release := lead.logs[0].stall()
		defer release()
		p := lead.groups[0].Propose([]byte("beside"))
		for _, name := range c.others(lead.name) {
			c.until("the entry on a follower's disk", func() bool { return c.nodes[name].logs[0].has("beside") })
		}
		time.Sleep(testTimeout)
		if at := lead.groups[0].raft.CommitIndex(); at != lead.groups[0].raft.LastIndex() {
			t.Fatalf("Raft at %d: the test shows nothing", at)
		}
		if s := lead.groups[0].Status(); s.Commit >= s.Last {
			t.Errorf("said to be committed: %+v", s)
		}
		index, err := lead.groups[0].ReadIndex(context.Background())
		if err != nil || index >= lead.groups[0].raft.LastIndex() {
			t.Errorf("read index %d: %v", index, err)
		}
		select {
		case <-p.Done():
			t.Error("answered before it was durable here")
		default:
		}
		for name, n := range c.nodes {
			if got := n.machines[0].texts(); !slices.Equal(got, []string{"before"}) {
				t.Errorf("%s has applied %q", name, got)
			}
		}
		release()
		if result, _, _, err := p.Wait(context.Background()); err != nil || result == nil {
			t.Errorf("%v, %v", result, err)
		}
		if got := c.agree(0); !slices.Equal(got, []string{"before", "beside"}) {
			t.Errorf("applied %q", got)
		}
	})
}

// One follower and the leader's memory are not a majority: the leader crashes, the other two nodes go on without the
// entry, and the follower that had it has not applied it.
func TestLeaderCrashesBeforeItsOwnWrite(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "before")
		c.agree(0)
		lead := c.leader(0)
		rest := c.others(lead.name)
		has, lacks := c.nodes[rest[0]], c.nodes[rest[1]]
		c.net.cut(lacks.name, testNodes...)
		release := lead.logs[0].stall()
		p := lead.groups[0].Propose([]byte("lost"))
		c.until("the entry on a follower's disk", func() bool { return has.logs[0].has("lost") })
		time.Sleep(testTimeout)

		c.powerCut(lead.name, release)
		if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("the leader that stopped said %v", err)
		}
		c.net.cut(has.name, testNodes...)
		c.start(lead.name)
		c.propose(0, "after", lead.name, lacks.name)
		c.net.heal()
		if got := c.agree(0); !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("applied %q", got)
		}
	})
}

// What a node still has only in memory, from when it led, it does not acknowledge to the next leader, who may send it
// what it has.
func TestEntriesInMemoryAreNotAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		n2.begun.add(3)
		go n2.reply(func(any) (any, error) { return &raft.AppendEntriesResponse{Success: true}, nil })
		answered := make(chan error, 1)
		go func() {
			req := &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 2, PrevLogTerm: 5, Entries: entriesOf(2, 1)}
			answered <- n1.AppendEntries("n2", "n2:1", req, &raft.AppendEntriesResponse{})
		}()
		synctest.Wait()
		select {
		case err := <-answered:
			t.Fatalf("acknowledged: %v", err)
		default:
		}
		n2.begun.synced()
		must(t, <-answered)
	})
}

// A follower is not told that an entry is committed which the leader may still lose.
func TestCommitIndexStaysBelowWhatIsUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, n1, n2 := barePair(t)
		defer n1.host.Close()
		defer n2.host.Close()
		n1.begun.add(4)
		n1.begun.add(6)
		for _, want := range []uint64{3, 5, 6} {
			go n2.reply(func(command any) (any, error) {
				if got := command.(*raft.AppendEntriesRequest).LeaderCommitIndex; got != want {
					t.Errorf("commit index %d, want %d", got, want)
				}
				return &raft.AppendEntriesResponse{Success: true}, nil
			})
			req := &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 2, PrevLogTerm: 5, LeaderCommitIndex: 6,
				Entries: entriesOf(2, 1, 1, 1, 1)}
			must(t, n1.AppendEntries("n2", "n2:1", req, &raft.AppendEntriesResponse{}))
			if want < 6 {
				n1.begun.synced()
			}
		}
	})
}

// A node that stops while its disk hangs answers nothing that it has not applied, and applies nothing out of order.
func TestStopBeforeTheOwnWrite(t *testing.T) {
	log, machine := &memLog{}, &memMachine{}
	s, _ := newStores(log)
	s.begun.add(2)
	stop := make(chan struct{})
	f := &fsm{machine: machine, logs: s, stop: stop}
	f.ApplyBatch(commands(1, 1, "a"))
	close(stop)
	if o := f.ApplyBatch(commands(2, 1, "b")); o[0] != (outcome{left: true}) {
		t.Errorf("%+v", o)
	}
	s.begun.synced()
	if o := f.ApplyBatch(commands(3, 1, "c", "d")); len(o) != 2 || o[1] != (outcome{left: true}) {
		t.Errorf("%+v", o)
	}
	if got := machine.texts(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("applied %q", got)
	}
}

// What the log will not begin is waited for: Raft's own entries, and any when there may be no room.
func TestWhatIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		for _, n := range c.nodes {
			n.logs[0].waitsOnly = true
		}
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		lead := c.leader(0)
		release := lead.logs[0].stall()
		defer release()
		p := lead.groups[0].Propose([]byte("b"))
		synctest.Wait()
		for _, name := range c.others(lead.name) {
			if c.nodes[name].logs[0].has("b") {
				t.Errorf("%s has an entry that the log did not begin", name)
			}
		}
		release()
		if _, _, _, err := p.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		lead.logs[0].mu.Lock()
		lead.logs[0].waitsOnly = false
		begun := lead.logs[0].begun
		lead.logs[0].mu.Unlock()
		if err := lead.groups[0].raft.Barrier(0).Error(); err != nil {
			t.Error(err)
		}
		if lead.logs[0].begun != begun {
			t.Error("a barrier was begun")
		}
		c.agree(0)
	})
}

// A node that no longer leads changes its log only when what it had begun is written.
func TestTheNextWriteWaitsForWhatWasBegun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := &memLog{}
		s, _ := newStores(log)
		s.stop = make(chan struct{})
		must(t, s.StoreLogs(commands(1, 1, "a")))
		for name, write := range map[string]func() error{
			"an append":    func() error { return s.StoreLogs(commands(3, 2, "c")) },
			"a truncation": func() error { return s.DeleteRange(2, 2) },
		} {
			s.begun.add(2)
			done := make(chan error, 1)
			go func() { done <- write() }()
			synctest.Wait()
			select {
			case <-done:
				t.Fatalf("%s did not wait", name)
			default:
			}
			must(t, log.Append([]journal.Entry{{Index: 2, Term: 1}}))
			s.begun.synced()
			must(t, <-done)
		}
	})
}

// What a failed write left out, a later one that succeeds does not make good.
func TestAWriteAfterAFailedOne(t *testing.T) {
	log := &memLog{}
	s, _ := newStores(log)
	s.begun.add(5)
	s.begun.add(6)
	s.written(errors.New("no room for 5"))
	s.written(nil)
	if at := s.begun.below(); at != 4 {
		t.Errorf("durable up to %d", at)
	}
}

// Who waits for a write that then is not begun waits no longer.
func TestAwaitEndsWhenAWriteIsWithdrawn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var u unsynced
		u.add(5)
		done := make(chan bool, 1)
		go func() { done <- u.await(9, nil) }()
		synctest.Wait()
		u.withdraw()
		if !<-done {
			t.Error("stopped")
		}
	})
}
