package raftlog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestRestartReplaysWhatIsNotDurable(t *testing.T) {
	for _, flushAt := range []int{0, 5, 20} {
		inBubble(t, func(t *testing.T) {
			c := newTestNet(t, 0)
			c.start(testNodes...)
			var want []string
			for i := range 20 {
				if i == flushAt {
					for _, n := range c.nodes {
						n.machines[0].flush()
					}
				}
				want = append(want, fmt.Sprint("e", i))
				c.propose(0, want[i])
			}
			c.agree(0)
			if flushAt == 20 {
				c.nodes["n1"].machines[0].flush()
			}
			for _, n := range testNodes {
				c.crash(n)
			}
			for _, n := range c.nodes {
				n.logs[0].coldReads = 0
			}
			c.start(testNodes...)
			if got := c.agree(0); !slices.Equal(got, want) {
				t.Errorf("flushed at %d: applied %q", flushAt, got)
			}
			// Raft looks through the entries above the durable state for configurations and then applies them: the
			// cache spares the second reading.
			for _, n := range c.nodes {
				above := int(n.logs[0].LastIndex() - n.machines[0].durable.Index)
				if n.logs[0].coldReads > above+4 {
					t.Errorf("%s read the log %d times for %d entries", n.name, n.logs[0].coldReads, above)
				}
			}
			c.propose(0, "more")
			if got := c.agree(0); len(got) != 21 {
				t.Errorf("applied %q", got)
			}
			c.stop(testNodes...)
		})
	}
}

// What the machine has not applied after a restart does not count as applied, though Raft has handed it over.
func TestAppliedAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		for range 5 {
			c.propose(0, "x")
		}
		c.agree(0)
		c.crash("n1")
		m := c.nodes["n1"].machines[0]
		m.gate = make(chan struct{})
		c.start("n1")
		g := c.nodes["n1"].groups[0]
		c.until("entries handed over", func() bool { return g.raft.AppliedIndex() > 6 })
		if s := g.Status(); s.Applied != 0 || s.Commit < 6 {
			t.Errorf("the machine has nothing: %+v", s)
		}
		m.mu.Lock()
		close(m.gate)
		m.gate = nil
		m.mu.Unlock()
		c.agree(0)
		c.stop(testNodes...)
	})
}

// An idle group's leader does not read its last entry from the disk for every AppendEntries, though others have pushed
// it out of the cache.
func TestIdleLeaderDoesNotReadTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0, 1)
		c.tune = func(o *Options) { o.CacheBytes = 10_000 }
		c.prefer = map[uint16]string{0: "n1", 1: "n1"}
		c.start(testNodes...)
		c.propose(0, "idle from now on")
		for range 20 {
			c.propose(1, strings.Repeat("x", 1000))
		}
		c.agree(0)
		lead := c.leader(0)
		lead.logs[0].mu.Lock()
		lead.logs[0].coldReads = 0
		lead.logs[0].mu.Unlock()
		time.Sleep(100 * testTimeout)
		lead.logs[0].mu.Lock()
		if n := lead.logs[0].coldReads; n > 20 {
			t.Errorf("%d reads of the log in %v", n, 100*testTimeout)
		}
		lead.logs[0].mu.Unlock()
		c.stop(testNodes...)
	})
}

// With a state that is durable beyond the configuration's entry, Raft has the members from the machine alone.
func TestConfigurationSurvivesInTheMachine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		for _, n := range c.nodes {
			n.machines[0].flush()
			a := n.machines[0].durable
			if a.ConfigIndex != 1 || len(a.Config) == 0 || a.Index < 2 {
				t.Fatalf("%s is durable at %+v", n.name, a)
			}
		}
		c.stop(testNodes...)
		c.start("n1", "n2")
		conf := c.nodes["n1"].groups[0].raft.GetConfiguration().Configuration()
		if len(conf.Servers) != 3 || conf.Servers[2].ID != "n3" || conf.Servers[2].Suffrage != raft.Voter {
			t.Errorf("configuration %+v", conf)
		}
		c.propose(0, "b", "n1", "n2")
		c.stop("n1", "n2")
	})
}

// A change of members reaches every machine, and is what a restarted node knows.
func TestChangedConfigurationReachesTheMachines(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		lead := c.leader(0)
		gone := c.others(lead.name)[0]
		must(t, lead.groups[0].raft.DemoteVoter(raft.ServerID(gone), 0, 0).Error())
		c.propose(0, "b")
		c.agree(0)
		for _, n := range c.nodes {
			conf, err := parseConfiguration(n.machines[0].Applied().Config)
			must(t, err)
			for _, s := range conf.Servers {
				if want := s.ID != raft.ServerID(gone); (s.Suffrage == raft.Voter) != want {
					t.Errorf("%s has %s as voter: %v", n.name, s.ID, !want)
				}
			}
			n.machines[0].flush()
		}
		c.stop(testNodes...)
		rest := c.others(gone)
		c.start(rest...) // two of two voters
		c.propose(0, "c", rest...)
		c.stop(rest...)
	})
}
