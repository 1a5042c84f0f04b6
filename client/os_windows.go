package client

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// lockFile waits until this process alone holds the lock of an open file. Closing the file gives it back, and so does
// the death of the process.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}

// othersMay is decided by access lists here, which a file inherits from its directory; the mode says nothing.
func othersMay(os.FileMode) bool { return false }

// syncDir does nothing: the file system journals renames, and a directory cannot be opened to be flushed.
func syncDir(string) error { return nil }

// renameFile puts a file in the place of another. While somebody has that one open it cannot be replaced here, so it is
// tried for as long as reading a small file takes at most.
func renameFile(from, to string) (err error) {
	const tries, pause = 100, 10 * time.Millisecond
	for range tries {
		err = os.Rename(from, to)
		if !errors.Is(err, windows.ERROR_ACCESS_DENIED) && !errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return err
		}
		time.Sleep(pause)
	}
	return err
}
