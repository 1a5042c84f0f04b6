package sealedfs

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
)

// createMarker makes a marker appear whole: Pebble closes it without a sync and then trusts its name, so its record is
// synced under another name first.
func (fs *FS) createMarker(name, base string, category vfs.DiskWriteCategory) (vfs.File, error) {
	record, err := fs.ring.SealRecord(fs.store, base, nil)
	if err != nil {
		return nil, err
	}
	birth := fs.inner.PathJoin(fs.inner.PathDir(name), birthName(base))
	f, err := fs.inner.Create(birth, category)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(record); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fs.inner.Rename(birth, name)
	}
	if err != nil {
		return nil, err
	}
	if f, err = fs.inner.Open(name); err != nil {
		return nil, err
	}
	return &emptyFile{readOnly{File: f, path: name}}, nil
}

// verifyMarker fails unless the marker was made by this store under exactly this name.
func (fs *FS) verifyMarker(name string) error {
	f, err := fs.inner.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return fs.checkMarker(name, f, info.Size())
}

func (fs *FS) checkMarker(name string, f vfs.File, fileSize int64) error {
	if fileSize != atrest.HeaderSize+atrest.Overhead {
		return corrupt(name, "a marker is not that long")
	}
	record := make([]byte, fileSize)
	if n, err := f.ReadAt(record, 0); n < len(record) && err != io.EOF {
		return err
	}
	_, err := fs.ring.OpenRecord(fs.store, fs.inner.PathBase(name), record)
	return mark(name, err)
}

// emptyFile is a marker or a lock file: Pebble finds nothing in it and may write nothing to it.
type emptyFile struct{ readOnly }

func checkLock(name string, fileSize int64) error {
	if fileSize != 0 {
		return corrupt(name, "a lock file must be empty")
	}
	return nil
}

func (f *emptyFile) Read(p []byte) (int, error) { return f.ReadAt(p, 0) }

func (f *emptyFile) ReadAt(p []byte, _ int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return 0, io.EOF
}

func (f *emptyFile) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return f.readOnly.Write(p)
}

func (f *emptyFile) Stat() (vfs.FileInfo, error) { return statSized(f.File, 0) }
