package raftlog

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// Against a dumb model: whatever happens, the cache holds no more than its bound beside what is pinned, nothing that
// was dropped, and gives back exactly what was added.
func TestCacheAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := newCache(20_000)
	type held struct {
		term   uint64
		data   string
		pinned bool
	}
	model := make(map[slotKey]held)
	pinnedBytes := func() (n int64) {
		for _, h := range model {
			if h.pinned {
				n += int64(len(h.data)) + slotOverheadBytes
			}
		}
		return n
	}
	for range 20_000 {
		g, i := uint16(rng.IntN(3)), 1+rng.Uint64N(40)
		k := slotKey{g, i}
		switch rng.IntN(6) {
		case 0, 1:
			h := held{rng.Uint64(), strings.Repeat("x", rng.IntN(1500)), rng.IntN(2) == 0}
			there := c.slots[k] != nil
			c.add(g, &raft.Log{Index: i, Term: h.term, Data: []byte(h.data)}, h.pinned)
			if h.pinned || !there { // what was read from the log may be older than what is there
				model[k] = h
			}
		case 2:
			c.release(g, i, i+3)
			for j := i; j <= i+3; j++ {
				if h, ok := model[slotKey{g, j}]; ok {
					h.pinned = false
					model[slotKey{g, j}] = h
				}
			}
		case 3:
			last := i + uint64(rng.IntN(3)*500)
			c.drop(g, i, last)
			for k := range model {
				if k.group == g && i <= k.index && k.index <= last {
					delete(model, k)
				}
			}
		case 4:
			h, ok := model[k]
			b, hit := c.body(g, i, h.term)
			if hit && (!ok || string(b) != h.data) || !hit && h.pinned {
				t.Fatalf("body of %v: hit %v, model %v", k, hit, ok)
			}
			if _, hit := c.body(g, i, h.term+1); hit {
				t.Fatalf("body of %v with another term", k)
			}
		case 5:
			var l raft.Log
			h, ok := model[k]
			hit := c.fill(g, i, &l)
			if hit && (!ok || l.Term != h.term || string(l.Data) != h.data) || !hit && h.pinned {
				t.Fatalf("entry %v: hit %v, model %v", k, hit, ok)
			}
		}
		if used, pinned := c.usedBytes(), pinnedBytes(); used > max(20_000, pinned) {
			t.Fatalf("%d bytes held, %d pinned", used, pinned)
		}
	}
	c.drop(0, 0, 1<<40)
	c.drop(1, 0, 1<<40)
	c.drop(2, 0, 1<<40)
	if c.usedBytes() != 0 || c.idle.Len() != 0 {
		t.Errorf("%d bytes, %d idle in an empty cache", c.usedBytes(), c.idle.Len())
	}
}

func TestCacheKeepsWhatIsRead(t *testing.T) {
	c := newCache(10 * (1000 + slotOverheadBytes))
	for i := range uint64(10) {
		c.add(1, &raft.Log{Index: i, Data: make([]byte, 1000)}, false)
	}
	c.body(1, 0, 0)
	var l raft.Log
	c.fill(1, 1, &l) // Raft's reads do not count
	c.add(1, &raft.Log{Index: 10, Data: make([]byte, 1000)}, false)
	_, read := c.body(1, 0, 0)
	_, filled := c.body(1, 1, 0)
	if !read || filled {
		t.Errorf("the entry that was read is held: %v, the one that Raft read: %v", read, filled)
	}
}

func TestTail(t *testing.T) {
	a := newTail(10)
	for i, kind := range []raft.LogType{raft.LogCommand, raft.LogNoop, raft.LogConfiguration, raft.LogBarrier} {
		a.add(&raft.Log{Index: 11 + uint64(i), Type: kind, Data: make([]byte, 100)})
	}
	a.add(&raft.Log{Index: 9}) // below the machine's state
	const each = 100 + slotOverheadBytes
	steps := []struct {
		handed, reached uint64
		queued          int64
	}{{10, 10, 0}, {11, 10, each}, {12, 10, each}, {14, 10, 2 * each}}
	for _, s := range steps {
		if queued, _ := a.queued(s.handed); a.reached(s.handed) != s.reached || queued != s.queued {
			t.Errorf("handed %d: reached %d, queued %d", s.handed, a.reached(s.handed), queued)
		}
	}
	_, moved := a.queued(14)
	if before := a.advance(11); before != 10 {
		t.Errorf("was at %d", before)
	}
	<-moved
	if got := a.reached(14); got != 12 {
		t.Errorf("reached %d with entry 13 waiting", got)
	}
	a.advance(13)
	if got := a.reached(14); got != 14 {
		t.Errorf("reached %d with nothing waiting", got)
	}
	a.add(&raft.Log{Index: 15})
	a.add(&raft.Log{Index: 16})
	a.truncate(16)
	if queued, _ := a.queued(20); queued != slotOverheadBytes || a.reached(20) != 14 {
		t.Errorf("after a truncation: queued %d, reached %d", queued, a.reached(20))
	}
}
