package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

func TestProposalsAreAnsweredWithTheirPlaceAndResult(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		lead := c.leader(0)
		var ps []*Proposal
		for i := range 100 {
			ps = append(ps, lead.groups[0].Propose(fmt.Append(nil, "e", i)))
		}
		var last uint64
		for i, p := range ps {
			result, index, term, err := p.Wait(context.Background())
			want := fmt.Sprintf("result of %d", index)
			if err != nil || result != want || index <= last || term != lead.groups[0].State().Term {
				t.Fatalf("proposal %d: %v at %d, term %d: %v", i, result, index, term, err)
			}
			last = index
		}
		// Proposals of one caller keep their order.
		texts := c.agree(0)
		for i := range ps {
			if texts[i] != fmt.Sprint("e", i) {
				t.Fatalf("entry %d is %s", i, texts[i])
			}
		}
		if runs := lead.machines[0].runs; slices.Max(runs) < 2 {
			t.Errorf("no run has more than one entry: %v", runs)
		}
		if got := lead.groups[0].Status().PendingBytes; got != 0 {
			t.Errorf("%d bytes pending with everything answered", got)
		}
	})
}

func TestProposalsRefusedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.tune = func(o *Options) { o.InFlightBytes = 1000 }
		c.start(testNodes...)
		lead := c.leader(0)
		g := lead.groups[0]
		expect := func(what string, p *Proposal, want error) {
			t.Helper()
			if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		expect("at a follower", c.nodes[c.others(lead.name)[0]].groups[0].Propose([]byte("x")), ErrNotLeader)
		expect("too large", g.Propose(make([]byte, MaxEntryBytes+1)), ErrTooLarge)

		release := lead.logs[0].stall()
		first := g.Propose(make([]byte, 600))
		expect("too much in flight", g.Propose(make([]byte, 600)), ErrUnavailable)
		second := g.Propose(make([]byte, 400))
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if _, _, _, err := first.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting ended with %v", err)
		}
		cancel()
		release()
		expect("first", first, nil)
		expect("second", second, nil)
		c.stop(testNodes...)
		expect("closed", g.Propose([]byte("x")), ErrShutdown)
	})
}

func TestEndedPipelineAnswersEverything(t *testing.T) {
	q := newPipeline(nil, 100, 0)
	waiting := newProposal([]byte("w"))
	q.add(waiting)
	q.close()
	late := newProposal(nil)
	q.add(late)
	select {
	case <-q.drained:
		t.Error("drained with a proposal waiting")
	case <-waiting.Done():
		t.Error("refused what was there before the close")
	case <-late.Done():
	}
	q.end()
	for _, p := range []*Proposal{waiting, late} {
		if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, ErrShutdown) {
			t.Errorf("got %v", err)
		}
	}
	if q.pendingBytes() != 0 {
		t.Errorf("%d bytes pending", q.pendingBytes())
	}
}

// An entry in flight when its leader is cut off: nobody has it. The leader cannot know and says so.
func TestLeaderCutOffWithProposalsInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		old := c.leader(0)
		rest := c.others(old.name)
		c.net.cut(old.name, rest...)
		lost := old.groups[0].Propose([]byte("lost"))
		c.propose(0, "b", rest...)
		if _, _, _, err := lost.Wait(context.Background()); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("in flight: %v", err)
		}
		late := old.groups[0].Propose([]byte("x"))
		if _, _, _, err := late.Wait(context.Background()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("afterwards: %v", err)
		}
		if s := old.groups[0].State(); s.Leading || s.Leader != "" {
			t.Errorf("the old leader says %+v", s)
		}
		c.net.heal()
		if got := c.agree(0); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("applied %q", got)
		}
	})
}

// The other outcome of the same answer: the followers have the entry and a later leader commits it.
func TestUnknownOutcomeMayBeCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		old := c.leader(0)
		rest := c.others(old.name)
		var releases []func()
		for _, n := range rest {
			releases = append(releases, c.nodes[n].logs[0].stall())
		}
		p := old.groups[0].Propose([]byte("survivor"))
		synctest.Wait() // the followers are writing it
		c.net.cut(old.name, rest...)
		if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("got %v", err)
		}
		for _, release := range releases {
			release()
		}
		c.propose(0, "b", rest...)
		c.net.heal()
		if got := c.agree(0); !slices.Equal(got, []string{"a", "survivor", "b"}) {
			t.Errorf("applied %q", got)
		}
	})
}

// Entries that come while leadership is being handed over wait, and keep their order when nothing comes of it.
func TestTransferKeepsTheOrderOfProposals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		old := c.leader(0)
		for _, n := range c.others(old.name) { // nobody wants to lead, and says so late
			c.nodes[n].groups[0].transport.leader = func() (uint64, string) {
				time.Sleep(testTimeout / 2)
				return 0, ""
			}
		}
		failed := make(chan error)
		go func() { failed <- old.groups[0].TransferLeadership() }()
		synctest.Wait()
		var ps []*Proposal
		want := []string{"a"}
		for i := range 20 {
			want = append(want, fmt.Sprint("t", i))
			ps = append(ps, old.groups[0].Propose([]byte(want[len(want)-1])))
			time.Sleep(testTimeout / 30)
			q := old.groups[0].pipeline
			q.mu.Lock()
			if i == 10 && (len(q.waiting) != 11 || len(q.handed)+len(q.again) > 0) {
				t.Errorf("%d wait, %d handed to Raft, %d refused by it", len(q.waiting), len(q.handed), len(q.again))
			}
			q.mu.Unlock()
		}
		if err := <-failed; err == nil || errors.Is(err, ErrNotLeader) {
			t.Errorf("the transfer ended with %v", err)
		}
		for i, p := range ps {
			if _, _, _, err := p.Wait(context.Background()); err != nil {
				t.Errorf("proposal %d: %v", i, err)
			}
		}
		if got := c.agree(0); !slices.Equal(got, want) {
			t.Errorf("applied %q", got)
		}
	})
}

// Should Raft be asked to take an entry during a transfer all the same, it refuses with an error of its own. That is
// definite, and the entry is tried again inside.
func TestEntriesRefusedDuringATransferAreTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		old := c.leader(0)
		// The transfer waits for its target, which cannot answer, and gives up after the election timeout.
		rest := c.others(old.name)
		c.net.cut(rest[1], rest[0])
		release := c.nodes[rest[0]].logs[0].stall()
		defer release()
		busy := old.groups[0].Propose([]byte("b")) // committed by the other follower
		if _, _, _, err := busy.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		answer := old.groups[0].raft.LeadershipTransferToServer(raft.ServerID(rest[0]), "unused")
		synctest.Wait()
		var ps []*Proposal
		for i := range 10 {
			ps = append(ps, old.groups[0].Propose(fmt.Append(nil, "t", i)))
		}
		if err := answer.Error(); err == nil {
			t.Fatal("the transfer to a stalled follower succeeded")
		}
		for i, p := range ps {
			if _, _, _, err := p.Wait(context.Background()); err != nil {
				t.Errorf("proposal %d: %v", i, err)
			}
		}
		release()
		c.net.heal()
		got := c.agree(0)
		slices.Sort(got)
		if want := strings.Fields("a b t0 t1 t2 t3 t4 t5 t6 t7 t8 t9"); !slices.Equal(got, want) {
			t.Errorf("applied %q", got)
		}
	})
}

// The first error of a log is told once, the node stops leading, and nothing that it had in flight is called definite.
func TestFailedWriteIsFatal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		old := c.leader(0)
		broken := errors.New("input/output error")
		old.logs[0].mu.Lock()
		old.logs[0].fail, old.logs[0].failAppendsOnly = broken, true
		old.logs[0].mu.Unlock()
		var ps []*Proposal
		for range 3 {
			ps = append(ps, old.groups[0].Propose([]byte("x")))
		}
		var fatal []error
		c.until("the end", func() bool {
			old.mu.Lock()
			defer old.mu.Unlock()
			fatal = old.fatal
			return len(fatal) > 0
		})
		if len(fatal) != 1 || !errors.Is(fatal[0], broken) {
			t.Errorf("fatal was called with %v", fatal)
		}
		time.Sleep(testTimeout)
		c.stop(testNodes...)
		for _, p := range ps {
			_, _, _, err := p.Wait(context.Background())
			if !errors.Is(err, ErrLeadershipLost) && !errors.Is(err, ErrNotLeader) {
				t.Errorf("got %v", err)
			}
		}
		if _, _, _, err := ps[0].Wait(context.Background()); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("the entry that failed: %v", err)
		}
		if got := old.machines[0].texts(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("applied %q", got)
		}
	})
}

// A full disk is a state: what it refuses is definite, the process goes on, and so does the cluster.
func TestFullDiskIsNotFatal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		full := c.leader(0)
		setFail := func(err error) {
			full.logs[0].mu.Lock()
			defer full.logs[0].mu.Unlock()
			full.logs[0].fail = err
		}
		full.logs[0].failAppendsOnly = true
		setFail(fmt.Errorf("no room: %w", journal.ErrNoSpace))
		p := full.groups[0].Propose([]byte("refused"))
		if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		c.propose(0, "b", c.others(full.name)...)
		setFail(nil)
		if got := c.agree(0); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("applied %q", got)
		}
		if len(full.fatal) != 0 {
			t.Errorf("fatal was called with %v", full.fatal)
		}
	})
}
