package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

const (
	errorHandleDiskFull = syscall.Errno(39)
	errorDiskFull       = syscall.Errno(112)
)

func reserve(f *os.File, sizeBytes int64) error {
	err := writeZeros(f, sizeBytes)
	if errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull) {
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}

func syncData(f *os.File) error { return f.Sync() }

func openDirect(string) directFile { return nil }

// syncDir does nothing: Windows has no call for it, and NTFS journals its directories.
func syncDir(string) error { return nil }
