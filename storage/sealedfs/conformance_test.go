package sealedfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

// conformance is what Pebble may expect of a file system, method by method. Each case runs on plain file systems too,
// to prove that it asks for nothing but what they do.
var conformance = []struct {
	name string
	run  func(t *testing.T, fs vfs.FS, dir string)
}{
	{"Create, Write, Sync, Close, Open, Read", testWriteAndRead},
	{"Create takes a new inode", testCreateAgain},
	{"Stat is of the plaintext", testStat},
	{"ReadAt", testReadAt},
	{"Write may come in any pieces and its buffer be used again", testWritePieces},
	{"Sync in the middle", testSyncInTheMiddle},
	{"SyncingFile", testSyncingFile},
	{"SyncTo, SyncData, Preallocate, Prefetch, Fd, OpenOption", testHints},
	{"what is missing", testMissing},
	{"Remove, RemoveAll, MkdirAll, List", testDirectories},
	{"Link to the same name", testLink},
	{"LinkOrCopy to another name", testLinkOrCopy},
	{"Rename a temporary file to OPTIONS", testRename},
	{"ReuseForWrite", testReuse},
	{"OpenDir, Open of a directory, Clone", testClone},
	{"Lock", testLock},
	{"markers", testMarkers},
	{"paths and disk usage", testPaths},
}

// names are one of each kind that holds bytes.
var names = []string{
	"000004.sst", "000005.blob", "MANIFEST-000001", "OPTIONS-000003", "000002.log", "temporary.000007.dbtmp", "other",
}

// sizes lie around the borders of chunks and frames.
var sizes = []int{1, 355, 356, 357, 840, 5000, 64<<10 + 1}

func TestConformance(t *testing.T) {
	ring, store := newRing(t), atrest.NewStoreID(atrest.StoreState)
	seal := func(inner vfs.FS) vfs.FS { return sealedfs.New(inner, ring, store, sealedfs.Options{ChunkLog2: 9}) }
	onDisk := func(t *testing.T) (vfs.FS, string) { return vfs.Default, t.TempDir() }
	inMemory := func(t *testing.T) (vfs.FS, string) {
		mem := vfs.NewCrashableMem()
		return mem, "/"
	}
	for _, inner := range []struct {
		name string
		make func(*testing.T) (vfs.FS, string)
	}{{"disk", onDisk}, {"memory", inMemory}} {
		for _, tt := range conformance {
			t.Run(inner.name+"/plain/"+tt.name, func(t *testing.T) {
				fs, dir := inner.make(t)
				tt.run(t, fs, dir)
			})
			t.Run(inner.name+"/sealed/"+tt.name, func(t *testing.T) {
				fs, dir := inner.make(t)
				tt.run(t, seal(fs), dir)
				for name, b := range snapshot(t, fs, dir) {
					if bytes.Contains(b, pattern(64)) {
						t.Errorf("%s holds plaintext", name)
					}
				}
			})
		}
	}
}

func testWriteAndRead(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range names {
		for _, size := range sizes {
			path := fs.PathJoin(dir, name)
			create(t, fs, path, pattern(size))
			got, err := read(fs, path)
			if err != nil || !bytes.Equal(got, pattern(size)) {
				t.Fatalf("%s of %d: %d bytes, %v", name, size, len(got), err)
			}
			f, err := fs.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(io.NewSectionReader(f, 0, int64(size)), pattern(size)); err != nil {
				t.Errorf("%s of %d: %v", name, size, err)
			}
			if n, err := f.Read(nil); n != 0 || err != nil {
				t.Errorf("%s: empty read: %d, %v", name, n, err)
			}
			f.Close()
		}
	}
}

func testCreateAgain(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		create(t, fs, path, pattern(3000))
		old, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		create(t, fs, path, pattern(100))
		if got, err := read(fs, path); err != nil || len(got) != 100 {
			t.Errorf("%s made again: %d bytes, %v", name, len(got), err)
		}
		if got, err := io.ReadAll(old); err != nil || len(got) != 3000 {
			t.Errorf("%s, handle of the old file: %d bytes, %v", name, len(got), err)
		}
		old.Close()
	}
}

func testStat(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range names {
		for _, size := range sizes {
			path := fs.PathJoin(dir, name)
			f, err := fs.Create(path, uncategorized)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(pattern(size)); err != nil {
				t.Fatal(err)
			}
			if info, err := f.Stat(); err != nil || info.Size() != int64(size) {
				t.Errorf("%s of %d, while it is written: %v, %v", name, size, info, err)
			}
			if err := errors.Join(f.Sync(), f.Close()); err != nil {
				t.Fatal(err)
			}
			info, err := fs.Stat(path)
			if err != nil || info.Size() != int64(size) || info.IsDir() || info.Name() != name {
				t.Fatalf("%s of %d, by path: %v, %v", name, size, info, err)
			}
			_ = info.DeviceID()
			if f, err = fs.Open(path); err != nil {
				t.Fatal(err)
			}
			if info, err := f.Stat(); err != nil || info.Size() != int64(size) {
				t.Errorf("%s of %d, opened: %v, %v", name, size, info, err)
			}
			f.Close()
		}
	}
	if info, err := fs.Stat(dir); err != nil || !info.IsDir() {
		t.Errorf("directory: %v, %v", info, err)
	}
}

func testReadAt(t *testing.T, fs vfs.FS, dir string) {
	const size = 5000
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		create(t, fs, path, pattern(size))
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, offset := range []int{0, 1, 355, 356, 900, 4990, size, size + 100} {
			for _, n := range []int{1, 100, 484, 1500, 6000} {
				p := make([]byte, n)
				got, err := f.ReadAt(p, int64(offset))
				want := min(max(size-offset, 0), n)
				if got != want || (err == io.EOF) != (want < n) || err != nil && err != io.EOF {
					t.Fatalf("%s: %d bytes at %d: %d, %v", name, n, offset, got, err)
				}
				if !bytes.Equal(p[:got], pattern(size)[min(offset, size):][:got]) {
					t.Fatalf("%s: %d bytes at %d: wrong bytes", name, n, offset)
				}
			}
		}
		f.Close()
	}
}

func testWritePieces(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range names {
		for _, piece := range []int{1, 7, 484, 512, 4096, 70_000} {
			path := fs.PathJoin(dir, name)
			f, err := fs.Create(path, uncategorized)
			if err != nil {
				t.Fatal(err)
			}
			want := pattern(min(200*piece, 150_000))
			buf := make([]byte, piece)
			for rest := want; len(rest) > 0; {
				n := copy(buf, rest)
				if got, err := f.Write(buf[:n]); got != n || err != nil {
					t.Fatalf("%s: wrote %d of %d: %v", name, got, n, err)
				}
				for i := range buf {
					buf[i] = 0xee
				}
				rest = rest[n:]
			}
			if err := f.Close(); err != nil { // no sync before
				t.Fatal(err)
			}
			if got, err := read(fs, path); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s in pieces of %d: %d of %d bytes, %v", name, piece, len(got), len(want), err)
			}
		}
	}
}

func testSyncInTheMiddle(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		f, err := fs.Create(path, uncategorized)
		if err != nil {
			t.Fatal(err)
		}
		want := pattern(5000)
		for at := 0; at < len(want); at += 250 {
			if _, err := f.Write(bytes.Clone(want[at : at+250])); err != nil {
				t.Fatal(err)
			}
			sync := f.Sync
			if at%500 == 0 {
				sync = f.SyncData
			}
			if err := errors.Join(sync(), sync()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := read(fs, path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// Pebble wraps what it writes in a file that syncs now and then.
func testSyncingFile(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range []string{"000004.sst", "000002.log"} {
		path := fs.PathJoin(dir, name)
		f, err := fs.Create(path, uncategorized)
		if err != nil {
			t.Fatal(err)
		}
		f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: 100 << 10, PreallocateSize: 50 << 10})
		want := pattern(2 << 20)
		for at := 0; at < len(want); at += 32 << 10 {
			if _, err := f.Write(bytes.Clone(want[at : at+32<<10])); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := read(fs, path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func testHints(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		f, err := fs.Create(path, uncategorized)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Preallocate(0, 1<<20); err != nil {
			t.Errorf("%s: Preallocate: %v", name, err)
		}
		if _, err := f.Write(pattern(5000)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.SyncTo(2000); err != nil {
			t.Errorf("%s: SyncTo: %v", name, err)
		}
		if err := errors.Join(f.SyncData(), f.Close()); err != nil {
			t.Fatal(err)
		}
		for _, option := range []vfs.OpenOption{vfs.RandomReadsOption, vfs.SequentialReadsOption} {
			applied := 0
			f, err := fs.Open(path, option, appliedOption{&applied})
			if err != nil {
				t.Fatal(err)
			}
			// Only a hint, and Pebble 2.1.7 gives an error with number 0 on Linux where it succeeded.
			for _, offset := range []int64{0, 4000, 9000} {
				_ = f.Prefetch(offset, 1500)
			}
			_ = f.Fd()
			b, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(b, pattern(5000)) {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
			f.Close()
			if _, onDisk := vfs.Root(fs).(*vfs.MemFS); !onDisk && applied != 1 {
				t.Errorf("%s: the open option was applied %d times", name, applied)
			}
		}
	}
}

type appliedOption struct{ n *int }

func (o appliedOption) Apply(vfs.File) { *o.n++ }

func testMissing(t *testing.T, fs vfs.FS, dir string) {
	for _, name := range append([]string{"marker.manifest.000001.MANIFEST-000001", "LOCK"}, names...) {
		path, other := fs.PathJoin(dir, name), fs.PathJoin(dir, "sub", name)
		_, openErr := fs.Open(path)
		_, statErr := fs.Stat(path)
		_, reuseErr := fs.ReuseForWrite(path, fs.PathJoin(dir, "000009.log"), uncategorized)
		_, createErr := fs.Create(other, uncategorized)
		for what, err := range map[string]error{
			"Open": openErr, "Stat": statErr, "ReuseForWrite": reuseErr, "Create in a missing directory": createErr,
			"Remove": fs.Remove(path), "Rename": fs.Rename(path, other), "Link": fs.Link(path, other),
		} {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
	if err := fs.RemoveAll(fs.PathJoin(dir, "missing")); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
}

func testDirectories(t *testing.T, fs vfs.FS, dir string) {
	sub := fs.PathJoin(dir, "a")
	if err := fs.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		create(t, fs, fs.PathJoin(sub, name), pattern(10))
	}
	list := func() []string {
		got, err := fs.List(sub)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	want := slices.Sorted(slices.Values(names))
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if err := fs.Remove(fs.PathJoin(sub, want[0])); err != nil {
		t.Fatal(err)
	}
	if got := list(); !slices.Equal(got, want[1:]) {
		t.Errorf("listed %q, want %q", got, want[1:])
	}
	if err := fs.Remove(sub); err == nil {
		t.Error("removed a directory that is not empty")
	}
	if err := fs.RemoveAll(sub); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(sub); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after RemoveAll: %v", err)
	}
}

func testLink(t *testing.T, fs vfs.FS, dir string) {
	sub := fs.PathJoin(dir, "checkpoint")
	if err := fs.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		from, to := fs.PathJoin(dir, name), fs.PathJoin(sub, name)
		create(t, fs, from, pattern(3000))
		if err := fs.Link(from, to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := fs.Link(from, to); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: linked over a file: %v", name, err)
		}
		if err := fs.Remove(from); err != nil {
			t.Fatal(err)
		}
		if got, err := read(fs, to); err != nil || !bytes.Equal(got, pattern(3000)) {
			t.Errorf("%s: linked: %d bytes, %v", name, len(got), err)
		}
	}
}

// An ingested table comes in under another name.
func testLinkOrCopy(t *testing.T, fs vfs.FS, dir string) {
	from, to, taken := fs.PathJoin(dir, "ingest-1.sst"), fs.PathJoin(dir, "000009.sst"), fs.PathJoin(dir, "000010.sst")
	create(t, fs, from, pattern(3000))
	create(t, fs, taken, pattern(5))
	if err := vfs.LinkOrCopy(fs, from, to); err != nil {
		t.Fatal(err)
	}
	if got, err := read(fs, to); err != nil || !bytes.Equal(got, pattern(3000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := vfs.LinkOrCopy(fs, from, taken); !errors.Is(err, os.ErrExist) {
		t.Errorf("linked or copied over a file: %v", err)
	}
	if got, err := read(fs, taken); err != nil || len(got) != 5 {
		t.Errorf("the file that was there: %d bytes, %v", len(got), err)
	}
	missing := fs.PathJoin(dir, "missing.sst")
	if err := vfs.LinkOrCopy(fs, missing, fs.PathJoin(dir, "1.sst")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("linked or copied a missing file: %v", err)
	}
}

func testRename(t *testing.T, fs vfs.FS, dir string) {
	from, to := fs.PathJoin(dir, "temporary.000003.dbtmp"), fs.PathJoin(dir, "OPTIONS-000003")
	for _, size := range []int{3000, 10} { // the second time over the first
		create(t, fs, from, pattern(size))
		if err := fs.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		if got, err := read(fs, to); err != nil || !bytes.Equal(got, pattern(size)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := fs.Stat(from); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the old name: %v", err)
		}
	}
	archive := fs.PathJoin(dir, "archive")
	if err := fs.MkdirAll(archive, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names { // as Pebble's archiving cleaner does
		create(t, fs, fs.PathJoin(dir, name), pattern(100))
		if err := fs.Rename(fs.PathJoin(dir, name), fs.PathJoin(archive, name)); err != nil {
			t.Fatal(err)
		}
		if got, err := read(fs, fs.PathJoin(archive, name)); err != nil || len(got) != 100 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	moved := fs.PathJoin(dir, "moved")
	if err := fs.Rename(archive, moved); err != nil {
		t.Fatal(err)
	}
	if got, err := read(fs, fs.PathJoin(moved, names[0])); err != nil || len(got) != 100 {
		t.Errorf("in a renamed directory: %d bytes, %v", len(got), err)
	}
}

func testReuse(t *testing.T, fs vfs.FS, dir string) {
	from, to := fs.PathJoin(dir, "000002.log"), fs.PathJoin(dir, "000005.log")
	create(t, fs, from, pattern(3000))
	f, err := fs.ReuseForWrite(from, to, uncategorized)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(pattern(5000)); err != nil { // more than the old file held: nothing of it may show
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := read(fs, to); err != nil || !bytes.Equal(got, pattern(5000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := fs.Stat(from); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
}

func testClone(t *testing.T, fs vfs.FS, dir string) {
	from, to := fs.PathJoin(dir, "from"), fs.PathJoin(dir, "to")
	if err := fs.MkdirAll(fs.PathJoin(from, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		create(t, fs, fs.PathJoin(from, name), pattern(2000))
	}
	create(t, fs, fs.PathJoin(from, "sub", "000001.sst"), pattern(10))
	create(t, fs, fs.PathJoin(from, "marker.format-version.000001.013"), nil)
	create(t, fs, fs.PathJoin(from, "LOCK"), nil)
	if ok, err := vfs.Clone(fs, fs, from, to, vfs.CloneSync); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if diff := difference(snapshot(t, fs, from), moved(snapshot(t, fs, to), to, from)); diff != "" {
		t.Errorf("clone differs in %s", diff)
	}
	f, err := fs.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		t.Errorf("opened directory: %v, %v", info, err)
	}
	syncDir(t, fs, to)
}

func moved(files map[string][]byte, from, to string) map[string][]byte {
	out := map[string][]byte{}
	for name, b := range files {
		out[to+name[len(from):]] = b
	}
	return out
}

func testLock(t *testing.T, fs vfs.FS, dir string) {
	path := fs.PathJoin(dir, "LOCK")
	lock, err := fs.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := fs.Lock(path); err == nil {
		again.Close()
		t.Error("locked twice")
	}
	if b, err := read(fs, path); err != nil || len(b) != 0 {
		t.Errorf("lock file holds %d bytes, %v", len(b), err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if lock, err = fs.Lock(path); err != nil {
		t.Fatalf("lock again: %v", err)
	}
	lock.Close()
}

func testMarkers(t *testing.T, fs vfs.FS, dir string) {
	marker, value, err := atomicfs.LocateMarker(fs, dir, "manifest")
	if err != nil || value != "" {
		t.Fatal(value, err)
	}
	for i := range 4 {
		want := fmt.Sprintf("MANIFEST-%06d", 10+i)
		if err := marker.Move(want); err != nil {
			t.Fatal(err)
		}
		if got, err := atomicfs.ReadMarker(fs, dir, "manifest"); err != nil || got != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	}
	if err := errors.Join(marker.RemoveObsolete(), marker.Close()); err != nil {
		t.Fatal(err)
	}
	if names, err := fs.List(dir); err != nil || !slices.Equal(names, []string{"marker.manifest.000004.MANIFEST-000013"}) {
		t.Errorf("left: %q, %v", names, err)
	}
	if b, err := read(fs, fs.PathJoin(dir, "marker.manifest.000004.MANIFEST-000013")); err != nil || len(b) != 0 {
		t.Errorf("a marker holds %d bytes, %v", len(b), err)
	}
	if info, err := fs.Stat(fs.PathJoin(dir, "marker.manifest.000004.MANIFEST-000013")); err != nil || info.Size() != 0 {
		t.Errorf("a marker's size: %v, %v", info, err)
	}
}

func testPaths(t *testing.T, fs vfs.FS, dir string) {
	path := fs.PathJoin(dir, "a", "b.sst")
	if fs.PathBase(path) != "b.sst" || fs.PathDir(path) != fs.PathJoin(dir, "a") {
		t.Errorf("%s: %s, %s", path, fs.PathBase(path), fs.PathDir(path))
	}
	usage, err := fs.GetDiskUsage(dir)
	if err == nil && usage.TotalBytes == 0 || err != nil && !errors.Is(err, vfs.ErrUnsupported) {
		t.Errorf("disk usage %+v, %v", usage, err)
	}
	if root := vfs.Root(fs); root.Unwrap() != nil {
		t.Errorf("root is %T", root)
	}
}
