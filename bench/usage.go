package bench

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

// Usage is what a target has used since it was started.
type Usage struct {
	CPU       time.Duration // of all its processes
	RSSBytes  int64         // of the largest
	DiskBytes int64         // taken on disk by all its files
}

// UsageOf looks at processes and directories.
func UsageOf(pids []int, dirs []string) (Usage, error) {
	var u Usage
	for _, pid := range pids {
		cpu, rss, err := processUsage(pid)
		if err != nil {
			return u, err
		}
		u.CPU += cpu
		u.RSSBytes = max(u.RSSBytes, rss)
	}
	for _, dir := range dirs {
		n, err := diskUsage(dir)
		if err != nil {
			return u, err
		}
		u.DiskBytes += n
	}
	return u, nil
}

// diskUsage is the space that the files below dir take, preallocated space included. Files that come and go meanwhile
// are no error.
func diskUsage(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += allocated(info)
		}
		return err
	})
	return sum, err
}
