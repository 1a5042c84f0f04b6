package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// tail is what a group knows of the entries that its machine has not applied: which of them Raft will hand to the
// machine, and how many bytes they have. Raft itself tells only how far it has handed over, not how far the machine
// is, and its no-ops and barriers never reach the machine.
type tail struct {
	mu      sync.Mutex
	applied uint64 // the last entry that the machine has applied, or that was below its state at the start
	entries []tailEntry
	moved   chan struct{} // closed and replaced when applied moves
}

type tailEntry struct {
	index     uint64
	sizeBytes int64
}

func newTail(applied uint64) *tail { return &tail{applied: applied, moved: make(chan struct{})} }

// add notes an entry that stands in the log.
func (t *tail) add(l *raft.Log) {
	if l.Type != raft.LogCommand && l.Type != raft.LogConfiguration {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.Index <= t.applied {
		return
	}
	t.cutFrom(l.Index)
	t.entries = append(t.entries, tailEntry{l.Index, int64(len(l.Data)) + slotOverheadBytes})
}

// truncate forgets the entries from index on.
func (t *tail) truncate(index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cutFrom(index)
}

func (t *tail) cutFrom(index uint64) {
	n := len(t.entries)
	for n > 0 && t.entries[n-1].index >= index {
		n--
	}
	t.entries = t.entries[:n]
}

// advance notes that the machine has applied everything up to index, and returns where it was before.
func (t *tail) advance(index uint64) (before uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.applied
	t.applied = max(t.applied, index)
	n := 0
	for n < len(t.entries) && t.entries[n].index <= index {
		n++
	}
	t.entries = t.entries[:copy(t.entries, t.entries[n:])]
	close(t.moved)
	t.moved = make(chan struct{})
	return before
}

// reached returns up to where everything that Raft has handed over is applied; handed is how far Raft is.
func (t *tail) reached(handed uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) > 0 && t.entries[0].index <= handed {
		return t.entries[0].index - 1
	}
	return max(handed, t.applied)
}

// queued returns the bytes of the entries up to handed that the machine has not applied, and a channel that is closed
// when it has applied some.
func (t *tail) queued(handed uint64) (sizeBytes int64, moved <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		if e.index > handed {
			break
		}
		sizeBytes += e.sizeBytes
	}
	return sizeBytes, t.moved
}
