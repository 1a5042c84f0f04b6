//go:build unix

package client

import (
	"os"
	"syscall"
)

// lockFile waits until this process alone holds the lock of an open file. Closing the file gives it back, and so does
// the death of the process.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return err
		}
	}
}

// othersMay reports whether a file's mode lets the group or others at it.
func othersMay(mode os.FileMode) bool { return mode.Perm()&0o077 != 0 }

// syncDir makes a rename inside dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// renameFile puts a file in the place of another.
func renameFile(from, to string) error { return os.Rename(from, to) }
