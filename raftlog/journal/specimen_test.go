package journal_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// specimen is a journal as a crash left it: the newest segment has three flushes with one entry each, the second and
// the third of four chunks, and the mark knows of none of them. An older segment holds entry 1.
type specimen struct {
	o      journal.Options
	files  *testkit.CrashFS
	last   string         // the newest segment
	chunks []journal.Item // of the newest segment: the state block, flush A (1), flush B (4), flush C (4)
	end    int64          // of the last flush
}

var specimenData = bytes.Repeat([]byte("0123456789abcdef"), 100<<10/16)

// newSpecimen must run in a synctest bubble: time stands still, so that the mark is not written in between.
func newSpecimen(t *testing.T) *specimen {
	t.Helper()
	files := testkit.NewCrashFS()
	s := &specimen{o: options(t, files)}
	s.o.SegmentBytes = 1 << 20
	j := openNew(t, s.o)
	appendOne(t, j, 1, specimenData[:50])
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(s.o)
	if err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, 2, specimenData[:100])
	appendOne(t, j, 3, specimenData)
	appendOne(t, j, 4, specimenData)
	s.files = files.PowerCut(nil, 0)
	s.o.FS = s.files
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s.look(t)
	return s
}

func appendOne(t *testing.T, j *journal.Journal, index uint64, data []byte) {
	t.Helper()
	if err := j.Group(1).Append([]journal.Entry{{Index: index, Term: 1, Data: data}}); err != nil {
		t.Fatal(err)
	}
}

// look finds the newest segment and its last ten chunks.
func (s *specimen) look(t *testing.T) {
	t.Helper()
	err := journal.Walk(s.o, func(i journal.Item) error {
		switch i.What {
		case "segment":
			s.last, s.chunks = i.File, nil
		case "chunk":
			s.chunks = append(s.chunks, i)
		case "end":
			s.end = i.Offset
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.chunks) < 10 {
		t.Fatalf("the newest segment has %d chunks, want at least 10", len(s.chunks))
	}
	s.chunks = s.chunks[len(s.chunks)-10:]
}

// edit changes a file of the specimen.
func (s *specimen) edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(s.o.Dir, name)
	b, err := s.files.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.files.WriteFile(path, change(b)); err != nil {
		t.Fatal(err)
	}
}

// lastByte is where a chunk's tag ends.
func lastByte(chunk journal.Item) int64 { return chunk.Offset + 32 + 12 + int64(chunk.Bytes) + 16 - 1 }

func flip(at int64) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x10; return b }
}

func wipe(from, to int64) func([]byte) []byte {
	return func(b []byte) []byte { clear(b[from:to]); return b }
}

func cutAt(at int64) func([]byte) []byte {
	return func(b []byte) []byte { return b[:at] }
}

// opens opens the specimen, which must hold the entries up to last and nothing else.
func (s *specimen) opens(t *testing.T, last uint64) {
	t.Helper()
	j, err := journal.Open(s.o)
	if err != nil {
		t.Errorf("does not open: %v", err)
		return
	}
	defer j.Close()
	g := j.Group(1)
	if g.FirstIndex() != 1 || g.LastIndex() != last {
		t.Errorf("holds %d to %d, want 1 to %d", g.FirstIndex(), g.LastIndex(), last)
	}
	sizes := []int{50, 100, len(specimenData), len(specimenData)}
	for i := range last {
		e, err := g.Entry(i + 1)
		if err != nil || !bytes.Equal(e.Data, specimenData[:sizes[i]]) {
			t.Errorf("entry %d: %d bytes, %v", i+1, len(e.Data), err)
		}
	}
	if err := g.Append([]journal.Entry{{Index: last + 1, Term: 2}}); err != nil {
		t.Error(err)
	}
}

// damaged opens the specimen, which must name that file and offset; a negative offset is any.
func (s *specimen) damaged(t *testing.T, file string, offset int64) {
	t.Helper()
	j, err := journal.Open(s.o)
	if err == nil {
		j.Close()
		t.Errorf("opens, want damage of %s at %d", file, offset)
		return
	}
	var d *journal.DamagedError
	if !errors.As(err, &d) {
		t.Errorf("%v, want a DamagedError", err)
		return
	}
	if filepath.Base(d.File) != file || (offset >= 0 && d.Offset != offset) {
		t.Errorf("%v, want %s at %d", d, file, offset)
	}
}

func (s *specimen) swap(t *testing.T, one, two string) {
	t.Helper()
	b, err := s.files.ReadFile(filepath.Join(s.o.Dir, one))
	if err != nil {
		t.Fatal(err)
	}
	s.edit(t, one, func([]byte) []byte {
		other, err := s.files.ReadFile(filepath.Join(s.o.Dir, two))
		if err != nil {
			t.Fatal(err)
		}
		return other
	})
	s.edit(t, two, func([]byte) []byte { return b })
}
