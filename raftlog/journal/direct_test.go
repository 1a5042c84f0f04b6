package journal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestGrowAligned(t *testing.T) {
	var b []byte
	for _, n := range []int{0, 1, 511, unitBytes, 4095, 4096, 4097, 1 << 20, 100} {
		b = growAligned(b, n)
		if len(b) != 0 || cap(b) < n || misaligned(b[:1]) != 0 {
			t.Errorf("for %d: %d of %d at %d", n, len(b), cap(b), misaligned(b[:1]))
		}
	}
	if again := growAligned(b, 1<<20); &again[:1][0] != &b[:1][0] {
		t.Error("memory that is large enough is not used again")
	}
}

// TestDirectWritesAreRead: what goes past the page cache is what a reader finds that has looked there before, also
// beside what went through the page cache.
func TestDirectWritesAreRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	const size = 1 << 20
	made, err := OSFS().Create(name, size)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	f, err := OSFS().OpenWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader, err := OSFS().Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()

	random := rand.New(rand.NewPCG(1, 1))
	want, got := make([]byte, size), make([]byte, size)
	memory := growAligned(nil, 128<<10)
	for i := range 200 {
		b := memory[:(1+random.IntN(200))*unitBytes]
		off := random.IntN((size-len(b))/unitBytes) * unitBytes
		switch i % 4 {
		case 2: // memory that direct writes refuse
			b = b[unitBytes/2 : len(b)-unitBytes/2]
		case 3: // a place that they refuse
			off++
		}
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		if err := writeFull(f, b, int64(off)); err != nil {
			t.Fatal(err)
		}
		copy(want[off:], b)
		if i%16 == 0 {
			if err := f.SyncData(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := reader.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("write %d: another reader finds something else, %v", i, err)
		}
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("write %d: the writer reads something else, %v", i, err)
		}
	}
}

// TestDirectIsRefused: EINVAL from a device that asks for other places than a flush has turns direct writes off, and
// no other error does.
func TestDirectIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	b := growAligned(nil, unitBytes)[:unitBytes]
	for _, x := range []struct {
		err  error
		want error
	}{{nil, nil}, {syscall.EINVAL, nil}, {syscall.EIO, syscall.EIO}, {syscall.ENOSPC, syscall.ENOSPC}} {
		opened, err := OSFS().OpenWrite(name)
		if err != nil {
			t.Fatal(err)
		}
		f := opened.(*osFile)
		direct := &fakeDirect{err: x.err}
		f.direct = direct
		for i := range 2 {
			n, err := f.WriteAt(b, int64(i*unitBytes))
			if !errors.Is(err, x.want) || err == nil && n != len(b) {
				t.Errorf("%v: %d, %v", x.err, n, err)
			}
		}
		if refused := x.err == syscall.EINVAL; direct.closed != refused || direct.writes != map[bool]int{true: 1, false: 2}[refused] {
			t.Errorf("%v: %+v", x.err, direct)
		}
		if _, err := f.WriteAt(b[:100], 0); err != nil {
			t.Errorf("%v: a length that direct writes never have: %v", x.err, err)
		}
		f.Close()
	}
}

type fakeDirect struct {
	err    error
	writes int
	closed bool
}

func (f *fakeDirect) WriteAt(b []byte, _ int64) (int, error) {
	f.writes++
	if f.err != nil {
		return 0, f.err
	}
	return len(b), nil
}

func (f *fakeDirect) Close() error {
	f.closed = true
	return nil
}
