package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// newStores returns the stores of a group whose host has no connections.
func newStores(log *memLog) (*logStore, *stableStore) {
	h := &Host{o: Options{Timeout: time.Second, Fatal: func(error) {}}, cache: newCache(1 << 20), log: newLogs(nil)}
	s := &logStore{host: h, group: 4, log: log, tail: newTail(0)}
	return s, &stableStore{host: h, group: 4, log: log, busy: &s.busy}
}

func commands(first, term uint64, texts ...string) []*raft.Log {
	var logs []*raft.Log
	for i, text := range texts {
		logs = append(logs, &raft.Log{Index: first + uint64(i), Term: term, Data: []byte(text)})
	}
	return logs
}

func TestLogStore(t *testing.T) {
	log := &memLog{}
	s, _ := newStores(log)
	if s.IsMonotonic() {
		t.Error("the store calls itself monotonic")
	}
	var l raft.Log
	if err := s.GetLog(1, &l); err != raft.ErrLogNotFound {
		t.Errorf("missing entry: %v", err)
	}
	must(t, s.StoreLogs(commands(1, 1, "a", "b", "c", "d")))
	must(t, s.StoreLog(&raft.Log{Index: 5, Term: 1, Type: raft.LogNoop}))
	// An append in the middle replaces what follows, in the log, in the cache and in the tail.
	must(t, s.StoreLogs([]*raft.Log{{Index: 4, Term: 2, Type: raft.LogNoop}}))
	if queued, _ := s.tail.queued(9); queued != 3*(1+slotOverheadBytes) {
		t.Errorf("%d bytes queued", queued)
	}
	must(t, s.StoreLogs(commands(3, 2, "C")))
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != 1 || last != 3 {
		t.Errorf("from %d to %d", first, last)
	}
	must(t, s.GetLog(3, &l))
	if l.Index != 3 || l.Term != 2 || string(l.Data) != "C" || l.Type != raft.LogCommand {
		t.Errorf("entry 3 is %+v", l)
	}
	for _, gone := range []uint64{4, 5} {
		if err := s.GetLog(gone, &l); err != raft.ErrLogNotFound {
			t.Errorf("replaced entry %d: %+v, %v", gone, l, err)
		}
	}
	if log.coldReads != 3 {
		t.Errorf("%d reads of the log: entries just appended come from the cache", log.coldReads)
	}
}

// What is read for a follower far behind does not push recent entries out of the cache.
func TestOldEntriesBypassTheCache(t *testing.T) {
	log := &memLog{}
	must(t, log.Append([]journal.Entry{{Index: 1, Term: 1}, {Index: 2, Term: 1}, {Index: 3, Term: 1}}))
	s, _ := newStores(log)
	s.raft.Store(new(raft.Raft)) // it has started
	var l raft.Log
	for range 3 {
		must(t, s.GetLog(1, &l))
	}
	if log.coldReads != 3 || s.host.cache.usedBytes() != 0 {
		t.Errorf("%d reads of the log for 3, %d bytes cached", log.coldReads, s.host.cache.usedBytes())
	}
}

func TestDeleteRangeTruncatesButNeverCuts(t *testing.T) {
	s, _ := newStores(&memLog{})
	must(t, s.StoreLogs(commands(1, 1, "a", "b", "c", "d")))
	if s.DeleteRange(1, 2) == nil {
		t.Error("Raft cut the front of the log")
	}
	must(t, s.DeleteRange(3, 4))
	var l raft.Log
	if last, _ := s.LastIndex(); last != 2 || s.GetLog(3, &l) != raft.ErrLogNotFound {
		t.Errorf("last %d after truncation", last)
	}
	if _, err := s.body(3, 1, 0, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("a truncated body: %v", err)
	}
}

func TestLogErrorsAreFatal(t *testing.T) {
	broken := errors.New("input/output error")
	var l raft.Log
	writes := map[string]func(*logStore, *stableStore) error{
		"append":   func(s *logStore, _ *stableStore) error { return s.StoreLogs(commands(2, 1, "b")) },
		"truncate": func(s *logStore, _ *stableStore) error { return s.DeleteRange(1, 1) },
		"term":     func(_ *logStore, v *stableStore) error { return v.SetUint64([]byte(keyCurrentTerm), 9) },
		"vote": func(_ *logStore, v *stableStore) error {
			must(t, v.SetUint64([]byte(keyLastVoteTerm), 9))
			return v.Set([]byte(keyLastVoteCand), []byte("n1"))
		},
		"damaged read": func(s *logStore, _ *stableStore) error {
			s.host.cache.drop(4, 1, 1)
			s.log = damagedLog{s.log}
			return s.GetLog(1, &l)
		},
	}
	for name, f := range writes {
		log := &memLog{}
		s, v := newStores(log)
		var told []error
		s.host.o.Fatal = func(err error) { told = append(told, err) }
		must(t, s.StoreLogs(commands(1, 1, "a")))
		log.fail = broken
		for range 2 {
			if err := f(s, v); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if len(told) != 1 {
			t.Errorf("%s: fatal was called with %v", name, told)
		}
		if s.busy.pending() != 0 {
			t.Errorf("%s: counts as pending", name)
		}
	}
}

// After a truncation Raft does not notice that the append failed: it would go on with an index that is not there.
func TestFullDiskAfterATruncationIsFatal(t *testing.T) {
	log := &memLog{failAppendsOnly: true}
	s, _ := newStores(log)
	told := 0
	s.host.o.Fatal = func(error) { told++ }
	must(t, s.StoreLogs(commands(1, 1, "a", "b")))
	log.fail = journal.ErrNoSpace
	if err := s.StoreLogs(commands(3, 1, "c")); !errors.Is(err, journal.ErrNoSpace) || told != 0 {
		t.Errorf("an append alone: %v, told %d times", err, told)
	}
	must(t, s.DeleteRange(2, 2))
	if err := s.StoreLogs(commands(2, 2, "B")); !errors.Is(err, journal.ErrNoSpace) || told != 1 {
		t.Errorf("after a truncation: %v, told %d times", err, told)
	}
}

// partLog has room for the first entry of an append only.
type partLog struct{ *memLog }

func (l partLog) Append(entries []journal.Entry) error {
	if err := l.memLog.Append(entries[:1]); err != nil {
		return err
	}
	return journal.ErrNoSpace
}

// A full disk refuses an append whole: who proposed the first entry is told that nothing was written.
func TestFullDiskTakesBackAPart(t *testing.T) {
	log := &memLog{}
	s, _ := newStores(log)
	s.host.o.Fatal = func(err error) { t.Error(err) }
	must(t, s.StoreLogs(commands(1, 1, "a")))
	s.log = partLog{log}
	if err := s.StoreLogs(commands(2, 1, "b", "c")); !errors.Is(err, journal.ErrNoSpace) {
		t.Errorf("came %v", err)
	}
	var l raft.Log
	if last, _ := s.LastIndex(); last != 1 || s.GetLog(2, &l) != raft.ErrLogNotFound {
		t.Errorf("the log ends at %d", last)
	}
	s.log = log
	must(t, s.StoreLogs(commands(2, 1, "b", "c")))
}

type damagedLog struct{ Log }

func (damagedLog) Entry(uint64) (journal.Entry, error) {
	return journal.Entry{}, errors.New("damaged")
}

// The current term is durable by itself; a vote is one record.
func TestStableStore(t *testing.T) {
	log := &memLog{}
	_, s := newStores(log)
	for _, key := range []string{keyCurrentTerm, keyLastVoteTerm} {
		if _, err := s.GetUint64([]byte(key)); err == nil || err.Error() != "not found" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := s.Get([]byte(keyLastVoteCand)); err == nil || err.Error() != "not found" {
		t.Errorf("candidate: %v", err)
	}
	must(t, s.SetUint64([]byte(keyCurrentTerm), 0)) // as Raft does with a new store
	must(t, s.SetUint64([]byte(keyCurrentTerm), 5))
	if log.term != 5 {
		t.Error("the term waits for something")
	}
	must(t, s.SetUint64([]byte(keyCurrentTerm), 5))
	must(t, s.SetUint64([]byte(keyLastVoteTerm), 5))
	if v, err := s.GetUint64([]byte(keyLastVoteTerm)); err == nil {
		t.Errorf("a vote without a candidate can be read: %d", v)
	}
	must(t, s.Set([]byte(keyLastVoteCand), []byte("n2")))
	if want := []string{"term 5", "vote 5 n2"}; !slices.Equal(log.records, want) {
		t.Errorf("records %q, want %q", log.records, want)
	}
	term, err := s.GetUint64([]byte(keyLastVoteTerm))
	cand, err2 := s.Get([]byte(keyLastVoteCand))
	if term != 5 || err != nil || string(cand) != "n2" || err2 != nil {
		t.Errorf("vote %d for %q, %v, %v", term, cand, err, err2)
	}
	if s.Set([]byte(keyLastVoteCand), []byte("n3")) == nil {
		t.Error("a candidate without a term was written")
	}
	for _, err := range []error{
		s.SetUint64([]byte("x"), 1), s.Set([]byte("x"), nil),
		func() error { _, err := s.Get([]byte("x")); return err }(),
		func() error { _, err := s.GetUint64([]byte("x")); return err }(),
	} {
		if err == nil || err.Error() == "not found" {
			t.Errorf("unknown key: %v", err)
		}
	}
}

func TestSnapshotIsTheDurableState(t *testing.T) {
	m := &memMachine{}
	s := snapshots{m}
	if metas, err := s.List(); len(metas) != 0 || err != nil {
		t.Errorf("a machine without a state has %v, %v", metas, err)
	}
	m.durable = Applied{Index: 7, Term: 3, ConfigIndex: 2, Config: testConfiguration()}
	m.applied = Applied{Index: 9, Term: 4}
	metas, err := s.List()
	must(t, err)
	if len(metas) != 1 || metas[0].Index != 7 || metas[0].Term != 3 || metas[0].ConfigurationIndex != 2 ||
		len(metas[0].Configuration.Servers) != 2 || metas[0].Version != 1 {
		t.Errorf("snapshots %+v", metas)
	}
	if _, _, err := s.Open(metas[0].ID); err == nil {
		t.Error("a snapshot can be opened")
	}
	m.durable.Config = []byte("garbage")
	if _, err := s.List(); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged configuration: %v", err)
	}
	if err := (&fsm{}).Restore(io.NopCloser(nil)); err == nil {
		t.Error("a machine can be restored through Raft")
	}
}

// A snapshot is a flush barrier: it ends when the machine is durable up to where it was, and cuts nothing.
func TestSnapshotWaitsUntilDurable(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start(testNodes...)
		defer c.stop(testNodes...)
		for range 10 {
			c.propose(0, "x")
		}
		lead := c.leader(0)
		done := make(chan error)
		go func() { done <- lead.groups[0].raft.Snapshot().Error() }()
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			t.Fatalf("snapshot of a state that is not durable: %v", err)
		default:
		}
		lead.machines[0].flush()
		must(t, <-done)
		if first := lead.logs[0].FirstIndex(); first != 1 {
			t.Errorf("the log starts at %d", first)
		}
		c.propose(0, "y")
		c.agree(0)
		// A group that stops does not wait for it.
		go func() { done <- lead.groups[0].raft.Snapshot().Error() }()
		synctest.Wait()
		c.stop(lead.name)
		if err := <-done; err == nil {
			t.Error("snapshot of a stopped group")
		}
		c.start(lead.name)
	})
}

// flushMachine can be asked to flush.
type flushMachine struct {
	memMachine
	err     error
	useless bool
	flushes int
}

func (m *flushMachine) Flush(context.Context) error {
	m.flushes++
	if !m.useless {
		m.flush()
	}
	return m.err
}

func TestSnapshotAsksForAFlush(t *testing.T) {
	m := &flushMachine{}
	m.applied.Index = 5
	f := &fsm{machine: m}
	persist := func() error {
		s, err := f.Snapshot()
		must(t, err)
		defer s.Release()
		return s.Persist(sink("x"))
	}
	must(t, persist())
	if m.flushes != 1 || m.durable.Index != 5 {
		t.Errorf("%d flushes, durable to %d", m.flushes, m.durable.Index)
	}
	m.err = errors.New("no")
	if err := persist(); !errors.Is(err, m.err) {
		t.Errorf("failed flush: %v", err)
	}
	m.err, m.useless, m.applied.Index = nil, true, 6
	if persist() == nil {
		t.Error("a flush that made nothing durable")
	}
}

func TestMachineGetsRunsAndConfigurations(t *testing.T) {
	s, _ := newStores(&memLog{})
	var runs []string
	f := &fsm{logs: s, machine: machineFunc(func(entries []Entry, config *Applied) []any {
		run := fmt.Sprint(len(entries))
		if config != nil {
			run += fmt.Sprintf(" config %d %s at %d/%d", config.ConfigIndex, config.Config, config.Index, config.Term)
		}
		runs = append(runs, run)
		if len(entries) == 3 {
			return nil
		}
		var results []any
		for _, e := range entries {
			results = append(results, string(e.Data)+"!")
		}
		return results
	})}
	config := func(i uint64) *raft.Log {
		return &raft.Log{Index: i, Term: 2, Type: raft.LogConfiguration, Data: []byte("c")}
	}
	got := f.ApplyBatch([]*raft.Log{commands(1, 1, "a")[0], config(2), commands(3, 2, "b")[0]})
	if want := []any{outcome{result: "a!", term: 1}, outcome{term: 2}, outcome{result: "b!", term: 2}}; !slices.Equal(got, want) {
		t.Errorf("results %v", got)
	}
	f.ApplyBatch([]*raft.Log{config(4)})
	nothing := []any{outcome{term: 2}, outcome{term: 2}, outcome{term: 2}}
	if got := f.ApplyBatch(commands(5, 2, "x", "y", "z")); !slices.Equal(got, nothing) {
		t.Errorf("nil results became %v", got)
	}
	if got := f.Apply(commands(8, 3, "w")[0]); got != (outcome{result: "w!", term: 3}) {
		t.Errorf("one entry: %v", got)
	}
	if want := []string{"2 config 2 c at 3/2", "0 config 4 c at 4/2", "3", "1"}; !slices.Equal(runs, want) {
		t.Errorf("runs %q", runs)
	}
}

type machineFunc func([]Entry, *Applied) []any

func (f machineFunc) Apply(e []Entry, c *Applied) []any { return f(e, c) }
func (f machineFunc) Applied() Applied                  { return Applied{} }
func (f machineFunc) DurableApplied() Applied           { return Applied{} }
