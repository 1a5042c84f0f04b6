//go:build !windows

package atrest

import "os"

// SyncDir makes the entries of a directory durable: files created, renamed or removed in it.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

func othersMayAccess(info os.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
