package sealedfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func key(i int) []byte { return fmt.Appendf(nil, "mailbox/%06d", i) }

func value(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "value %d;", i), 20) }

// checkPrefix reads the store and fails unless it holds keys 0 to n-1 for some n of at least least, and nothing else.
func checkPrefix(t *testing.T, db *pebble.DB, least int) int {
	t.Helper()
	iter, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for valid := iter.First(); valid; valid = iter.Next() {
		if !bytes.Equal(iter.Key(), key(n)) || !bytes.Equal(iter.Value(), value(n)) {
			t.Fatalf("entry %d is %q = %q", n, iter.Key(), iter.Value())
		}
		n++
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		t.Fatal(err)
	}
	if n < least {
		t.Fatalf("%d entries are left of at least %d that were durable", n, least)
	}
	return n
}

// At random moments the power goes off, keeping 0 to 100 % of what was not synced. What was durable must be there, and
// no crash may look like damage.
func TestCrash(t *testing.T) {
	for _, wal := range []bool{true, false} {
		for _, percent := range []int{0, 10, 50, 90, 100} {
			t.Run(fmt.Sprintf("wal=%v/%d%%", wal, percent), func(t *testing.T) { crashOften(t, wal, percent) })
		}
	}
}

func crashOften(t *testing.T, wal bool, percent int) {
	rng := rand.New(rand.NewPCG(uint64(percent), 7))
	fs := newSealedMem(t)
	if err := fs.MkdirAll("/db", 0o755); err != nil {
		t.Fatal(err)
	}
	syncDir(t, fs, "/")
	written, durable := 0, 0
	for round := range 12 {
		opts := pebbleOptions(fs.FS)
		opts.DisableWAL = !wal
		opts.DisableAutomaticCompactions = false
		opts.ErrorIfNotExists = durable > 0
		db, err := pebble.Open("/db", opts)
		if err != nil {
			t.Fatalf("round %d: opening after a crash: %v", round, err)
		}
		written = checkPrefix(t, db, durable)
		var crashed *vfs.MemFS
		steps := 20 + rng.IntN(200)
		crashAt := rng.IntN(steps)
		for step := range steps {
			sync := wal && rng.IntN(8) == 0
			writeOpts := pebble.NoSync
			if sync {
				writeOpts = pebble.Sync
			}
			if err := db.Set(key(written), value(written), writeOpts); err != nil {
				t.Fatal(err)
			}
			written++
			flushed := rng.IntN(40) == 0
			if flushed {
				if err := db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			if crashed == nil && (sync || flushed) {
				durable = written
			}
			if step == crashAt {
				crashed = fs.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		fs = fs.over(crashed)
	}
}

func syncDir(t testing.TB, fs vfs.FS, name string) {
	t.Helper()
	d, err := fs.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// buildStore makes a store with a table, a log, a manifest that was not closed, and everything else Pebble keeps, as a
// process that was killed leaves it.
func buildStore(t *testing.T) (*sealedMem, map[string][]byte) {
	t.Helper()
	fs := newSealedMem(t)
	opts := pebbleOptions(fs.FS)
	opts.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 100, MaxBlobReferenceDepth: 10}
	}
	db, err := pebble.Open("/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := db.Set(key(i), value(i), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if i == 20 || i == 30 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	killed := fs.over(fs.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return killed, snapshot(t, killed.mem, "/")
}

// openWhole opens the store, reads all of it and says how many entries it holds.
func openWhole(fs *sealedMem) (n int, err error) {
	opts := pebbleOptions(fs.FS)
	opts.ErrorIfNotExists = true
	opts.ReadOnly = true
	db, err := pebble.Open("/db", opts)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	iter, err := db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		if !bytes.Equal(iter.Key(), key(n)) || !bytes.Equal(iter.Value(), value(n)) {
			return n, fmt.Errorf("WRONG DATA: entry %d is %q", n, iter.Key())
		}
		n++
	}
	return n, errors.Join(iter.Error(), iter.Close())
}
