package journal_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// Whatever byte of a journal is flipped: it does not open, or nothing is different.
func TestEveryByteFlipped(t *testing.T) {
	files := testkit.NewCrashFS()
	o := options(t, files)
	o.SpareSegments = -1
	j := openNew(t, o)
	for i := range uint64(3) {
		appendOne(t, j, i+1, specimenData[:300])
	}
	if err := j.Group(2).SetVote(3, "n2"); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, 4, specimenData[:300])
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	ends := map[string]int64{"mark": 12288}
	err = journal.Walk(o, func(i journal.Item) error {
		if i.What == "end" {
			ends[i.File] = i.Offset
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	step := int64(29)
	if testkit.Long(t) {
		step = 1
	}
	opened := 0
	for _, name := range []string{"0000000000000002.seg", "0000000000000003.seg", "mark"} {
		for at := int64(0); at < ends[name]; at += step {
			c := files.PowerCut(nil, 0)
			flipByte(t, c, filepath.Join(o.Dir, name), at)
			o := o
			o.FS = c
			j, err := journal.Open(o)
			if err != nil {
				continue
			}
			opened++
			// Of the mark one slot is enough.
			if name != "mark" || at < 4096 {
				t.Errorf("%s opens with byte %d flipped", name, at)
			}
			if err := unharmed(j); err != nil {
				t.Errorf("%s, byte %d flipped: %v", name, at, err)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if want := 8192 / step; int64(opened) < want-1 || int64(opened) > want+1 {
		t.Errorf("%d flips were survived, want %d", opened, want)
	}
}

func flipByte(t *testing.T, files *testkit.CrashFS, path string, at int64) {
	t.Helper()
	b, err := files.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.WriteFile(path, flip(at)(b)); err != nil {
		t.Fatal(err)
	}
}

func unharmed(j *journal.Journal) error {
	if j.Group(1).LastIndex() != 4 || j.Group(2).Term() != 3 {
		return fmt.Errorf("%d entries and term %d", j.Group(1).LastIndex(), j.Group(2).Term())
	}
	for i := range uint64(4) {
		if e, err := j.Group(1).Entry(i + 1); err != nil || !bytes.Equal(e.Data, specimenData[:300]) {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return nil
}
