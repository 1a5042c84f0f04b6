package journal_test

import (
	"errors"
	"runtime"
	"syscall"
	"testing"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// openRoomy opens a new journal that has room to begin appends.
func openRoomy(t *testing.T) (*journal.Journal, *testkit.CrashFS, journal.Options) {
	t.Helper()
	files := testkit.NewCrashFS()
	o := options(t, files)
	o.SegmentBytes, o.SpareSegments, o.Fatal = 1<<20, 4, nil
	j := openNew(t, o)
	t.Cleanup(func() { j.Close() })
	for j.Stats().SpareSegments < o.SpareSegments {
		runtime.Gosched()
	}
	return j, files, o
}

// begin starts an append and returns where its result will be.
func begin(t *testing.T, g *journal.Group, entries ...journal.Entry) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	if !g.Begin(entries, func(err error) { done <- err }) {
		t.Fatal("not begun")
	}
	return done
}

func TestBegin(t *testing.T) {
	j, _, o := openRoomy(t)
	g := j.Group(1)
	if err := g.Append([]journal.Entry{{Index: 1, Term: 1}}); err != nil {
		t.Fatal(err)
	}
	// Calls take effect in their order.
	first := begin(t, g, journal.Entry{Index: 2, Term: 1, Data: []byte("two")})
	second := begin(t, g, journal.Entry{Index: 3, Term: 1, Data: []byte("three")})
	if err := g.Append([]journal.Entry{{Index: 4, Term: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, done := range []<-chan error{first, second} {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("a later append is durable, this one is not")
		}
	}
	if e, err := g.Entry(3); err != nil || string(e.Data) != "three" || g.LastIndex() != 4 {
		t.Errorf("%+v, %v, last %d", e, err, g.LastIndex())
	}
	// What Append refuses before it waits, and what would be several requests, is not begun.
	never := func(error) { t.Error("told of something that was not begun") }
	for _, entries := range [][]journal.Entry{
		{{Index: 6}, {Index: 5}},
		{{Index: 5, Data: make([]byte, journal.MaxEntryBytes+1)}},
		{{Index: 5, Data: make([]byte, int(o.SegmentBytes)/2)}},
	} {
		if g.Begin(entries, never) {
			t.Errorf("began %d entries", len(entries))
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if g.Begin([]journal.Entry{{Index: 5, Term: 1}}, never) {
		t.Error("began in a closed journal")
	}
}

// Whatever is begun finds room, however little there is: where it might not, nothing is begun.
func TestBeginTakesOnlyWhatFindsRoom(t *testing.T) {
	j, files, o := openRoomy(t)
	g := j.Group(1)
	files.Hook(func(op testkit.Op, _ string) testkit.Fault {
		if op == testkit.OpCreate {
			return testkit.Fault{Err: syscall.ENOSPC}
		}
		return testkit.Fault{}
	})
	data, index := make([]byte, int(o.SegmentBytes)/8), uint64(0)
	results := make(chan error, 1000)
fill:
	for range cap(results) {
		if !g.Begin([]journal.Entry{{Index: index + 1, Term: 1, Data: data}}, func(err error) { results <- err }) {
			if err := g.Append([]journal.Entry{{Index: index + 1, Term: 1, Data: data}}); errors.Is(err, journal.ErrNoSpace) {
				break fill
			} else if err != nil {
				t.Fatal(err)
			}
			results <- nil
		}
		index++
	}
	for range index {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if index < 16 || g.LastIndex() != index {
		t.Errorf("%d entries, the last is %d", index, g.LastIndex())
	}
}

// A failed write is told to whoever began it.
func TestBeginFails(t *testing.T) {
	j, files, _ := openRoomy(t)
	files.Hook(func(op testkit.Op, _ string) testkit.Fault {
		if op == testkit.OpSync {
			return testkit.Fault{Err: syscall.EIO}
		}
		return testkit.Fault{}
	})
	defer files.Hook(nil)
	if err := <-begin(t, j.Group(1), journal.Entry{Index: 1, Term: 1}); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if j.Group(1).LastIndex() != 0 {
		t.Error("a failed entry is there")
	}
}
