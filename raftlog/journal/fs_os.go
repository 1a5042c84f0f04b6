package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"
)

// OSFS returns the operating system's files. Each system's way to reserve space and to sync is in its own file.
func OSFS() FS { return osFS{} }

type osFS struct{}

var _ FS = osFS{}

func (osFS) Create(name string, sizeBytes int64) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := reserve(f, sizeBytes); err != nil {
		f.Close()
		os.Remove(name)
		return nil, fmt.Errorf("reserving %d bytes: %w", sizeBytes, err)
	}
	return &osFile{File: f}, nil
}

func (osFS) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (osFS) OpenWrite(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, direct: openDirect(name)}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }
func (osFS) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o700) }
func (osFS) SyncDir(dir string) error     { return syncDir(dir) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// osFile is a file whose SyncData is the system's best. Where the system can, what is written from aligned memory to
// aligned places goes past the page cache: a segment is written once, at its end, and hardly read again, and copying it
// into fresh pages cost more than sealing it (docs/decisions/0006).
type osFile struct {
	*os.File
	direct directFile // the same file past the page cache; nil if the system or the file system has no such thing
}

type directFile interface {
	io.WriterAt
	io.Closer
}

// directAlignBytes is what memory has to be aligned to: no device asks for more than a page. Places and lengths are
// multiples of unitBytes, and a device that wants more says EINVAL.
const directAlignBytes = 4096

// WriteAt is for one goroutine at a time.
func (f *osFile) WriteAt(b []byte, off int64) (int, error) {
	if f.direct != nil && off%unitBytes == 0 && len(b)%unitBytes == 0 && misaligned(b) == 0 {
		n, err := f.direct.WriteAt(b, off)
		if !errors.Is(err, syscall.EINVAL) {
			return n, err
		}
		f.direct.Close()
		f.direct = nil
	}
	return f.File.WriteAt(b, off)
}

func (f *osFile) SyncData() error { return syncData(f.File) }

func (f *osFile) Close() error {
	if f.direct != nil {
		f.direct.Close()
	}
	return f.File.Close()
}

// misaligned is how far the memory is above an address that direct writes may begin at.
func misaligned(b []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % directAlignBytes)
}

// growAligned returns an empty slice with room for n bytes at an address that direct writes may begin at. It may be b.
func growAligned(b []byte, n int) []byte {
	if cap(b) >= n && cap(b) > 0 && misaligned(b) == 0 {
		return b[:0]
	}
	raw := make([]byte, n+directAlignBytes)
	start := (directAlignBytes - misaligned(raw)) % directAlignBytes
	return raw[start:start]
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// writeZeros reserves space where the system has no call for it.
func writeZeros(f *os.File, sizeBytes int64) error {
	zeros := make([]byte, min(sizeBytes, 1<<20))
	for off := int64(0); off < sizeBytes; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), sizeBytes-off)], off); err != nil {
			return err
		}
	}
	return nil
}
