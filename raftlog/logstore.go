package raftlog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// Log is one group's durable log, term and vote, as raftlog/journal keeps them. What a method that writes has returned
// from is durable, except for Begin. Reading may go on beside writing; writes come from one goroutine.
type Log interface {
	// Append adds entries. The first may have any index; entries at or above it are replaced.
	Append(entries []journal.Entry) error
	// Begin starts an Append, whose result done is told; done must not block. If it returns false nothing was started.
	// What was begun cannot be read, and does not count in LastIndex, before it is durable.
	Begin(entries []journal.Entry, done func(error)) bool
	// FirstIndex and LastIndex are 0 when the log is empty.
	FirstIndex() uint64
	LastIndex() uint64
	// Entry returns [journal.ErrNotFound] for an entry that is not there; any other error is damage.
	Entry(index uint64) (journal.Entry, error)
	// ReadAt returns n bytes of an entry's data from off on, [journal.ErrNotFound] if its term is another.
	ReadAt(index, term uint64, off, n int) ([]byte, error)
	// TermOf returns the term of an entry, also of the one just below the first.
	TermOf(index uint64) (uint64, error)
	TruncateSuffix(from uint64) error
	Term() uint64
	SetTerm(term uint64) error
	Vote() (term uint64, candidate string)
	SetVote(term uint64, candidate string) error
}

var _ Log = (*journal.Group)(nil)

// logStore is Raft's view of the log, with the cache in front of it.
type logStore struct {
	host  *Host
	group uint16
	log   Log
	tail  *tail
	busy  stopwatch
	begun unsynced
	stop  <-chan struct{}
	// cut is set between a truncation and the append that Raft makes next. Should that fail, Raft would go on with the
	// last index of before.
	cut bool

	// raft is nil until Raft has started. Until then it reads the entries above the durable state once to look for
	// configurations; the machine needs the same ones next, so they enter the cache.
	raft atomic.Pointer[raft.Raft]
}

var _ raft.MonotonicLogStore = (*logStore)(nil)

// stopwatch knows since when a write that Raft waits for has been pending. Raft writes from one goroutine.
type stopwatch struct {
	born  time.Time
	since atomic.Int64 // since born; 0 when nothing is pending
}

func (s *stopwatch) start() { s.since.Store(max(int64(time.Since(s.born)), 1)) }
func (s *stopwatch) done()  { s.since.Store(0) }

// pending returns for how long the current write has been going on.
func (s *stopwatch) pending() time.Duration {
	if since := s.since.Load(); since != 0 {
		return time.Since(s.born) - time.Duration(since)
	}
	return 0
}

// IsMonotonic is false: Raft then leaves gaps where it needs them and never drops a whole log.
func (s *logStore) IsMonotonic() bool { return false }

// FirstIndex returns the first entry's index.
func (s *logStore) FirstIndex() (uint64, error) { return s.log.FirstIndex(), nil }

// LastIndex returns the last entry's index.
func (s *logStore) LastIndex() (uint64, error) { return s.log.LastIndex(), nil }

// GetLog reads an entry.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	starting := s.raft.Load() == nil
	if !s.host.cache.fill(s.group, index, l) {
		e, err := s.log.Entry(index)
		if errors.Is(err, journal.ErrNotFound) {
			return raft.ErrLogNotFound
		}
		if err != nil {
			return s.host.fatal(fmt.Errorf("read entry %d of group %d: %w", index, s.group, err))
		}
		*l = raft.Log{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Kind), Data: e.Data}
		// The last entry stands before every AppendEntries of an idle leader.
		if starting || index == s.log.LastIndex() {
			s.host.cache.add(s.group, l, false)
		}
	}
	if starting {
		s.tail.add(l)
	}
	return nil
}

// StoreLog stores one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs makes entries durable, replacing whatever the log has from the first one on.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	entries := make([]journal.Entry, len(logs))
	for i, l := range logs {
		entries[i] = journal.Entry{Index: l.Index, Term: l.Term, Kind: uint8(l.Type), Data: l.Data}
	}
	if s.begin(entries) {
		s.hold(logs)
		return nil
	}
	s.settle()
	s.wait()
	first, last := logs[0].Index, s.log.LastIndex()
	s.busy.start()
	err := s.log.Append(entries)
	s.busy.done()
	switch {
	case err == nil:
		s.cut = false
	case errors.Is(err, journal.ErrNoSpace) && !s.cut:
		// A state, not a failure: there may be room again. A leader steps down over it, and whoever proposed is told that
		// nothing was written. So what there was room for goes again.
		if s.log.LastIndex() != last {
			if err := s.log.TruncateSuffix(first); err != nil {
				return s.host.fatal(fmt.Errorf("take back a part of the log of group %d: %w", s.group, err))
			}
		}
		s.host.log.warn("", "the log takes no entries", "group", s.group, "error", err)
		return err
	default:
		return s.host.fatal(fmt.Errorf("append to the log of group %d: %w", s.group, err))
	}
	s.tail.truncate(first)
	s.host.cache.drop(s.group, first, last)
	s.hold(logs)
	return nil
}

// hold keeps entries that now stand in the log until they are applied.
func (s *logStore) hold(logs []*raft.Log) {
	for _, l := range logs {
		s.tail.add(l)
		s.host.cache.add(s.group, l, true)
	}
}

// wait holds back a follower whose machine has more than Host.unappliedBytes before it. Only what Raft has handed over
// counts, which the machine works off without Raft's main loop, so the wait ends.
func (s *logStore) wait() {
	r := s.raft.Load()
	if r == nil || r.State() == raft.Leader {
		return // what a leader has not applied is bounded where entries are proposed
	}
	for {
		queued, moved := s.tail.queued(r.AppliedIndex())
		if queued <= s.host.unappliedBytes {
			return
		}
		select {
		case <-moved:
		case <-s.stop:
			return
		}
	}
}

// DeleteRange truncates the end of the log. Cutting its front is not Raft's to decide: bodies live there.
func (s *logStore) DeleteRange(first, last uint64) error {
	s.settle()
	end := s.log.LastIndex()
	if last < end {
		return fmt.Errorf("group %d: entries follow %d to %d, and the front of the log is not cut here", s.group, first, last)
	}
	s.busy.start()
	err := s.log.TruncateSuffix(first)
	s.busy.done()
	if err != nil {
		return s.host.fatal(fmt.Errorf("truncate the log of group %d: %w", s.group, err))
	}
	s.cut = true
	s.tail.truncate(first)
	s.host.cache.drop(s.group, first, end)
	return nil
}

// applied notes that the machine has applied everything up to index.
func (s *logStore) applied(index uint64) {
	before := s.tail.advance(index)
	s.host.cache.release(s.group, before+1, index)
}

// body returns part of an entry's data. The result must not be changed.
func (s *logStore) body(index, term uint64, off, n int) ([]byte, error) {
	if off < 0 || n < 0 {
		return nil, ErrNotFound
	}
	if data, ok := s.host.cache.body(s.group, index, term); ok {
		if off > len(data) || n > len(data)-off {
			return nil, ErrNotFound
		}
		return data[off : off+n : off+n], nil
	}
	b, err := s.log.ReadAt(index, term, off, n)
	if errors.Is(err, journal.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read entry %d of group %d: %w", index, s.group, err)
	}
	return b, nil
}
