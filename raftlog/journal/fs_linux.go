package journal

import (
	"errors"
	"os"
	"syscall"
)

// reserve allocates the space without writing it; a file system that cannot is written to.
func reserve(f *os.File, sizeBytes int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, sizeBytes)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EOPNOTSUPP):
			return writeZeros(f, sizeBytes)
		}
		return err
	}
}

// syncData is fdatasync: a write into space that was written before needs no metadata, so nothing else is waited for.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// openDirect opens a file for writing past the page cache. File systems that cannot, refuse the flag.
func openDirect(name string) directFile {
	f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return f
}

func syncDir(dir string) error {
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
