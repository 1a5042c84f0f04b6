package raftlog

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCloseHandsLeadershipOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		old := c.leader(0)
		last := old.groups[0].Propose([]byte("b"))
		start := time.Now()
		c.stop(old.name)
		if _, _, _, err := last.Wait(context.Background()); err != nil {
			t.Errorf("in flight at close: %v", err)
		}
		c.propose(0, "c", c.others(old.name)...)
		if took := time.Since(start); took > testTimeout/2 {
			t.Errorf("the next leader took %v", took)
		}
		if s := old.groups[0].State(); s.Leading || s.Leader != "" {
			t.Errorf("a closed group says %+v", s)
		}
		c.stop(c.others(old.name)...)
	})
}

// A node that has lost its peers closes all the same.
func TestCloseWithoutAMajority(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		old := c.leader(0)
		c.net.freeze(old.name, c.others(old.name)...)
		p := old.groups[0].Propose([]byte("b"))
		start := time.Now()
		c.stop(old.name)
		if took := time.Since(start); took > 10*testTimeout {
			t.Errorf("close took %v", took)
		}
		if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("got %v", err)
		}
		c.net.heal()
		c.stop(c.others(old.name)...)
	})
}

// A leader whose log hangs for good can be closed: what it has in flight is unknown.
func TestCloseWithAHungLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		old := c.leader(0)
		release := old.logs[0].stall()
		defer release()
		p := old.groups[0].Propose([]byte("b"))
		q := old.groups[0].Propose([]byte("c"))
		start := time.Now()
		c.stop(old.name)
		if took := time.Since(start); took > 20*testTimeout {
			t.Errorf("close took %v", took)
		}
		for _, p := range []*Proposal{p, q} {
			if _, _, _, err := p.Wait(context.Background()); !errors.Is(err, ErrLeadershipLost) {
				t.Errorf("got %v", err)
			}
		}
		c.stop(c.others(old.name)...)
	})
}

func TestBodyComesFromTheCacheElseFromTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.tune = func(o *Options) { o.CacheBytes = 10_000 }
		c.start(testNodes...)
		defer c.stop(testNodes...)
		lead := c.leader(0)
		g := lead.groups[0]
		data := []byte("0123456789")
		_, index, term, err := g.Propose(data).Wait(context.Background())
		must(t, err)
		b, err := g.Body(index, term, 3, 4)
		if err != nil || string(b) != "3456" || &b[0] != &data[3] || cap(b) != 4 {
			t.Errorf("from the cache: %q, cap %d, %v", b, cap(b), err)
		}
		c.agree(0)
		for range 20 {
			c.propose(0, strings.Repeat("x", 1000))
		}
		c.agree(0)
		for _, n := range testNodes {
			b, err = c.nodes[n].groups[0].Body(index, term, 3, 4)
			if err != nil || string(b) != "3456" {
				t.Errorf("%s, from the log: %q, %v", n, b, err)
			}
			if got := c.nodes[n].host.CachedBytes(); got > 10_000 {
				t.Errorf("%s caches %d bytes", n, got)
			}
		}
		for _, bad := range []struct {
			index, term uint64
			off, n      int
		}{
			{index, term + 1, 0, 1}, {index + 1000, term, 0, 1}, {index, term, 8, 3}, {index, term, -1, 1}, {index, term, 0, -1},
		} {
			if b, err := g.Body(bad.index, bad.term, bad.off, bad.n); !errors.Is(err, ErrNotFound) {
				t.Errorf("%+v: %q, %v", bad, b, err)
			}
		}
	})
}

func TestStatusAtRest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		c.propose(0, "a")
		// Barriers never reach the machine, and count as applied.
		must(t, c.leader(0).groups[0].TransferLeadership())
		c.leader(0)
		c.agree(0)
		lead := c.leader(0)
		for _, n := range c.nodes {
			s := n.groups[0].Status()
			if s.Applied != s.Commit || s.Last != s.Commit || s.Leader != lead.name || s.Leading != (n == lead) {
				t.Errorf("%s: %+v", n.name, s)
			}
			if n.machines[0].Applied().Index >= s.Applied {
				t.Errorf("%s: the test has no barrier at the end", n.name)
			}
		}
	})
}

// A follower whose machine is behind takes in no more than its bound.
func TestFollowerBehindIsHeldBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		c.propose(0, "a")
		c.agree(0)
		lead := c.leader(0)
		slow := c.nodes[c.others(lead.name)[0]]
		slow.host.unappliedBytes = 50_000
		gate := make(chan struct{})
		m := slow.machines[0]
		m.mu.Lock()
		m.gate = gate
		m.mu.Unlock()
		entry := bytes.Repeat([]byte("x"), 10_000)
		for range 100 {
			if _, _, _, err := lead.groups[0].Propose(entry).Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(testTimeout / 2)
		if n := len(slow.logs[0].entries); n > 30 {
			t.Errorf("the follower took %d entries of 10 kB into a bound of 50 kB", n)
		}
		m.mu.Lock()
		m.gate = nil
		m.mu.Unlock()
		close(gate)
		if got := c.agree(0); len(got) != 101 {
			t.Errorf("%d entries", len(got))
		}
		c.stop(testNodes...)
	})
}
