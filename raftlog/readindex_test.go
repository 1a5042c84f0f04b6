package raftlog

import (
	"errors"
	"testing"
	"time"
)

func TestReadIndexCoversWhatWasCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		for _, text := range []string{"a", "b", "c"} {
			c.propose(0, text)
			commit := c.leader(0).groups[0].Status().Commit
			for _, n := range testNodes {
				if index, err := c.nodes[n].groups[0].ReadIndex(t.Context()); err != nil || index < commit {
					t.Errorf("%s after %s: %d, not %d, %v", n, text, index, commit, err)
				}
			}
		}
		c.agree(0)
		lead := c.leader(0)
		for _, n := range c.others(lead.name) {
			applied, err := lead.groups[0].AppliedBy(t.Context(), n)
			if want := c.nodes[n].groups[0].Status().Applied; err != nil || applied != want {
				t.Errorf("%s says it has applied %d, %v; it has %d", n, applied, err, want)
			}
		}
	})
}

// TestReadIndexAfterRestart: Raft's own commit index of a node that has just started is behind, and a heartbeat does
// not say what it should be.
func TestReadIndexAfterRestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "before")
		c.agree(0)
		lead := c.leader(0)
		away := c.others(lead.name)[0]
		c.stop(away)
		c.propose(0, "while it was away", c.others(away)...)
		commit := lead.groups[0].Status().Commit
		c.start(away)
		g := c.nodes[away].groups[0]
		c.until("an answer", func() bool {
			index, err := g.ReadIndex(t.Context())
			if err == nil && index < commit {
				t.Fatalf("%d is committed, read index %d", commit, index)
			}
			return err == nil
		})
		c.agree(0)
	})
}

// TestReadIndexNeedsAMajority: a leader that is cut off believes in itself for a while.
func TestReadIndexNeedsAMajority(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		old := c.leader(0)
		others := c.others(old.name)
		c.net.cut(old.name, others...)
		if s := old.groups[0].State(); !s.Leading {
			t.Fatal("it does not lead any more: nothing is tested")
		}
		if index, err := old.groups[0].ReadIndex(t.Context()); err == nil {
			t.Errorf("cut off it says %d", index)
		}
		// The others elect one of them, and what it commits the old leader does not know.
		lead := c.leader(0, others...)
		c.propose(0, "b", others...)
		if index, err := old.groups[0].ReadIndex(t.Context()); !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("a node without a leader says %d, %v", index, err)
		}
		if _, err := lead.groups[0].AppliedBy(t.Context(), old.name); err == nil {
			t.Error("a node that is cut off answers")
		}
		if index, err := lead.groups[0].ReadIndex(t.Context()); err != nil || index < lead.groups[0].Status().Commit {
			t.Errorf("with one of two others: %d, %v", index, err)
		}
		c.net.heal()
		c.agree(0)
	})
}

// TestReadIndexBelievesNoOldTerm: what a majority has left behind confirms nobody, though every node answers.
func TestReadIndexBelievesNoOldTerm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		g := c.leader(0).groups[0]
		term := g.Status().Term
		if !g.confirmed(term) {
			t.Error("the leader is not confirmed")
		}
		if g.confirmed(term-1) || g.confirmed(term+1) {
			t.Error("another term than that of the majority is confirmed")
		}
		for _, n := range c.others(c.leader(0).name) {
			if _, err := c.nodes[n].groups[0].readIndexHere(); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s, which does not lead: %v", n, err)
			}
		}
		began := time.Now()
		c.net.cut(c.leader(0).name, testNodes...)
		if g.confirmed(term) || time.Since(began) > 2*testTimeout {
			t.Errorf("cut off: confirmed after %v", time.Since(began))
		}
		c.net.heal()
	})
}
