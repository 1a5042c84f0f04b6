package sealedfs_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sort"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

const uncategorized = vfs.WriteCategoryUnspecified

func newRing(t testing.TB) *atrest.Ring {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	if err := atrest.NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	root, err := atrest.KeyFileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	rings, err := atrest.NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	return rings.Ring(atrest.RingMessages)
}

// sealedMem is a sealed file system over a crashable one in memory. Small chunks make small files have several.
type sealedMem struct {
	vfs.FS
	mem   *vfs.MemFS
	ring  *atrest.Ring
	store atrest.StoreID
	torn  map[string]int64
}

func newSealedMem(t testing.TB) *sealedMem {
	s := &sealedMem{mem: vfs.NewCrashableMem(), ring: newRing(t), store: atrest.NewStoreID(atrest.StoreState)}
	return s.over(s.mem)
}

// over returns the same keys over another file system.
func (s *sealedMem) over(mem *vfs.MemFS) *sealedMem {
	c := &sealedMem{mem: mem, ring: s.ring, store: s.store, torn: map[string]int64{}}
	c.FS = sealedfs.New(mem, s.ring, s.store, sealedfs.Options{
		ChunkLog2: 9,
		TornTail:  func(path string, n int64) { c.torn[path] = n },
	})
	return c
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*11 + i>>8*17 + i>>16)
	}
	return b
}

func create(t testing.TB, fs vfs.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(name, uncategorized)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(content)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// snapshot returns every file below dir with its bytes.
func snapshot(t testing.TB, fs vfs.FS, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	var walk func(string)
	walk = func(path string) {
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !info.IsDir() {
			b, err := read(fs, path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = b
			return
		}
		names, err := fs.List(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			walk(fs.PathJoin(path, name))
		}
	}
	walk(dir)
	return files
}

func restore(t testing.TB, fs vfs.FS, files map[string][]byte) {
	t.Helper()
	for path, b := range files {
		if err := fs.MkdirAll(fs.PathDir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		create(t, fs, path, b)
	}
}

// difference names the first file that differs, "" if none does.
func difference(a, b map[string][]byte) string {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		before, inA := a[name]
		after, inB := b[name]
		if inA != inB || !bytes.Equal(before, after) {
			return fmt.Sprintf("%s (%v %d bytes, %v %d bytes)", name, inA, len(before), inB, len(after))
		}
	}
	return ""
}

// pebbleOptions are those of a small store on fs.
func pebbleOptions(fs vfs.FS) *pebble.Options {
	return &pebble.Options{
		FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}, MemTableSize: 64 << 10,
		DisableAutomaticCompactions: true,
		// By default Pebble ends the process when it meets corruption.
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
