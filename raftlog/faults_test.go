package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/testkit"
)

// history is what clients know of their proposals in a run with faults.
type history struct {
	mu      sync.Mutex
	acked   map[string]uint64 // text to index
	refused map[string]bool   // definitely not in the log
}

// TestRandomFaults cuts, freezes, crashes and stalls nodes at random while proposals are made everywhere. In the end
// all nodes have the same entries: every acknowledged one once, at its index, none that was refused for certain.
func TestRandomFaults(t *testing.T) {
	minutes := 3
	if testkit.Long(t) {
		minutes = 120
	}
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0, 1)
		c.start(testNodes...)
		h := &history{acked: make(map[string]uint64), refused: make(map[string]bool)}
		stop := make(chan struct{})
		replacing := make(map[string]chan struct{}) // a token, taken while the node is used or replaced
		var clients sync.WaitGroup
		for _, name := range testNodes {
			replacing[name] = make(chan struct{}, 1)
		}
		for _, name := range testNodes {
			for g := range uint16(2) {
				clients.Go(func() { h.client(c.nodes[name], g, replacing[name], stop) })
			}
		}
		for end := time.Now().Add(time.Duration(minutes) * time.Minute); time.Now().Before(end); {
			c.fault(replacing)
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
		}
		close(stop)
		clients.Wait()
		c.net.heal()
		texts := append(c.agree(0), c.agree(1)...)
		h.check(t, c, texts)
		c.stop(testNodes...)
	})
}

// clients propose to every group of the nodes as they are now, until stop is closed.
func (h *history) clients(c *testNet, round string, stop <-chan struct{}) {
	var clients sync.WaitGroup
	for _, name := range testNodes {
		for g := range uint16(2) {
			now := &testNode{name: name + "/" + round, groups: c.nodes[name].groups}
			clients.Go(func() { h.client(now, g, make(chan struct{}, 1), stop) })
		}
	}
	clients.Wait()
}

func (h *history) client(n *testNode, g uint16, replacing chan struct{}, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(100)) * time.Millisecond):
		}
		text := fmt.Sprintf("%d %s %d %s", g, n.name, i, strings.Repeat("x", rand.IntN(2000)))
		replacing <- struct{}{}
		p := n.groups[g].Propose([]byte(text))
		<-replacing
		_, index, _, err := p.Wait(context.Background())
		h.mu.Lock()
		switch {
		case err == nil:
			h.acked[text] = index
		case errors.Is(err, ErrNotLeader), errors.Is(err, ErrShutdown), errors.Is(err, ErrUnavailable):
			h.refused[text] = true
		}
		h.mu.Unlock()
	}
}

// fault does something to a random node, and undoes it after a while.
func (c *testNet) fault(replacing map[string]chan struct{}) {
	victim := testNodes[rand.IntN(3)]
	n := c.nodes[victim]
	pause := time.Duration(rand.IntN(5000)) * time.Millisecond
	switch rand.IntN(7) {
	case 0:
		c.net.cut(victim, c.others(victim)...)
	case 1:
		c.net.freeze(victim, c.others(victim)...)
	case 2:
		c.net.cut(victim, c.others(victim)[rand.IntN(2)])
	case 3:
		release := n.logs[0].stall()
		defer release()
	case 4:
		n.machines[uint16(rand.IntN(2))].flush()
		replacing[victim] <- struct{}{}
		c.crash(victim)
		c.start(victim)
		<-replacing[victim]
		return
	case 5:
		releases := []func(){n.logs[0].stall(), n.logs[1].stall()}
		time.Sleep(pause / 4)
		replacing[victim] <- struct{}{}
		c.powerCut(victim, func() { releases[0](); releases[1]() })
		c.start(victim)
		<-replacing[victim]
		return
	case 6:
		n.groups[uint16(rand.IntN(2))].TransferLeadership()
		return
	}
	time.Sleep(pause)
	c.net.heal()
}

func (h *history) check(t *testing.T, c *testNet, texts []string) {
	seen := make(map[string]int)
	for _, text := range texts {
		seen[text]++
		if h.refused[text] {
			t.Errorf("applied although refused: %.20s", text)
		}
	}
	for text, index := range h.acked {
		if seen[text] != 1 {
			t.Errorf("acknowledged and applied %d times: %.20s", seen[text], text)
		}
		var g uint16
		if text[0] == '1' {
			g = 1
		}
		for _, n := range c.nodes {
			if e, err := n.log(g).Entry(index); err != nil || string(e.Data) != text {
				t.Errorf("%s has another entry at %d, acknowledged for %.20s", n.name, index, text)
			}
		}
	}
	if len(h.acked) < 100 {
		t.Errorf("only %d entries were acknowledged", len(h.acked))
	}
	t.Logf("%d acknowledged, %d refused, %d applied", len(h.acked), len(h.refused), len(texts))
}
