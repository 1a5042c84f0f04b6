package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// FS is what the journal asks of a file system. Names are paths of the system. Only a file's data that SyncData has
// returned for, and only names that SyncDir has returned for, are counted on after a crash.
type FS interface {
	// Create makes a new file of sizeBytes for reading and writing, with its space reserved. It fails if the name is
	// taken; if there is no space the error is syscall.ENOSPC by errors.Is and no file is left.
	Create(name string, sizeBytes int64) (File, error)
	// Open opens a file for reading only, OpenWrite for both.
	Open(name string) (File, error)
	OpenWrite(name string) (File, error)
	// Rename gives a file another name, in one step; a file that had it is gone.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names in a directory, in any order.
	List(dir string) ([]string, error)
	MkdirAll(dir string) error
	// SyncDir makes durable what was created, renamed and removed in a directory.
	SyncDir(dir string) error
}

// File is one open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// SyncData makes what was written durable, and the size if it grew.
	SyncData() error
	Truncate(sizeBytes int64) error
	Size() (int64, error)
}

// writeFull writes all of b or fails, also where a short write comes without an error.
func writeFull(f File, b []byte, off int64) error {
	n, err := f.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// writeNew puts b into a new file and syncs it. A file that has the name is a leftover.
func writeNew(o *Options, name string, b []byte) error {
	if err := o.FS.Remove(o.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a leftover: %w", err)
	}
	f, err := o.FS.Create(o.path(name), int64(len(b)))
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	err = writeFull(f, b, 0)
	if err == nil {
		err = f.SyncData()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// rename gives a synced file its real name and makes that durable.
func rename(o *Options, temp, name string) error {
	if err := o.FS.Rename(o.path(temp), o.path(name)); err != nil {
		return fmt.Errorf("renaming %s: %w", temp, err)
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return fmt.Errorf("syncing %s: %w", o.Dir, err)
	}
	return nil
}

func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }
