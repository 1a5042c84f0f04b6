package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// keyedN makes ids that differ in few bits, as application keys do not, in two windows.
func keyedN(n int) KeyedRow {
	r := KeyedRow{KeyedID: KeyedID{Window: uint32(7 + n%2), Mailbox: uint64(n % 3), Sender: id16(byte(n % 5))}}
	binary.BigEndian.PutUint32(r.ID[12:], uint32(n))
	r.Seq, r.Tag = uint64(n)<<20, id16(byte(n))
	return r
}

// byWindow is the order in which a machine writes them.
func byWindow(a, b KeyedRow) int { return int(a.Window) - int(b.Window) }

// What is written in pieces, across flushes and compactions, is found, and nothing else is.
func TestKeyedIDsAreFound(t *testing.T) {
	fs := vfs.NewMem()
	s := openOn(t, fs, true)
	rng := rand.New(rand.NewPCG(3, 4))
	order := rng.Perm(4_000)
	absent := order[3_000:]
	index := 0
	for written := 0; written < 3_000; {
		n := min(1+rng.IntN(800), 3_000-written)
		var rows []KeyedRow
		for _, i := range order[written : written+n] {
			rows = append(rows, keyedN(i))
		}
		slices.SortStableFunc(rows, byWindow)
		index++
		flushed(t, s, 1, func(b *Batch) { b.PutKeyed(rows) })
		if written += n; index%4 == 0 {
			if err := s.dbs[State].Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeStores(t, s)
	s = openOn(t, fs, false) // the seed is the same again
	defer closeStores(t, s)
	r := s.Reader(1)
	for _, i := range order[:3_000] {
		want := keyedN(i)
		if got, err := r.Keyed(&want.KeyedID); err != nil || got != want.Keyed {
			t.Fatalf("id %d: %v, %v", i, got, err)
		}
	}
	for _, i := range absent {
		id := keyedN(i).KeyedID
		if got, err := r.Keyed(&id); !errors.Is(err, ErrNotFound) {
			t.Fatalf("id %d, which is not there: %v, %v", i, got, err)
		}
	}
	for _, change := range []func(*KeyedID){
		func(k *KeyedID) { k.Window ^= 15 }, func(k *KeyedID) { k.Mailbox += 3 },
		func(k *KeyedID) { k.Sender[15]++ }, func(k *KeyedID) { k.ID[0]++ },
	} {
		id := keyedN(order[0]).KeyedID
		change(&id)
		if got, err := r.Keyed(&id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v, %v", id, got, err)
		}
	}
	for window := range uint32(2) {
		seen := map[KeyedRow]bool{}
		if err := r.KeyedIDs(7+window, func(k *KeyedRow) error { seen[*k] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, i := range order[:3_000] {
			if k := keyedN(i); k.Window == 7+window {
				want++
				if !seen[k] {
					t.Fatalf("id %d is not listed", i)
				}
			}
		}
		if len(seen) != want {
			t.Errorf("window %d lists %d ids, want %d", 7+window, len(seen), want)
		}
	}
	flushed(t, s, 1, func(b *Batch) { b.DropDedup(7, 8) })
	for _, i := range order[:100] {
		k := keyedN(i)
		if _, err := r.Keyed(&k.KeyedID); (err == nil) != (k.Window == 8) {
			t.Errorf("id %d of window %d after window 7 was dropped: %v", i, k.Window, err)
		}
	}
}

// Two stores partition ids differently and write them in other pieces: they have the same rows and the same digest.
func TestDigestDoesNotKnowPartitions(t *testing.T) {
	digest := func(piece, change int) (d [32]byte, rows map[string]string) {
		s := openOn(t, vfs.NewMem(), true)
		defer closeStores(t, s)
		var all []KeyedRow
		for i := range 3_000 {
			k := keyedN(i)
			if i == change {
				k.Seq++
			}
			all = append(all, k)
		}
		slices.SortStableFunc(all, byWindow)
		for part := range slices.Chunk(all, piece) {
			b := s.NewBatch(1)
			b.PutKeyed(part)
			if err := errors.Join(b.Commit(mark(5), mark(5)), b.Close()); err != nil {
				t.Fatal(err)
			}
		}
		rows = map[string]string{}
		err := s.Reader(1).Rows(func(k, row []byte) error { rows[string(k)] = string(row); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if d, err = s.Reader(1).Digest(); err != nil {
			t.Fatal(err)
		}
		return d, rows
	}
	one, rows := digest(3_000, -1)
	if len(rows) != 3_001 {
		t.Errorf("%d rows of 3,000 ids and what is applied", len(rows))
	}
	other, otherRows := digest(7, -1)
	if one != other {
		t.Error("the digest depends on how ids were written")
	}
	for k, row := range rows {
		if otherRows[k] != row {
			t.Fatalf("row %x is %x, and %x in the other store", k, row, otherRows[k])
		}
	}
	if third, _ := digest(3_000, 1_234); third == one {
		t.Error("the digest does not see what is remembered of an id")
	}
}

// TestPartitionVectors holds the bytes of a seed and the hash, computed from docs/FORMATS.md by another program. With
// another hash a store would no longer find the ids that it has.
func TestPartitionVectors(t *testing.T) {
	row, err := hex.DecodeString("01" +
		"e220a8397b1dcdaf6e789e6aa1b965f406c45d188009454ff88bb8a8724c81ec1b39896a51a8749b53cb9f0c747ea2ea" +
		"2c829abe1f4532e1c584133ac916ab3c3ee5789041c98ac3f3b8488c368cb0a6657eecdd3cb13d09")
	seed := new(keyedSeed)
	if err := errors.Join(err, seed.decode(row)); err != nil {
		t.Fatal(err)
	}
	if len(row) != len(newKeyedSeed()) {
		t.Errorf("a seed is drawn with %d bytes, want %d", len(newKeyedSeed()), len(row))
	}
	for want, id := range map[uint16]*KeyedID{
		1809: {},
		248:  {Sender: id16(0), ID: id16(0)},
		947:  {Mailbox: 1, Sender: id16(1), ID: id16(2)},
		231:  {Mailbox: 1<<32 + 5, Sender: id16(200), ID: id16(17)},
		570:  {Mailbox: 1<<64 - 1, Sender: id16(255), ID: id16(128)},
	} {
		if got := seed.partition(id); got != want {
			t.Errorf("%+v belongs to partition %d, want %d", *id, got, want)
		}
		id.Window = 7 // which is not in the hash
		if got := seed.partition(id); got != want {
			t.Errorf("%+v belongs to partition %d, want %d", *id, got, want)
		}
	}
}

// Whatever ids have in common, every field and both halves of the mailbox's number, they are spread.
func TestPartitionsAreFilledAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	seed := new(keyedSeed)
	for i := range seed {
		seed[i] = rng.Uint64()
	}
	for name, differ := range map[string]func(k *KeyedID){
		"mailbox":      func(k *KeyedID) { k.Mailbox = rng.Uint64() & (1<<32 - 1) },
		"mailbox high": func(k *KeyedID) { k.Mailbox = rng.Uint64() << 32 },
		"sender":       func(k *KeyedID) { binary.BigEndian.PutUint32(k.Sender[4*rng.IntN(4):], rng.Uint32()) },
		"id":           func(k *KeyedID) { binary.BigEndian.PutUint32(k.ID[4*rng.IntN(4):], rng.Uint32()) },
	} {
		var counts [keyedPartitions]int
		for range 64 * keyedPartitions {
			var id KeyedID
			differ(&id)
			counts[seed.partition(&id)]++
		}
		if most := slices.Max(counts[:]); most > 64+8*8 {
			t.Errorf("%s: %d ids in one partition, of 64 on average", name, most)
		}
	}
}

// Rows are read while others come, are flushed and compacted: their memory is nobody else's.
func TestKeyedIDsAreReadWhileTheyAreWritten(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	const pieces, piece = 12, 1_000
	var written atomic.Int64
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for n := 0; n < pieces*piece; {
				if n = int(written.Load()); n == 0 {
					continue
				}
				for i := range 100 {
					want := keyedN(2 * (i * (n - 1) / 99))
					if got, err := s.Reader(1).Keyed(&want.KeyedID); err != nil || got != want.Keyed {
						t.Errorf("id %d: %v, %v", i, got, err)
						return
					}
				}
			}
		})
	}
	wait.Go(func() {
		for n := 0; n < pieces*piece; {
			n = int(written.Load())
			listed := 0
			if err := s.Reader(1).KeyedIDs(7, func(*KeyedRow) error { listed++; return nil }); err != nil || listed < n {
				t.Errorf("lists %d ids of %d, %v", listed, n, err)
				return
			}
		}
	})
	for p := range pieces {
		var rows []KeyedRow
		for i := range piece {
			rows = append(rows, keyedN(2*(p*piece+i)))
		}
		flushed(t, s, 1, func(b *Batch) { b.PutKeyed(rows) })
		if p%5 == 0 {
			if err := s.dbs[State].Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
				t.Fatal(err)
			}
		}
		written.Store(int64((p + 1) * piece))
	}
	wait.Wait()
}

// A bundle has so many ids at most; more of a partition make another.
func TestLongKeyedBundles(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	*s.seed = keyedSeed{} // which is what nobody draws: one partition for all
	rows := make([]KeyedRow, maxKeyedBundle+2)
	for i := range rows {
		rows[i] = keyedN(2 * i)
	}
	flushed(t, s, 1, func(b *Batch) { b.PutKeyed(rows) })
	for _, i := range []int{0, maxKeyedBundle - 1, maxKeyedBundle, maxKeyedBundle + 1} {
		if got, err := s.Reader(1).Keyed(&rows[i].KeyedID); err != nil || got != rows[i].Keyed {
			t.Errorf("id %d: %v, %v", i, got, err)
		}
	}
}

func TestDamagedKeyedRows(t *testing.T) {
	bundle := appendKeyedBundle(nil, []KeyedRow{keyedN(1)}, []uint32{0})
	id := keyedN(1).KeyedID
	for name, row := range map[string][]byte{
		"version":         slices.Concat([]byte{1}, bundle[1:]),
		"no ids":          {keyedVersion, 0, 0},
		"cut":             bundle[:len(bundle)-1],
		"a second bundle": slices.Concat(bundle, []byte{keyedVersion, 0}),
	} {
		s := openOn(t, vfs.NewMem(), true)
		if err := s.dbs[State].Merge(keyedKey(nil, 1, id.Window, s.seed.partition(&id)), row, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if name != "a second bundle" { // which nobody has to read for the first
			if _, err := s.Reader(1).Keyed(&id); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := s.Reader(1).Digest(); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: the digest says %v", name, err)
		}
		if err := s.Reader(1).KeyedIDs(id.Window, func(*KeyedRow) error { return nil }); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: the list says %v", name, err)
		}
		closeStores(t, s)
	}
}

// Without its seed a store would not find what it has.
func TestStoreWithoutSeed(t *testing.T) {
	for name, change := range map[string]func(*pebble.DB) error{
		"none":  func(db *pebble.DB) error { return db.Delete(seedKey(), pebble.NoSync) },
		"short": func(db *pebble.DB) error { return db.Set(seedKey(), newKeyedSeed()[:80], pebble.NoSync) },
	} {
		fs := vfs.NewMem()
		s := openOn(t, fs, true)
		if bytes.Equal(newKeyedSeed(), newKeyedSeed()) {
			t.Fatal("two seeds are one")
		}
		if err := errors.Join(change(s.dbs[State]), s.dbs[State].Flush()); err != nil {
			t.Fatal(err)
		}
		closeStores(t, s)
		if s, err := Open(optionsOn(t, fs)); err == nil {
			closeStores(t, s)
			t.Errorf("%s: opened", name)
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		} else if _, err := Inspect(optionsOn(t, fs), 1); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: to inspect: %v", name, err)
		}
	}
}

// BenchmarkKeyed looks for ids of a window that a group filled at 1,700 a second for ten minutes, half of which are
// there, and reads them all, as a start does.
func BenchmarkKeyed(b *testing.B) {
	fs := vfs.NewMem()
	s := openOn(b, fs, true)
	defer closeStores(b, s)
	const ids, piece = 1 << 20, 32 << 10
	for first := 0; first < ids; first += piece {
		rows := make([]KeyedRow, piece)
		for i := range rows {
			rows[i] = keyedN(2 * (first + i))
		}
		flushed(b, s, 1, func(batch *Batch) { batch.PutKeyed(rows) })
	}
	r := s.Reader(1)
	b.Run("find", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 2))
		for b.Loop() {
			k := keyedN(2 * rng.IntN(2*ids))
			if _, err := r.Keyed(&k.KeyedID); err != nil && !errors.Is(err, ErrNotFound) {
				b.Fatal(err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := r.KeyedIDs(7, func(*KeyedRow) error { n++; return nil }); err != nil || n != ids {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ids, "ns/id")
	})
}
