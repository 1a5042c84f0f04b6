package sealedfs

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
)

// CorruptionError says that a file is not what was sealed there. Pebble takes it for corruption
// ([pebble.IsCorruptionError]), and it wraps [atrest.ErrDamaged].
type CorruptionError struct {
	Path string
	Err  error
}

func (e *CorruptionError) Error() string { return fmt.Sprintf("sealed file %s: %v", e.Path, e.Err) }

func (e *CorruptionError) Unwrap() error { return e.Err }

// Is makes the error one of Pebble's corruption errors.
func (e *CorruptionError) Is(target error) bool { return target == pebble.ErrCorruption }

// mark names the file in an error of package atrest; every other error, io.EOF among them, goes through as it is.
func mark(path string, err error) error {
	switch {
	case errors.Is(err, atrest.ErrDamaged):
		return &CorruptionError{Path: path, Err: err}
	case errors.Is(err, atrest.ErrVersion):
		return fmt.Errorf("sealed file %s: %w", path, err)
	}
	return err
}

func corrupt(path, reason string) error {
	return &CorruptionError{Path: path, Err: fmt.Errorf("%w: %s", atrest.ErrDamaged, reason)}
}

// writeOnly is the part that all handles of new files share.
type writeOnly struct {
	vfs.File
	path string
}

func (f *writeOnly) Read([]byte) (int, error) { return 0, f.refuse("reading") }

func (f *writeOnly) ReadAt([]byte, int64) (int, error) { return 0, f.refuse("reading") }

func (f *writeOnly) WriteAt([]byte, int64) (int, error) { return 0, f.refuse("writing at an offset") }

// Preallocate does nothing: a file's size is part of what is authenticated.
func (f *writeOnly) Preallocate(int64, int64) error { return nil }

// Prefetch does nothing.
func (f *writeOnly) Prefetch(int64, int64) error { return nil }

func (f *writeOnly) refuse(what string) error {
	return fmt.Errorf("sealedfs: %s a file opened for writing: %s: %w", what, f.path, vfs.ErrUnsupported)
}

// readOnly is the part that all handles of existing files share. Sync and SyncTo, which do no harm, stay the inner
// file's.
type readOnly struct {
	vfs.File
	path string
}

func (f *readOnly) Write([]byte) (int, error) { return 0, f.refuse() }

func (f *readOnly) WriteAt([]byte, int64) (int, error) { return 0, f.refuse() }

func (f *readOnly) Preallocate(int64, int64) error { return f.refuse() }

func (f *readOnly) refuse() error {
	return fmt.Errorf("sealedfs: writing a file opened for reading: %s: %w", f.path, vfs.ErrUnsupported)
}

// sizedInfo is a file's information with the size of its plaintext.
type sizedInfo struct {
	vfs.FileInfo
	size int64
}

func (i sizedInfo) Size() int64 { return i.size }

// statSized is Stat of a handle whose plaintext has that size.
func statSized(f vfs.File, size int64) (vfs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return sizedInfo{info, size}, nil
}
