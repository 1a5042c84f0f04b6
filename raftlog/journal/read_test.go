package journal_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// One call's entries may be more than one flush takes; entries may be larger than a segment.
func TestLargeAppends(t *testing.T) {
	o := options(t, testkit.NewCrashFS())
	j := openNew(t, o)
	g := j.Group(1)
	rng := rand.New(rand.NewPCG(1, 1))
	var entries []journal.Entry
	for i, size := range []int{0, 32_684, 32_685, 1 << 20, 65_392, 65_393, 3 << 20, 1, 2 << 20, 32_708} {
		entries = append(entries, journal.Entry{Index: uint64(i + 1), Term: 1, Data: randomData(rng, size)})
	}
	if err := g.Append(entries); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		g = j.Group(1)
		for _, e := range entries {
			got, err := g.Entry(e.Index)
			if err != nil || !bytes.Equal(got.Data, e.Data) {
				t.Fatalf("entry of %d bytes: %v", len(e.Data), err)
			}
			for range 20 {
				off := rng.IntN(len(e.Data) + 1)
				n := rng.IntN(len(e.Data) - off + 1)
				if part, err := g.ReadAt(e.Index, 1, off, n); err != nil || !bytes.Equal(part, e.Data[off:off+n]) {
					t.Fatalf("%d bytes at %d of %d: %v", n, off, len(e.Data), err)
				}
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if j, err = journal.Open(o); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
}

// More closed segments than are kept open, read by many while one goes on appending.
func TestReadersOfManySegments(t *testing.T) {
	o := options(t, testkit.NewCrashFS())
	j := openNew(t, o)
	g := j.Group(1)
	const entries = 400
	data := func(i uint64) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 6000) }
	write := func(from, to uint64) error {
		for i := from; i <= to; i++ {
			if err := g.Append([]journal.Entry{{Index: i, Term: i / 7, Data: data(i)}}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(1, entries/2); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := write(entries/2+1, entries); err != nil {
			t.Error(err)
		}
	})
	for seed := range uint64(3) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 9))
			for range 300 {
				i := 1 + rng.Uint64N(g.LastIndex())
				part, err := g.ReadAt(i, i/7, 5000, 2000)
				if err != nil || !bytes.Equal(part, data(i)[5000:7000]) {
					t.Errorf("entry %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := j.Stats().Segments; n < 70 {
		t.Errorf("only %d segments", n)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Entry(1); err != nil && !errors.Is(err, journal.ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
}

// Damage in a closed segment that Open did not read whole is found when it is read, and is no one else's.
func TestDamageFoundByReading(t *testing.T) {
	files := testkit.NewCrashFS()
	o := options(t, files)
	o.VerifyBytes = -1
	j := openNew(t, o)
	for i := range uint64(30) {
		appendOne(t, j, i+1, specimenData[:20_000])
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, "0000000000000003.seg")
	b, err := files.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[1024+9000] ^= 1
	if err := files.WriteFile(path, b); err != nil {
		t.Fatal(err)
	}
	if j, err = journal.Open(o); err != nil {
		t.Fatal(err)
	}
	bad := 0
	for i := range uint64(30) {
		_, err := j.Group(1).Entry(i + 1)
		var d *journal.DamagedError
		if errors.As(err, &d) {
			bad++
			if d.File != path || d.Offset != 1024 {
				t.Errorf("entry %d: %v, want offset 1024 of %s", i+1, d, path)
			}
		} else if err != nil {
			t.Error(err)
		}
	}
	if bad != 1 {
		t.Errorf("%d entries are damaged, want 1", bad)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o.VerifyBytes = 0
	if j, err = journal.Open(o); err == nil {
		j.Close()
		t.Error("a journal that is verified whole opens with damage in it")
	}
}
