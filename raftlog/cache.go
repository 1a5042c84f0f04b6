package raftlog

import (
	"container/list"
	"sync"

	"github.com/hashicorp/raft"
)

// slotOverheadBytes is what an entry costs beside its data.
const slotOverheadBytes = 192

// cache holds recent entries of all groups of a node: each from its append until it is applied, whatever that takes,
// then as long as the bound allows, those least recently read going first. What is read from the log for a follower
// that is far behind does not enter it.
type cache struct {
	limit int64

	mu    sync.Mutex
	size  int64
	slots map[slotKey]*slot
	idle  list.List // *slot that may go, most recently read first
}

type slotKey struct {
	group uint16
	index uint64
}

type slot struct {
	key  slotKey
	term uint64
	kind raft.LogType
	data []byte
	idle *list.Element // nil until the entry is applied
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, slots: make(map[slotKey]*slot)}
}

func (s *slot) size() int64 { return int64(len(s.data)) + slotOverheadBytes }

// add puts an entry in. One that is not yet applied is pinned: it stays until release. One that is not pinned was read
// from the log, and does not take the place of another: the log may have got that one since.
func (c *cache) add(group uint16, l *raft.Log, pinned bool) {
	s := &slot{key: slotKey{group, l.Index}, term: l.Term, kind: l.Type, data: l.Data}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !pinned && c.slots[s.key] != nil {
		return
	}
	c.remove(s.key)
	c.slots[s.key] = s
	c.size += s.size()
	if !pinned {
		s.idle = c.idle.PushFront(s)
	}
	c.shrink()
}

// release lets the entries from first to last go when the room is needed.
func (c *cache) release(group uint16, first, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := first; i <= last; i++ {
		if s := c.slots[slotKey{group, i}]; s != nil && s.idle == nil {
			s.idle = c.idle.PushFront(s)
		}
	}
	c.shrink()
}

// drop forgets the entries from first to last: the log no longer has them.
func (c *cache) drop(group uint16, first, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first > last {
		return
	}
	if last-first < uint64(len(c.slots)) {
		for i := first; i <= last; i++ {
			c.remove(slotKey{group, i})
		}
		return
	}
	for k := range c.slots {
		if k.group == group && first <= k.index && k.index <= last {
			c.remove(k)
		}
	}
}

// fill sets l to the entry, if it is here. Raft's own reads are in order and do not count as use.
func (c *cache) fill(group uint16, index uint64, l *raft.Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[slotKey{group, index}]
	if s == nil {
		return false
	}
	*l = raft.Log{Index: index, Term: s.term, Type: s.kind, Data: s.data}
	return true
}

// body returns the data of the entry of that term, if it is here.
func (c *cache) body(group uint16, index, term uint64) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[slotKey{group, index}]
	if s == nil || s.term != term {
		return nil, false
	}
	if s.idle != nil {
		c.idle.MoveToFront(s.idle)
	}
	return s.data, true
}

// remove and shrink are called with the lock held.
func (c *cache) remove(k slotKey) {
	s := c.slots[k]
	if s == nil {
		return
	}
	delete(c.slots, k)
	c.size -= s.size()
	if s.idle != nil {
		c.idle.Remove(s.idle)
	}
}

func (c *cache) shrink() {
	for c.size > c.limit && c.idle.Len() > 0 {
		c.remove(c.idle.Back().Value.(*slot).key)
	}
}

// usedBytes returns what the cache holds.
func (c *cache) usedBytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
