package bench

import (
	"os"
	"slices"
	"time"
)

// FdatasyncP50 is the median time of fdatasync after writing 4 KiB into preallocated space in dir: what the machine
// lets any log of this kind have. It takes about a quarter of a second on a fast disk.
func FdatasyncP50(dir string) (time.Duration, error) {
	const (
		block  = 4 << 10
		rounds = 400
	)
	f, err := os.CreateTemp(dir, ".fdatasync-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// A file system that cannot preallocate measures slower, which is what a log on it meets as well.
	_ = preallocate(f, block*rounds)
	if err := f.Sync(); err != nil {
		return 0, err
	}
	took := make([]time.Duration, rounds)
	b := make([]byte, block)
	for i := range took {
		b[0] = byte(i)
		if _, err := f.WriteAt(b, int64(i)*block); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := fdatasync(f); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[rounds/2], nil
}
