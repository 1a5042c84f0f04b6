package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// past is a deadline that has passed, in virtual time too.
var past = time.Unix(1, 0)

const testTimeout = 500 * time.Millisecond

var testNodes = []string{"n1", "n2", "n3"}

// testNode is what of a node outlives its processes, and the process that runs now.
type testNode struct {
	name     string
	logs     map[uint16]*memLog
	machines map[uint16]*memMachine
	journal  *journal.Journal // takes the place of logs when it is set

	host   *Host
	groups map[uint16]*Group
	fatal  []error

	mu     sync.Mutex
	events []LeaderState
}

func (n *testNode) log(g uint16) Log {
	if n.journal != nil {
		return n.journal.Group(g)
	}
	return n.logs[g]
}

// testNet is a cluster on a memNet.
type testNet struct {
	t       testing.TB
	net     *memNet
	groups  []uint16
	nodes   map[string]*testNode
	members []Member
	prefer  map[uint16]string
	tune    func(*Options)
}

func newTestNet(t testing.TB, groups ...uint16) *testNet {
	c := &testNet{t: t, net: newMemNet(), groups: groups, nodes: make(map[string]*testNode)}
	for _, n := range testNodes {
		c.members = append(c.members, Member{Node: n, Address: n + ":1", Voter: true})
		node := &testNode{name: n, logs: make(map[uint16]*memLog), machines: make(map[uint16]*memMachine)}
		for _, g := range groups {
			node.logs[g], node.machines[g] = &memLog{}, &memMachine{}
		}
		c.nodes[n] = node
	}
	return c
}

func (c *testNet) options(n *testNode) Options {
	o := Options{
		Cluster: testCluster, Node: n.name, Members: c.members, Preferred: c.prefer,
		Log:      n.log,
		Listener: c.net.listen(n.name, n.name+":1"), Dial: c.net.dialer(n.name),
		Timeout: testTimeout,
		Fatal: func(err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.fatal = append(n.fatal, err)
		},
	}
	if os.Getenv("RAFTLOG_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.name)
	}
	if c.tune != nil {
		c.tune(&o)
	}
	return o
}

// start starts nodes.
func (c *testNet) start(names ...string) {
	c.t.Helper()
	for _, name := range names {
		n := c.nodes[name]
		h, err := NewHost(c.options(n))
		must(c.t, err)
		n.host, n.groups = h, make(map[uint16]*Group)
		for _, g := range c.groups {
			n.groups[g], err = h.Start(g, n.machines[g], func(s LeaderState) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.events = append(n.events, s)
			})
			must(c.t, err)
		}
	}
}

// stop closes nodes as a process that is told to.
func (c *testNet) stop(names ...string) {
	var wg sync.WaitGroup
	for _, name := range names {
		n := c.nodes[name]
		wg.Go(func() { n.host.Close() })
	}
	wg.Wait()
}

// crash stops a node without goodbye: it can tell nobody, and its machines lose what is not durable.
func (c *testNet) crash(name string) {
	c.net.cut(name, testNodes...)
	c.stop(name)
	c.net.heal()
	n := c.nodes[name]
	for g, m := range n.machines {
		n.machines[g] = m.crash()
	}
}

// powerCut is a crash that also loses what the logs have not written. release ends what holds them up.
func (c *testNet) powerCut(name string, release func()) {
	c.net.cut(name, testNodes...)
	n := c.nodes[name]
	left := make(map[uint16]*memLog)
	for g, l := range n.logs {
		left[g] = l.lose()
	}
	release()
	c.crash(name)
	n.logs = left
}

func (c *testNet) others(name string) []string {
	return slices.DeleteFunc(slices.Clone(testNodes), func(n string) bool { return n == name })
}

// leader waits until a node among names says that it leads the group.
func (c *testNet) leader(group uint16, names ...string) *testNode {
	c.t.Helper()
	if len(names) == 0 {
		names = testNodes
	}
	var lead *testNode
	c.until("a leader", func() bool {
		for _, name := range names {
			if n := c.nodes[name]; n.groups[group].State().Leading {
				lead = n
				return true
			}
		}
		return false
	})
	return lead
}

// until waits, in virtual time, until ok.
func (c *testNet) until(what string, ok func() bool) {
	c.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("waited a minute for %s", what)
}

// propose proposes at the leader, whoever it is, until an entry is committed.
func (c *testNet) propose(group uint16, text string, names ...string) {
	c.t.Helper()
	c.until("a commit of "+text, func() bool {
		_, _, _, err := c.leader(group, names...).groups[group].Propose([]byte(text)).Wait(context.Background())
		if errors.Is(err, ErrLeadershipLost) {
			c.t.Fatalf("outcome of %s unknown", text)
		}
		return err == nil
	})
}

// agree waits until the nodes have applied the same entries, and returns them.
func (c *testNet) agree(group uint16, names ...string) []string {
	c.t.Helper()
	if len(names) == 0 {
		names = testNodes
	}
	var texts []string
	c.until("agreement", func() bool {
		first := c.nodes[names[0]]
		texts = first.machines[group].texts()
		s := first.groups[group].Status()
		if s.Commit != s.Last {
			return false
		}
		for _, name := range names {
			n := c.nodes[name]
			if at := n.groups[group].Status(); at.Applied != s.Commit || at.Commit != s.Commit || at.Last != s.Last {
				return false
			}
			if !slices.Equal(n.machines[group].texts(), texts) {
				return false
			}
		}
		return true
	})
	return texts
}

// inBubble runs a cluster test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestClusterElectsAndReplicates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0, 1)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		for i := range 20 {
			c.propose(0, fmt.Sprint("a", i))
			c.propose(1, fmt.Sprint("b", i))
		}
		for g, want := range map[uint16]string{0: "a", 1: "b"} {
			texts := c.agree(g)
			if len(texts) != 20 || texts[0] != want+"0" || texts[19] != want+"19" {
				t.Errorf("group %d applied %q", g, texts)
			}
		}
	})
}
