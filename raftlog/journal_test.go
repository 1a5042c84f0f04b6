package raftlog

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// plainRoot wraps nothing.
type plainRoot struct{}

func (plainRoot) ID() string                         { return "plain" }
func (plainRoot) Wrap(key, _ []byte) ([]byte, error) { return append([]byte(nil), key...), nil }
func (plainRoot) Unwrap(wrapped, _ []byte) ([]byte, error) {
	return append([]byte(nil), wrapped...), nil
}

// disks are the journals of a testNet on file systems that can lose power.
type disks struct {
	c    *testNet
	ring *atrest.Ring
	fs   map[string]*testkit.CrashFS
}

func newDisks(t *testing.T, c *testNet) *disks {
	rings, err := atrest.NewRings(plainRoot{})
	must(t, err)
	d := &disks{c: c, ring: rings.Ring(atrest.RingJournal), fs: make(map[string]*testkit.CrashFS)}
	for _, name := range testNodes {
		d.fs[name] = testkit.NewCrashFS()
		must(t, journal.Create(d.options(name)))
		d.open(name)
	}
	return d
}

func (d *disks) options(name string) journal.Options {
	return journal.Options{
		Dir: "journal", FS: d.fs[name], Ring: d.ring, Store: atrest.StoreID{1},
		SegmentBytes: 256 << 10, SpareSegments: 1,
	}
}

func (d *disks) open(name string) {
	j, err := journal.Open(d.options(name))
	must(d.c.t, err)
	d.c.nodes[name].journal = j
}

// powerCut cuts nodes off the network and takes away their power: what they wrote and did not sync may be lost.
func (d *disks) powerCut(names ...string) {
	for _, name := range names {
		d.c.net.cut(name, testNodes...)
	}
	after := make(map[string]*testkit.CrashFS)
	for _, name := range names {
		after[name] = d.fs[name].PowerCut(rand.New(rand.NewPCG(rand.Uint64(), 1)), rand.IntN(101))
	}
	d.c.stop(names...)
	d.c.net.heal()
	for _, name := range names {
		n := d.c.nodes[name]
		must(d.c.t, n.journal.Close())
		for g, m := range n.machines {
			n.machines[g] = m.crash()
		}
		d.fs[name] = after[name]
		d.open(name)
	}
	d.c.start(names...)
}

// TestPowerCuts takes the power from one node or all of them, with proposals going on. The nodes stand on the real
// journal. Nothing that was acknowledged is lost.
func TestPowerCuts(t *testing.T) {
	cuts := 12
	if testkit.Long(t) {
		cuts = 500
	}
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0, 1)
		d := newDisks(t, c)
		c.start(testNodes...)
		h := &history{acked: make(map[string]uint64), refused: make(map[string]bool)}
		for i := range cuts {
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				h.clients(c, fmt.Sprint(i), stop)
			}()
			time.Sleep(time.Duration(500+rand.IntN(3000)) * time.Millisecond)
			if rand.IntN(2) == 0 {
				for _, n := range testNodes {
					c.nodes[n].machines[uint16(rand.IntN(2))].flush()
				}
			}
			switch rand.IntN(3) {
			case 0:
				close(stop)
				d.powerCut(testNodes...)
			case 1:
				close(stop)
				d.powerCut(testNodes[rand.IntN(3)])
			default:
				victim := testNodes[rand.IntN(3)]
				c.net.cut(victim, c.others(victim)...)
				time.Sleep(2 * time.Second)
				c.net.heal()
				close(stop)
			}
			<-done
		}
		texts := append(c.agree(0), c.agree(1)...)
		h.check(t, c, texts)
		c.stop(testNodes...)
		for _, n := range c.nodes {
			must(t, n.journal.Close())
		}
	})
}
