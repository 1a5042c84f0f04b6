package sealedfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

// What cannot be done with a sealed file is refused, and changes nothing.
func TestRefusals(t *testing.T) {
	fs := newSealedMem(t)
	create(t, fs.FS, "/000001.sst", pattern(3000))
	create(t, fs.FS, "/OPTIONS-000002", pattern(100))
	create(t, fs.FS, "/marker.format-version.000001.013", nil)
	before := snapshot(t, fs.mem, "/")
	open := func(name string) vfs.File {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	_, readWrite := fs.OpenReadWrite("/000001.sst", uncategorized)
	_, readWriteNew := fs.OpenReadWrite("/new", uncategorized)
	errs := map[string]error{
		"OpenReadWrite":          readWrite,
		"OpenReadWrite of new":   readWriteNew,
		"Link to another name":   fs.Link("/000001.sst", "/000002.sst"),
		"Rename to another name": fs.Rename("/000001.sst", "/000002.sst"),
		"Rename of OPTIONS":      fs.Rename("/OPTIONS-000002", "/OPTIONS-000003"),
	}
	for _, name := range []string{"/000001.sst", "/OPTIONS-000002", "/marker.format-version.000001.013"} {
		f := open(name)
		_, errs["Write to opened "+name] = f.Write([]byte("x"))
		_, errs["WriteAt to opened "+name] = f.WriteAt([]byte("x"), 0)
		errs["Preallocate of opened "+name] = f.Preallocate(0, 100)
		f.Close()
	}
	for what, err := range errs {
		if !errors.Is(err, vfs.ErrUnsupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if diff := difference(before, snapshot(t, fs.mem, "/")); diff != "" {
		t.Errorf("changed %s", diff)
	}
	for _, name := range []string{"/000003.sst", "/000004.log", "/other"} {
		f, err := fs.Create(name, uncategorized)
		if err != nil {
			t.Fatal(err)
		}
		_, readErr := f.Read(make([]byte, 1))
		_, readAtErr := f.ReadAt(make([]byte, 1), 0)
		_, writeAtErr := f.WriteAt([]byte("x"), 0)
		for _, err := range []error{readErr, readAtErr, writeAtErr} {
			if !errors.Is(err, vfs.ErrUnsupported) {
				t.Errorf("%s while it is written: %v", name, err)
			}
		}
		f.Close()
	}
}

func TestLockFileMustBeEmpty(t *testing.T) {
	fs := newSealedMem(t)
	create(t, fs.mem, "/LOCK", []byte("x"))
	if _, err := fs.Open("/LOCK"); !pebble.IsCorruptionError(err) {
		t.Errorf("a lock file with a byte in it: %v", err)
	}
	f, err := fs.Create("/LOCK", uncategorized)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("plaintext")); err == nil {
		t.Error("plaintext was written to a lock file")
	}
}

// A store that is cut back to nothing must not look like a new one.
func TestEmptyFilesAreDamage(t *testing.T) {
	for _, name := range names {
		fs := newSealedMem(t)
		create(t, fs.FS, "/"+name, pattern(1000))
		create(t, fs.mem, "/"+name, nil)
		if _, err := fs.Open("/" + name); !pebble.IsCorruptionError(err) {
			t.Errorf("%s emptied: %v", name, err)
		}
		if _, err := fs.Stat("/" + name); !pebble.IsCorruptionError(err) {
			t.Errorf("%s emptied, Stat: %v", name, err)
		}
	}
	// A manifest that was made but never written to was never pointed to either.
	fs := newSealedMem(t)
	f, err := fs.Create("/MANIFEST-000001", uncategorized)
	if err != nil {
		t.Fatal(err)
	}
	crashed := fs.over(fs.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand(1)}))
	f.Close()
	if _, err := crashed.Open("/MANIFEST-000001"); !pebble.IsCorruptionError(err) {
		t.Errorf("an empty manifest: %v", err)
	}
}

// A log that was not finished must not end like one that was: Pebble takes a plain end for a clean one.
func TestTornLogsShow(t *testing.T) {
	fs := newSealedMem(t)
	syncDir(t, fs, "/")
	f, err := fs.Create("/000002.log", uncategorized)
	if err != nil {
		t.Fatal(err)
	}
	write := func(n int) {
		if _, err := f.Write(pattern(n)); err != nil {
			t.Fatal(err)
		}
	}
	write(500)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	syncDir(t, fs, "/")
	synced := fs.over(fs.mem.CrashClone(vfs.CrashCloneCfg{}))
	write(500)
	torn := fs.over(fs.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand(2)}))
	f.Close()

	cut := snapshot(t, torn.mem, "/")["/000002.log"]
	create(t, torn.mem, "/000002.log", cut[:len(cut)-100])
	for name, fs := range map[string]*sealedMem{"synced": synced, "torn": torn} {
		got, err := read(fs.FS, "/000002.log")
		if err != nil || !bytes.HasPrefix(got, pattern(500)) || len(got) <= 500 ||
			len(bytes.Trim(got[500:], "\xff")) != 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if info, err := fs.Stat("/000002.log"); err != nil || info.Size() != 500 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if len(synced.torn) != 0 || torn.torn["/000002.log"] != int64(500+atrest.FrameOverhead-100) {
		t.Errorf("told of torn ends: %v, %v", synced.torn, torn.torn)
	}
	if got, err := read(fs.FS, "/000002.log"); err != nil || len(got) != 1000 {
		t.Errorf("finished: %d bytes, %v", len(got), err)
	}
}

// A log appears with its front durable, so no crash leaves one that cannot be judged.
func TestLogsAreBornWhole(t *testing.T) {
	for percent := 0; percent <= 100; percent += 5 {
		fs := newSealedMem(t)
		rng := newRand(uint64(percent))
		f, err := fs.Create("/000002.log", uncategorized)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := f.Write(pattern(1000)); err != nil {
				t.Fatal(err)
			}
			crashed := fs.over(fs.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
			if _, err := read(crashed.FS, "/000002.log"); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%d%%: %v", percent, err)
			}
		}
		f.Close()
	}
}

// faulty fails the write or sync that it is told to.
type faulty struct {
	vfs.FS
	mu     sync.Mutex
	writes int // fail when it reaches 0
	syncs  int
}

var errDisk = errors.New("disk failed")

func (f *faulty) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return &faultyFile{file, f}, err
}

func (f *faulty) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return &faultyFile{file, f}, err
}

func (f *faulty) next(n *int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *n--; *n == 0 {
		return errDisk
	}
	return nil
}

type faultyFile struct {
	vfs.File
	fs *faulty
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.fs.next(&f.fs.writes); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.fs.next(&f.fs.writes); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], offset)
		return n, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.next(&f.fs.syncs); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) SyncData() error { return f.Sync() }

// After a failed write or sync a handle never succeeds again, and the file never claims to be whole or durable beyond
// the last sync that did.
func TestFailedWritesStick(t *testing.T) {
	for _, name := range []string{"000001.sst", "000002.log", "MANIFEST-000003", "other"} {
		for fail := 1; fail <= 14; fail++ {
			for _, what := range []string{"write", "sync"} {
				fs := newSealedMem(t)
				disk := &faulty{FS: fs.mem}
				if what == "write" {
					disk.writes = fail
				} else {
					disk.syncs = fail
				}
				durable, err := writeUntilError(sealedfs.New(disk, fs.ring, fs.store, sealedfs.Options{ChunkLog2: 9}), "/"+name)
				got, readErr := read(fs.FS, "/"+name)
				got = bytes.TrimSuffix(got, bytes.Repeat([]byte{0xff}, 32)) // what shows a torn log
				switch {
				case err == nil && (readErr != nil || !bytes.Equal(got, pattern(4000))):
					t.Errorf("%s: nothing failed, but read %d bytes, %v", name, len(got), readErr)
				case err != nil && !errors.Is(err, errDisk):
					t.Errorf("%s, %s %d: %v", name, what, fail, err)
				case err != nil && readErr == nil && !bytes.HasPrefix(pattern(4000), got):
					t.Errorf("%s, %s %d failed: wrong bytes", name, what, fail)
				case err != nil && readErr == nil && len(got) < durable:
					t.Errorf("%s, %s %d failed: %d bytes of %d that were durable", name, what, fail, len(got), durable)
				case err != nil && readErr == nil && name == "other" && durable < 4000:
					t.Errorf("%s, %s %d failed, but the file passes for finished", name, what, fail)
				}
			}
		}
	}
}

// writeUntilError writes 4000 bytes, syncing after every 1000, and returns how many were durable at the first error. It
// checks that every later call fails too.
func writeUntilError(fs vfs.FS, name string) (durable int, first error) {
	f, err := fs.Create(name, uncategorized)
	if err != nil {
		return 0, err
	}
	check := func(err error) {
		if first != nil && err == nil {
			first = fmt.Errorf("a call succeeded after %v", first)
		} else if first == nil {
			first = err
		}
	}
	for n := 500; n <= 4000; n += 500 {
		_, err := f.Write(pattern(4000)[n-500 : n])
		check(err)
		if n%1000 == 0 {
			check(f.SyncData())
			if first == nil {
				durable = n
			}
		}
	}
	check(f.Close())
	return durable, first
}

// The methods of the file system that Pebble calls, through every operation that stores use. A new one in another
// version of Pebble must be looked at before it is trusted.
func TestMethodsThatPebbleCalls(t *testing.T) {
	fs := newSealedMem(t)
	var mu sync.Mutex
	called := map[string]bool{}
	logged := vfs.WithLogging(fs.FS, func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		called[strings.FieldsFunc(format, func(r rune) bool { return r == ':' || r == '(' })[0]] = true
	})
	opts := pebbleOptions(logged)
	opts.DisableAutomaticCompactions = false
	db, err := pebble.Open("/db", opts)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		for i := range 200 {
			if err := db.Set(key(i+100*round), value(i+100*round), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Compact(t.Context(), key(0), key(1000), true); err != nil {
		t.Fatal(err)
	}
	if err := db.Checkpoint("/checkpoint", pebble.WithFlushedWAL()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(func(yield func(string) bool) {
		for name := range called {
			if !yield(name) {
				return
			}
		}
	})
	want := []string{"close", "create", "link", "lock", "mkdir-all", "open", "open-dir",
		"read-at", "remove", "rename", "reuseForWrite", "sync", "sync-data"}
	if !slices.Equal(got, want) {
		t.Errorf("Pebble calls %q, want %q", got, want)
	}
	checkpoint := pebbleOptions(fs.FS)
	checkpoint.ErrorIfNotExists = true
	if db, err = pebble.Open("/checkpoint", checkpoint); err != nil {
		t.Fatal(err)
	}
	if n := checkPrefix(t, db, 600); n != 600 {
		t.Errorf("checkpoint holds %d entries", n)
	}
	db.Close()
}

// A marker may move on between the listing and the look at it: then it is not there, which is no damage.
func TestListWhileAMarkerMoves(t *testing.T) {
	fs := newSealedMem(t)
	create(t, fs.FS, "/marker.manifest.000002.MANIFEST-000009", nil)
	moving := sealedfs.New(ghostLister{fs.mem}, fs.ring, fs.store, sealedfs.Options{})
	names, err := moving.List("/")
	if err != nil || !slices.Equal(names, []string{"marker.manifest.000002.MANIFEST-000009"}) {
		t.Errorf("listed %q, %v", names, err)
	}
}

// ghostLister lists a marker that is gone.
type ghostLister struct{ vfs.FS }

func (g ghostLister) List(dir string) ([]string, error) {
	names, err := g.FS.List(dir)
	return append([]string{"marker.manifest.000001.MANIFEST-000001"}, names...), err
}
