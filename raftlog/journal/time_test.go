package journal_test

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// A segment is ended after 24 hours although there is room in it, and the mark gets a fresh key with it.
func TestSegmentAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := testkit.NewCrashFS()
		o := options(t, files)
		j := openNew(t, o)
		appendOne(t, j, 1, []byte("one"))
		front := func() string {
			b, err := files.ReadFile(filepath.Join(o.Dir, "mark"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b[:atrest.HeaderSize])
		}
		before := front()
		time.Sleep(23 * time.Hour)
		if s := j.Stats(); s.Rolls != 0 {
			t.Errorf("%d segments ended after 23 hours", s.Rolls)
		}
		time.Sleep(2 * time.Hour)
		if s := j.Stats(); s.Rolls != 1 {
			t.Errorf("%d segments ended after 25 hours", s.Rolls)
		}
		if front() == before {
			t.Error("the mark still has the old key")
		}
		if e, err := j.Group(1).Entry(1); err != nil || string(e.Data) != "one" {
			t.Errorf("%q, %v", e.Data, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Terms and votes are in the mark before the call returns, and an idle journal writes nothing.
func TestMarkHasVotesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := testkit.NewCrashFS()
		o := options(t, files)
		o.SpareSegments = -1
		j := openNew(t, o)
		if err := j.Group(4).SetVote(9, "n3"); err != nil {
			t.Fatal(err)
		}
		note := ""
		err := journal.Walk(o, func(i journal.Item) error {
			if i.What == "mark" {
				note = i.Note
			}
			return nil
		})
		if err != nil || !strings.Contains(note, "group 4 term 9 vote 9 for n3") {
			t.Errorf("the mark says %q, %v", note, err)
		}
		time.Sleep(2 * time.Second)
		writes := 0
		files.Hook(func(op testkit.Op, _ string) testkit.Fault {
			if op.Changes() {
				writes++
			}
			return testkit.Fault{}
		})
		time.Sleep(time.Hour)
		files.Hook(nil)
		if writes > 0 {
			t.Errorf("an idle journal made %d changes in an hour", writes)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Appends that wait while a flush is being synced share the next one.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := testkit.NewCrashFS()
		o := options(t, files)
		o.SpareSegments = -1
		j := openNew(t, o)
		gate := make(chan struct{})
		files.Hook(func(op testkit.Op, name string) testkit.Fault {
			if op == testkit.OpSync && strings.HasSuffix(name, ".seg") {
				<-gate
			}
			return testkit.Fault{}
		})
		before := j.Stats().Flushes
		done := make(chan error, 20)
		for id := range uint16(20) {
			go func() { done <- j.Group(id).Append([]journal.Entry{{Index: 1, Term: 1, Data: []byte("x")}}) }()
			if id == 0 {
				synctest.Wait() // the first is being synced; the others will wait for it
			}
		}
		synctest.Wait()
		if j.Group(0).LastIndex() != 0 {
			t.Error("an entry is there before it was synced")
		}
		close(gate)
		for range 20 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := j.Stats().Flushes - before; n != 2 {
			t.Errorf("20 appends took %d flushes, want 2", n)
		}
		files.Hook(nil)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// What Stats says of the bytes is what Walk finds.
func TestStats(t *testing.T) {
	o := options(t, testkit.NewCrashFS())
	j := openNew(t, o)
	defer j.Close()
	for i := range uint64(20) {
		appendOne(t, j, i+1, specimenData[:10_000])
	}
	var bytes int64
	segments := 0
	err := journal.Walk(o, func(i journal.Item) error {
		if i.What == "end" {
			bytes += i.Offset
			segments++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s := j.Stats()
	if s.Bytes != bytes || s.Segments != segments || s.Records != 20 || s.Failed || s.NoSpace {
		t.Errorf("%+v, want %d bytes in %d segments", s, bytes, segments)
	}
	var synced uint64
	for _, n := range s.Fsync.Counts {
		synced += n
	}
	if synced != s.Flushes || len(journal.FsyncBounds())+1 != len(s.Fsync.Counts) {
		t.Errorf("%d fdatasyncs in the histogram, %d flushes", synced, s.Flushes)
	}
}
