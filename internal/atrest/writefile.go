package atrest

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile puts b at path so that after a crash either the old file is there or the new one, whole: it writes
// path.tmp, syncs it, renames it and syncs the directory. Only the owner may read the file. One caller at a time.
func WriteFile(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := writeSynced(tmp, b); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := syncDirOf(path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	// A leftover of a crash is removed, not truncated: it might be a link to something else.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// syncDirOf makes the directory entry of path durable.
func syncDirOf(path string) error { return SyncDir(filepath.Dir(path)) }
