package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeFile replaces path as a whole: written beside it, synced, renamed over it. A reader sees the old bytes or the
// new ones, and so does whoever looks after a power cut.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	return replaceFile(path, f, b)
}

// replaceFile writes b to f, an empty file beside path, and gives it path's name.
func replaceFile(path string, f *os.File, b []byte) (err error) {
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = renameFile(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// withLock runs change while no other process that honours the lock file is inside one.
func withLock(path string, change func() error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lockFile(f); err != nil {
		return fmt.Errorf("locking %s: %w", path, err)
	}
	return change()
}

// readSecret reads a file that nobody else may read, up to limit bytes.
func readSecret(path string, limit int64) ([]byte, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	case othersMay(info.Mode()):
		return nil, nil, fmt.Errorf("%s can be read by others: chmod 600 it", path)
	case info.Size() > limit:
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, info, nil
}

// sameFile reports whether two looks at a path saw the same, unchanged file. A rename gives another file even when the
// time of change is the same.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// statFile is os.Stat with nil for a file that is not there.
func statFile(path string) (os.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return info, err
}
