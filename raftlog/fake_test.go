package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealmq/sealmq/raftlog/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLog is a Log in memory. What it holds is what a disk would hold: it outlives hosts.
type memLog struct {
	mu        sync.Mutex
	entries   []journal.Entry // contiguous
	term      uint64
	voteTerm  uint64
	candidate string
	gate      chan struct{} // while set, writes wait until it is closed
	fail      error         // what writes return
	begun     chan struct{} // closed when the last Begin is done
	waitsOnly bool          // Begin takes nothing
	// failAppendsOnly lets terms, votes and truncations through.
	failAppendsOnly bool
	records         []string // one line for each write of term or vote
	coldReads       int
}

var _ Log = (*memLog)(nil)

// stall makes writes wait until the returned function is called.
func (l *memLog) stall() (release func()) {
	gate := make(chan struct{})
	l.mu.Lock()
	l.gate = gate
	l.mu.Unlock()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.gate = nil
		l.mu.Unlock()
		close(gate)
	})
}

// lose makes what waits, and whatever is appended later, never reach the disk, and returns what the disk holds.
func (l *memLog) lose() *memLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.failAppendsOnly = errors.New("the power is cut"), true
	return &memLog{entries: slices.Clone(l.entries), term: l.term, voteTerm: l.voteTerm, candidate: l.candidate}
}

// write runs f as a write to the disk.
func (l *memLog) write(appends bool, f func()) error {
	l.mu.Lock()
	for l.gate != nil {
		gate := l.gate
		l.mu.Unlock()
		<-gate
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	if l.fail != nil && (appends || !l.failAppendsOnly) {
		return l.fail
	}
	f()
	return nil
}

func (l *memLog) cut(from uint64) {
	for i := range l.entries {
		if l.entries[i].Index >= from {
			l.entries = l.entries[:i]
			return
		}
	}
}

func (l *memLog) Append(entries []journal.Entry) error {
	return l.write(true, func() {
		l.cut(entries[0].Index)
		l.entries = append(l.entries, entries...)
	})
}

// Begin appends like a disk that takes its time. Like the journal it takes one thing after the other.
func (l *memLog) Begin(entries []journal.Entry, done func(error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waitsOnly || errors.Is(l.fail, journal.ErrNoSpace) {
		return false
	}
	before, after := l.begun, make(chan struct{})
	l.begun = after
	go func() {
		if before != nil {
			<-before
		}
		defer close(after)
		done(l.Append(entries))
	}()
	return true
}

func (l *memLog) FirstIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return 0
	}
	return l.entries[0].Index
}

func (l *memLog) LastIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return 0
	}
	return l.entries[len(l.entries)-1].Index
}

func (l *memLog) find(index uint64) (journal.Entry, error) {
	if n := len(l.entries); n > 0 && l.entries[0].Index <= index && index <= l.entries[n-1].Index {
		return l.entries[index-l.entries[0].Index], nil
	}
	return journal.Entry{}, journal.ErrNotFound
}

func (l *memLog) Entry(index uint64) (journal.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.coldReads++
	return l.find(index)
}

func (l *memLog) ReadAt(index, term uint64, off, n int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.find(index)
	if err != nil || e.Term != term || off+n > len(e.Data) {
		return nil, journal.ErrNotFound
	}
	return e.Data[off : off+n], nil
}

func (l *memLog) TermOf(index uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.find(index)
	return e.Term, err
}

func (l *memLog) TruncateSuffix(from uint64) error { return l.write(false, func() { l.cut(from) }) }

func (l *memLog) Term() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

func (l *memLog) SetTerm(term uint64) error {
	return l.write(false, func() {
		l.term = term
		l.records = append(l.records, fmt.Sprintf("term %d", term))
	})
}

func (l *memLog) Vote() (uint64, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.voteTerm, l.candidate
}

func (l *memLog) SetVote(term uint64, candidate string) error {
	return l.write(false, func() {
		l.voteTerm, l.candidate = term, candidate
		l.records = append(l.records, fmt.Sprintf("vote %d %s", term, candidate))
	})
}

// memMachine is a Machine that keeps the entries it was given.
type memMachine struct {
	mu      sync.Mutex
	applied Applied
	durable Applied
	entries []Entry
	runs    []int         // entries of each run
	gate    chan struct{} // while set, Apply waits
}

func (m *memMachine) Apply(entries []Entry, config *Applied) []any {
	m.mu.Lock()
	for m.gate != nil {
		gate := m.gate
		m.mu.Unlock()
		<-gate
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	results := make([]any, len(entries))
	m.runs = append(m.runs, len(entries))
	for i, e := range entries {
		if e.Index > m.applied.Index {
			m.entries = append(m.entries, e)
			m.applied.Index, m.applied.Term = e.Index, e.Term
			results[i] = fmt.Sprintf("result of %d", e.Index)
		}
	}
	if config != nil && config.Index > m.applied.ConfigIndex {
		m.applied = *config
	}
	return results
}

func (m *memMachine) Applied() Applied {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

func (m *memMachine) DurableApplied() Applied {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.durable
}

func (m *memMachine) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable = m.applied
}

// crash returns what is left of the machine after a crash.
func (m *memMachine) crash() *memMachine {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := &memMachine{applied: m.durable, durable: m.durable}
	for _, e := range m.entries {
		if e.Index <= m.durable.Index {
			after.entries = append(after.entries, e)
		}
	}
	return after
}

// texts returns the data of the applied entries.
func (m *memMachine) texts() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.entries {
		out = append(out, string(e.Data))
	}
	return out
}

var testCluster = [16]byte{1, 2, 3}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
