package journal_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// Random calls against the model, on real files, with a restart now and then.
func TestModelOnFiles(t *testing.T) {
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 5))
		o := options(t, journal.OSFS())
		o.Dir = filepath.Join(t.TempDir(), "journal")
		if err := journal.Create(o); err != nil {
			t.Fatal(err)
		}
		w := newWorld(2)
		for range 4 {
			j, err := journal.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.check(j); err != nil {
				t.Fatalf("seed %d, after opening: %v", seed, err)
			}
			if err := w.run(j, rng, 25); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := w.check(j); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	files := testkit.NewCrashFS()
	o := options(t, files)
	j := openNew(t, o)
	g := j.Group(1)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(g.Append([]journal.Entry{{Index: 5, Term: 1}, {Index: 6, Term: 1}}))
	must(g.SetBase(6, 1))
	must(g.SetVote(4, "n1"))
	must(g.SetVote(4, "n1"))
	must(g.SetTerm(4))
	must(g.SetTerm(7))
	must(g.SetVote(6, "n2"))
	if g.Term() != 7 {
		t.Errorf("a vote in an earlier term took the term to %d", g.Term())
	}
	large := []journal.Entry{{Index: 7, Data: make([]byte, journal.MaxEntryBytes+1)}}
	none := journal.Options{Dir: "/none", FS: files, Ring: ring(t)}
	tiny := journal.Options{Dir: "/tiny", FS: files, Ring: ring(t), SegmentBytes: 1}
	tests := map[string]struct {
		err  error
		want error
	}{
		"below the base":         {g.Append([]journal.Entry{{Index: 5, Term: 1}}), journal.ErrStale},
		"base back":              {g.SetBase(5, 1), journal.ErrStale},
		"term back":              {g.SetTerm(6), journal.ErrStale},
		"second vote":            {g.SetVote(6, "n1"), journal.ErrStale},
		"vote back":              {g.SetVote(5, "n2"), journal.ErrStale},
		"no candidate":           {g.SetVote(8, ""), journal.ErrTooLarge},
		"long candidate":         {g.SetVote(8, strings.Repeat("x", 256)), journal.ErrTooLarge},
		"large entry":            {g.Append(large), journal.ErrTooLarge},
		"below the base, term":   {second(g.TermOf(4)), journal.ErrNotFound},
		"below the base, entry":  {second(g.Entry(5)), journal.ErrNotFound},
		"above the last":         {second(g.Entry(7)), journal.ErrNotFound},
		"unknown group":          {second(j.Group(9).Entry(1)), journal.ErrNotFound},
		"part of another term":   {second(g.ReadAt(6, 2, 0, 0)), journal.ErrNotFound},
		"creating over it":       {journal.Create(o), errAny},
		"opening nothing":        {second(journal.Open(none)), journal.ErrEmpty},
		"indexes that fall":      {g.Append([]journal.Entry{{Index: 8}, {Index: 8}}), errAny},
		"part beyond the end":    {second(g.ReadAt(6, 1, 0, 1)), errAny},
		"part before the front":  {second(g.ReadAt(6, 1, -1, 1)), errAny},
		"segments that are tiny": {journal.Create(tiny), errAny},
	}
	for name, tt := range tests {
		if tt.err == nil || (tt.want != errAny && !errors.Is(tt.err, tt.want)) {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
	if g.FirstIndex() != 6 || g.LastIndex() != 6 {
		t.Errorf("what was refused changed the log: %d to %d", g.FirstIndex(), g.LastIndex())
	}
	must(j.Close())
	must(j.Close())
	if err := g.SetTerm(100); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

var errAny = errors.New("any error")

func second[T any](_ T, err error) error { return err }

func TestGroupLimit(t *testing.T) {
	j := openNew(t, options(t, testkit.NewCrashFS()))
	defer j.Close()
	for id := range journal.MaxGroups {
		if err := j.Group(uint16(id)).SetTerm(2); err != nil {
			t.Fatalf("group %d: %v", id, err)
		}
	}
	if err := j.Group(journal.MaxGroups).SetTerm(1); !errors.Is(err, journal.ErrTooLarge) {
		t.Errorf("one group too many: %v", err)
	}
	votes := 0
	for id := range journal.MaxGroups {
		err := j.Group(uint16(id)).SetVote(2, fmt.Sprintf("%s%d", strings.Repeat("n", 200), id))
		if errors.Is(err, journal.ErrTooLarge) {
			break // the mark is full of long names
		}
		if err != nil {
			t.Fatal(err)
		}
		votes++
	}
	if votes < 10 || votes == journal.MaxGroups {
		t.Errorf("%d long votes fit in the mark", votes)
	}
	if err := j.Group(60).SetTerm(3); err != nil {
		t.Errorf("a term beside a full mark: %v", err)
	}
}

func TestAppliedIsReached(t *testing.T) {
	fs := testkit.NewCrashFS()
	o := options(t, fs)
	j := openNew(t, o)
	// check opens the journal again, for a store that has applied a group up to an index.
	check := func(group uint16, index uint64, ok bool) {
		t.Helper()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		before := contents(t, fs, o.Dir)
		o.Applied = map[uint16]uint64{group: index}
		again, err := journal.Open(o)
		var d *journal.DamagedError
		if (err == nil) != ok || (err != nil && !errors.As(err, &d)) {
			t.Errorf("group %d applied up to %d: %v", group, index, err)
		}
		if err != nil {
			if contents(t, fs, o.Dir) != before {
				t.Errorf("group %d applied up to %d: refused, and something was changed", group, index)
			}
			o.Applied = nil
			if again, err = journal.Open(o); err != nil {
				t.Fatal(err)
			}
		}
		j = again
	}
	check(1, 0, true)
	check(1, 1, false)
	if err := j.Group(1).Append([]journal.Entry{{Index: 1, Term: 1}, {Index: 2, Term: 1}, {Index: 5, Term: 1}}); err != nil {
		t.Fatal(err)
	}
	check(1, 0, true)
	check(1, 2, false) // entry 3 is in a gap
	check(1, 4, true)
	check(1, 5, true)
	check(1, 6, false)
	if err := j.Group(1).SetBase(10, 2); err != nil {
		t.Fatal(err)
	}
	check(1, 9, true)
	check(1, 10, false)
	if err := j.Group(1).Append([]journal.Entry{{Index: 10, Term: 2}}); err != nil {
		t.Fatal(err)
	}
	check(1, 9, true)
	check(1, 7, false) // what follows was cut
	check(2, 1, false)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// contents says what is in a directory.
func contents(t *testing.T, fs *testkit.CrashFS, dir string) string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		f, err := fs.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		b := make([]byte, size)
		if err == nil && size > 0 {
			_, err = f.ReadAt(b, 0)
		}
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		f.Close()
		fmt.Fprintf(&all, "%s %x\n", name, sha256.Sum256(b))
	}
	return all.String()
}
