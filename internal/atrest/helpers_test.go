package atrest

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"
)

func newTestRoot(t testing.TB) Root {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	if err := NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	root, err := KeyFileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func newTestRings(t testing.TB) *Rings {
	t.Helper()
	rings, err := NewRings(newTestRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	return rings
}

func newTestFile(t testing.TB, mode Mode, chunkLog2 uint8) (*File, []byte) {
	t.Helper()
	f, header, err := newTestRings(t).Ring(RingMessages).NewFile(mode, NewStoreID(StoreState), chunkLog2, "000001.sst")
	if err != nil {
		t.Fatal(err)
	}
	return f, header
}

// isRefusal reports whether err is one of the two ways in which untrusted bytes are refused.
func isRefusal(err error) bool { return errors.Is(err, ErrDamaged) || errors.Is(err, ErrVersion) }

// flipped returns b with one byte changed.
func flipped(b []byte, at int) []byte {
	c := bytes.Clone(b)
	c[at] ^= 1 << (at % 8)
	return c
}

// pattern returns n bytes in which every run of a few tells its place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}

// buffer is a file in memory.
type buffer struct{ b []byte }

func (f *buffer) WriteAt(p []byte, offset int64) (int, error) {
	if grow := int(offset) + len(p) - len(f.b); grow > 0 {
		f.b = append(f.b, make([]byte, grow)...)
	}
	return copy(f.b[offset:], p), nil
}

func (f *buffer) Write(p []byte) (int, error) { return f.WriteAt(p, int64(len(f.b))) }

func readAll(r io.ReaderAt, size int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(r, 0, size))
}
