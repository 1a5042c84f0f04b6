package bench

import (
	"math/rand/v2"
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

// MemoryRead is how long the processor waits for a word that is in none of its nearer caches: steps from place to place
// over 8 MiB, in no order, each of which must come before the next is known. With many mailboxes most of a message's time
// is such waiting: 8 MiB are a third of what a node knows of 10,000 mailboxes. Where several machines share a processor it
// depends on who else uses its last cache. It takes about a tenth of a second.
func MemoryRead() time.Duration {
	const (
		line  = 8 // words of 8 bytes
		lines = 8 << 20 / 64
		steps = 400_000
	)
	words := make([]uint64, lines*line)
	order := rand.New(rand.NewPCG(1, 1)).Perm(lines)
	for i, at := range order {
		words[at*line] = uint64(order[(i+1)%lines] * line)
	}
	at := uint64(0)
	began := time.Now()
	for range steps {
		at = words[at]
	}
	took := time.Since(began)
	if at%line != 0 {
		panic("bench: a step left the path")
	}
	return took / steps
}
