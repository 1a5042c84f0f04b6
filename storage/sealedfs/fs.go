// Package sealedfs is Pebble's file system with every file sealed: a [vfs.FS] over another one, in the formats of
// package internal/atrest.
//
// It knows how Pebble names, writes, moves and reads its files. It must not know what is in them, where keys come from
// or what a store is for.
//
// Laws:
//
//   - No byte that Pebble wrote reaches the inner file system in clear; file names and directories do. Sizes, offsets
//     and contents that Pebble sees are those of the plaintext.
//   - A file opens only under the name, in the store and with the ring that it was sealed for. What is flipped, cut,
//     swapped or renamed is a [*CorruptionError], which Pebble knows as corruption, never other data and never an end
//     of file that a crash could not have made.
//   - Reading, also with the wrong ring, changes nothing.
//   - After a failed write or sync a handle fails for good, and never claims that what it wrote is durable.
//
// What is laid out how, by base name:
//
//	*.sst *.blob              chunks: written once, read at random
//	MANIFEST-*                frames; a crash may tear the end off, but never all
//	*.log                     frames; a crash may tear the end off. Without its final frame it reads as torn
//	marker.*                  Pebble keeps the value in the name; the file is a sealed record of nothing under that name
//	LOCK                      empty, and refused if it is not
//	temporary.N.dbtmp         frames, sealed under the name OPTIONS-N that Pebble will give it
//	OPTIONS-* and others      frames, refused without their final frame
//
// What cannot be seen here: a file or a whole directory replaced by its own earlier state, and a file that is gone and
// that Pebble does not miss (OPTIONS, the newest log). Who keeps the store must know how far it reached.
package sealedfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
)

const (
	// defaultChunkLog2 is the size of a sealed chunk in tables: larger ones cost random reads, smaller ones cost writes.
	defaultChunkLog2 = 14
	// frameLog2 bounds the plaintext of one frame.
	frameLog2 = 16
)

// Options are the knobs of a sealed file system. The zero value is good.
type Options struct {
	// ChunkLog2 is the logarithm of the chunk size of new tables, 9 to 22; 0 means 14. Old tables keep theirs.
	ChunkLog2 uint8
	// TornTail, if set, is told of every file whose end a crash had torn off when it was opened, and how many bytes of it
	// were left out.
	TornTail func(path string, bytes int64)
}

// FS is a sealed file system.
type FS struct {
	inner vfs.FS
	ring  *atrest.Ring
	store atrest.StoreID
	opts  Options
}

var _ vfs.FS = (*FS)(nil)

// New returns a file system that keeps the files of one store sealed in inner.
func New(inner vfs.FS, ring *atrest.Ring, store atrest.StoreID, opts Options) vfs.FS {
	if opts.ChunkLog2 == 0 {
		opts.ChunkLog2 = defaultChunkLog2
	}
	return &FS{inner: inner, ring: ring, store: store, opts: opts}
}

// Create implements [vfs.FS]. The file returned can only be written.
func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	base := fs.inner.PathBase(name)
	switch kind := kindOf(base); kind {
	case kindMarker:
		return fs.createMarker(name, base, category)
	case kindLock:
		f, err := fs.inner.Create(name, category)
		if err != nil {
			return nil, err
		}
		return &emptyFile{readOnly{File: f, path: name}}, nil
	case kindTable:
		return fs.createChunks(name, base, category)
	case kindLog:
		return fs.createLog(name, base, category)
	default:
		f, err := fs.createFrames(name, base, category)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
}

// Open implements [vfs.FS].
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.inner.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	opened, err := fs.open(name, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return opened, nil
}

func (fs *FS) open(name string, f vfs.File) (vfs.File, error) {
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		return f, err
	}
	base := fs.inner.PathBase(name)
	switch kind := kindOf(base); kind {
	case kindMarker:
		return &emptyFile{readOnly{File: f, path: name}}, fs.checkMarker(name, f, info.Size())
	case kindLock:
		return &emptyFile{readOnly{File: f, path: name}}, checkLock(name, info.Size())
	case kindTable:
		return fs.openChunks(name, f, info.Size())
	default:
		return fs.openFrames(name, kind, f)
	}
}

// OpenReadWrite implements [vfs.FS] by refusing: what is sealed once is not changed in place. Pebble uses it only for a
// cache of remote objects.
func (fs *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, fmt.Errorf("sealedfs: opening %s for reading and writing: %w", name, vfs.ErrUnsupported)
}

// OpenDir implements [vfs.FS].
func (fs *FS) OpenDir(name string) (vfs.File, error) { return fs.inner.OpenDir(name) }

// List implements [vfs.FS]. Pebble trusts the names of markers, so each one listed has been verified.
func (fs *FS) List(dir string) ([]string, error) {
	names, err := fs.inner.List(dir)
	if err != nil {
		return nil, err
	}
	kept := names[:0]
	for _, name := range names {
		if kindOf(name) == kindMarker {
			err := fs.verifyMarker(fs.inner.PathJoin(dir, name))
			if errors.Is(err, os.ErrNotExist) {
				continue // moved on since it was listed
			}
			if err != nil {
				return nil, err
			}
		}
		kept = append(kept, name)
	}
	return kept, nil
}

// Stat implements [vfs.FS]. The size is the plaintext's.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	info, err := fs.inner.Stat(name)
	if err != nil || info.IsDir() {
		return info, err
	}
	if kindOf(fs.inner.PathBase(name)) == kindTable {
		size, err := fs.statChunks(name, info.Size())
		return sizedInfo{info, size}, err
	}
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// Remove implements [vfs.FS].
func (fs *FS) Remove(name string) error { return fs.inner.Remove(name) }

// RemoveAll implements [vfs.FS].
func (fs *FS) RemoveAll(name string) error { return fs.inner.RemoveAll(name) }

// MkdirAll implements [vfs.FS].
func (fs *FS) MkdirAll(dir string, perm os.FileMode) error { return fs.inner.MkdirAll(dir, perm) }

// Lock implements [vfs.FS].
func (fs *FS) Lock(name string) (io.Closer, error) { return fs.inner.Lock(name) }

// PathBase implements [vfs.FS].
func (fs *FS) PathBase(path string) string { return fs.inner.PathBase(path) }

// PathJoin implements [vfs.FS].
func (fs *FS) PathJoin(elem ...string) string { return fs.inner.PathJoin(elem...) }

// PathDir implements [vfs.FS].
func (fs *FS) PathDir(path string) string { return fs.inner.PathDir(path) }

// GetDiskUsage implements [vfs.FS].
func (fs *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) { return fs.inner.GetDiskUsage(path) }

// Unwrap implements [vfs.FS].
func (fs *FS) Unwrap() vfs.FS { return fs.inner }
