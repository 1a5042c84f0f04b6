package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestTransferLeadership(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		old := c.leader(0)
		follower := c.nodes[c.others(old.name)[0]]
		if err := follower.groups[0].TransferLeadership(); !errors.Is(err, ErrNotLeader) {
			t.Errorf("at a follower: %v", err)
		}
		start := time.Now()
		must(t, old.groups[0].TransferLeadership())
		next := c.leader(0, c.others(old.name)...)
		if took := time.Since(start); took > testTimeout/2 {
			t.Errorf("the next leader took %v", took)
		}
		if next.groups[0].State().Term != 3 {
			t.Errorf("the next leader leads in term %d", next.groups[0].State().Term)
		}
	})
}

func TestPreferredLeadersOfANewCluster(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0, 1, 2)
		c.prefer = map[uint16]string{0: "n2", 1: "n3", 2: "n1"}
		start := time.Now()
		for _, n := range testNodes { // not all at once
			c.start(n)
			time.Sleep(testTimeout / 10)
		}
		defer c.stop(testNodes...)
		for g, want := range c.prefer {
			if got := c.leader(g); got.name != want || got.groups[g].State().Term != 2 {
				t.Errorf("group %d is led by %s in term %d, want %s", g, got.name, got.groups[g].State().Term, want)
			}
		}
		if took := time.Since(start); took > testTimeout {
			t.Errorf("took %v: they waited for the election timeout", took)
		}
	})
}

// A preferred node that is there first does not use up terms.
func TestPreferredLeaderWaitsForVoters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.prefer = map[uint16]string{0: "n1"}
		c.start("n1")
		defer c.stop(testNodes...)
		time.Sleep(testTimeout / 2)
		if term := c.nodes["n1"].groups[0].raft.CurrentTerm(); term != 1 {
			t.Errorf("in term %d while alone", term)
		}
		start := time.Now()
		c.start("n2")
		if lead := c.leader(0, "n1", "n2"); lead.name != "n1" || time.Since(start) > testTimeout/2 {
			t.Errorf("%s leads after %v", lead.name, time.Since(start))
		}
		c.start("n3")
	})
}

// A preferred node that is not there costs the cluster no more than its timeout, and takes nothing when it comes.
func TestPreferredLeaderThatIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.prefer = map[uint16]string{0: "n1"}
		c.start("n2", "n3")
		defer c.stop(testNodes...)
		c.propose(0, "a", "n2", "n3")
		term := c.leader(0, "n2", "n3").groups[0].State().Term
		c.start("n1")
		c.agree(0)
		time.Sleep(10 * testTimeout)
		if lead := c.leader(0); lead.name == "n1" || lead.groups[0].State().Term != term {
			t.Errorf("led by %s in term %d, was term %d", lead.name, lead.groups[0].State().Term, term)
		}
	})
}

func TestSingleNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.members = c.members[:1]
		c.prefer = map[uint16]string{0: "n1"}
		start := time.Now()
		c.start("n1")
		c.propose(0, "a", "n1")
		if took := time.Since(start); took > testTimeout/4 {
			t.Errorf("a node alone took %v", took)
		}
		c.stop("n1")
		c.start("n1")
		c.propose(0, "b", "n1")
		if got := c.agree(0, "n1"); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("applied %q", got)
		}
		c.stop("n1")
	})
}

func TestNonVotersFollow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.members[2].Voter = false
		c.start(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		c.stop("n1", "n2")
		time.Sleep(20 * testTimeout)
		if s := c.nodes["n3"].groups[0].State(); s.Leading || s.Leader != "" {
			t.Errorf("a non-voter alone says %+v", s)
		}
		c.stop("n3")
	})
}

// Leading means that everything committed before this term has been applied here.
func TestLeadingWaitsForTheMachine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		old := c.leader(0)
		rest := c.others(old.name)
		gate := make(chan struct{})
		for _, n := range rest {
			m := c.nodes[n].machines[0]
			m.mu.Lock()
			m.gate = gate
			m.mu.Unlock()
		}
		c.propose(0, "b", old.name)
		c.stop(old.name)
		time.Sleep(10 * testTimeout)
		leaders := 0
		for _, n := range rest {
			g := c.nodes[n].groups[0]
			if g.raft.State() == raft.Leader {
				leaders++
			}
			if g.State().Leading {
				t.Errorf("%s leads and has applied %q", n, c.nodes[n].machines[0].texts())
			}
		}
		if leaders != 1 {
			t.Fatalf("%d leaders", leaders)
		}
		for _, n := range rest {
			m := c.nodes[n].machines[0]
			m.mu.Lock()
			m.gate = nil
			m.mu.Unlock()
		}
		close(gate)
		lead := c.leader(0, rest...)
		if got := lead.machines[0].texts(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("leads with %q", got)
		}
		c.stop(rest...)
	})
}

func TestEventsTellEveryLeadership(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		for range 5 {
			must(t, c.leader(0).groups[0].TransferLeadership())
			c.propose(0, "x")
		}
		c.agree(0)
		c.stop(testNodes...)
		led := make(map[uint64]string) // term to node
		for _, n := range c.nodes {
			var last LeaderState
			for _, s := range n.events {
				if s == last || s.Term < last.Term {
					t.Errorf("%s: %+v after %+v", n.name, s, last)
				}
				if s.Leading && last.Leading {
					t.Errorf("%s leads in term %d right after term %d", n.name, s.Term, last.Term)
				}
				if s.Leading && s.Leader != n.name {
					t.Errorf("%s leads, and says %s does", n.name, s.Leader)
				}
				if s.Leading {
					if other, ok := led[s.Term]; ok {
						t.Errorf("%s and %s lead in term %d", other, n.name, s.Term)
					}
					led[s.Term] = n.name
				}
				last = s
			}
			if last.Leading || last.Leader != "" {
				t.Errorf("%s ends with %+v", n.name, last)
			}
		}
		if len(led) < 6 {
			t.Errorf("%d leaderships seen", len(led))
		}
	})
}

func TestTwoTermsOfOneLeaderAreToldApart(t *testing.T) {
	l := newLeadership(3, 0)
	a := LeaderState{Group: 3, Term: 2, Leader: "n1", Leading: true}
	b := LeaderState{Group: 3, Term: 4, Leader: "n1", Leading: true}
	l.publish(a)
	l.publish(a)
	l.publish(b)
	between := b
	between.Leading = false
	if want := []LeaderState{a, between, b}; !slices.Equal(l.events, want) {
		t.Errorf("events %+v", l.events)
	}
	for i := range 3 * eventsHeld {
		l.publish(LeaderState{Term: uint64(i)})
	}
	if len(l.events) != eventsHeld || l.events[eventsHeld-1].Term != 3*eventsHeld-1 {
		t.Errorf("%d events held, the last of term %d", len(l.events), l.events[len(l.events)-1].Term)
	}
}

// A callback may propose and wait: Raft's channel is drained elsewhere.
func TestEventsMayPropose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		var hosts []*Host
		var mu sync.Mutex
		groups := make(map[string]*Group)
		for _, n := range testNodes {
			h, err := NewHost(c.options(c.nodes[n]))
			must(t, err)
			hosts = append(hosts, h)
			mu.Lock()
			g, err := h.Start(0, c.nodes[n].machines[0], func(s LeaderState) {
				if s.Leading {
					mu.Lock()
					g := groups[n]
					mu.Unlock()
					g.Propose(fmt.Append(nil, "term ", s.Term)).Wait(context.Background())
				}
			})
			must(t, err)
			groups[n] = g
			mu.Unlock()
		}
		c.until("an entry", func() bool { return len(c.nodes["n1"].machines[0].texts()) > 0 })
		var wg sync.WaitGroup
		for _, h := range hosts {
			wg.Go(func() { h.Close() })
		}
		wg.Wait()
	})
}
