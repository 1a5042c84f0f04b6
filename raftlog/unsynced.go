package raftlog

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// unsynced is what a leader has begun to write and Raft already counts as written, so that followers get it while this
// node's own disk is still at work (Ongaro's thesis, 10.2.1: writing to the leader's disk in parallel). Raft then may
// call an entry committed that one node of the majority has only in memory. Nobody may notice before it is durable here:
//
//   - the machine is not given it, so nobody is answered (fsm.go);
//   - followers are not told that it is committed (transport.go);
//   - this node acknowledges no entry to another leader while it has any (transport.go), and whatever else writes to the
//     log waits for them (settle).
//
// What remains visible is that a candidate's or a voter's log may end later than its disk says. That is the log which a
// node has until it crashes, and a crash takes an entry that no majority was ever said to have.
type unsynced struct {
	mu     sync.Mutex
	writes []beginning // the oldest first; they become durable in this order
	failed bool        // one was not written: from then on none counts as durable
	moved  chan struct{}
}

// beginning is one write under way.
type beginning struct {
	first uint64 // index
	since time.Time
}

func (u *unsynced) add(first uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes = append(u.writes, beginning{first, time.Now()})
}

// synced notes that the oldest write is durable.
func (u *unsynced) synced() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed {
		return // who comes later rests on what is missing
	}
	u.writes = u.writes[:copy(u.writes, u.writes[1:])]
	u.wake()
}

// fail notes that a write has failed.
func (u *unsynced) fail() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = true
}

// withdraw takes back the newest write: it was not begun.
func (u *unsynced) withdraw() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes = u.writes[:len(u.writes)-1]
	u.wake()
}

func (u *unsynced) wake() {
	if u.moved != nil {
		close(u.moved)
		u.moved = nil
	}
}

// below returns up to which index everything in the log is durable; [math.MaxUint64] if nothing is under way.
func (u *unsynced) below() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.writes) == 0 {
		return math.MaxUint64
	}
	return u.writes[0].first - 1
}

// pending returns for how long the oldest write has been going on.
func (u *unsynced) pending() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.writes) == 0 {
		return 0
	}
	return time.Since(u.writes[0].since)
}

// await waits until everything up to index is durable. It returns false if stop is closed first.
func (u *unsynced) await(index uint64, stop <-chan struct{}) bool {
	for {
		u.mu.Lock()
		if len(u.writes) == 0 || u.writes[0].first > index {
			u.mu.Unlock()
			return true
		}
		if u.moved == nil {
			u.moved = make(chan struct{})
		}
		moved := u.moved
		u.mu.Unlock()
		select {
		case <-moved:
		case <-stop:
			return false
		}
	}
}

// begin starts writing a leader's entries without waiting for them. Entries that Raft itself looks at, such as a
// configuration, and those that the log cannot be sure to have room for, are to be waited for.
func (s *logStore) begin(entries []journal.Entry) bool {
	if r := s.raft.Load(); r == nil || r.State() != raft.Leader {
		return false
	}
	for i := range entries {
		if raft.LogType(entries[i].Kind) != raft.LogCommand {
			return false
		}
	}
	s.begun.add(entries[0].Index)
	if s.log.Begin(entries, s.written) {
		return true
	}
	s.begun.withdraw()
	return false
}

// written is told what became of the oldest entries under way. After a failure they stay so: nothing that rests on them
// ever happens.
func (s *logStore) written(err error) {
	if err != nil {
		s.begun.fail()
		s.host.fatal(fmt.Errorf("append to the log of group %d: %w", s.group, err))
		return
	}
	s.begun.synced()
}

// settle waits until nothing is under way. Raft's main loop is held up by a disk that hangs, as by any other write.
func (s *logStore) settle() { s.begun.await(math.MaxUint64, s.stop) }
