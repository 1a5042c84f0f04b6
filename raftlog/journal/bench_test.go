package journal_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// benchDir is on the file system that the repository is on: a temporary directory may be memory.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(".", "bench-*.tmp")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "journal")
}

// BenchmarkAppend appends by several groups at once, each waiting for its own append, with fdatasync on the real file
// system. MB/s counts the entries' data.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10, 256 << 10, 512 << 10} {
		for _, groups := range []int{1, 2, 3, 6} {
			b.Run(fmt.Sprintf("%dB/%dgroups", size, groups), func(b *testing.B) {
				o := journal.Options{Dir: benchDir(b), Ring: ring(b), Store: atrest.NewStoreID(atrest.StoreJournal)}
				j := openNew(b, o)
				defer j.Close()
				data := make([]byte, size)
				rand.Read(data)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for id := range groups {
					wg.Go(func() {
						g := j.Group(uint16(id))
						for i := id; i < b.N; i += groups {
							if err := g.Append([]journal.Entry{{Index: uint64(i/groups + 1), Term: 1, Data: data}}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				s := j.Stats()
				b.ReportMetric(float64(s.Fsync.Sum.Microseconds())/float64(s.Flushes), "us/fsync")
				b.ReportMetric(float64(b.N)/float64(s.Flushes), "entries/flush")
			})
		}
	}
}

// BenchmarkReadAt reads one 1 KiB message out of entries of 512 KiB: one or two chunks each.
func BenchmarkReadAt(b *testing.B) {
	o := journal.Options{Dir: benchDir(b), Ring: ring(b), Store: atrest.NewStoreID(atrest.StoreJournal)}
	j := openNew(b, o)
	defer j.Close()
	const entries = 200
	data := make([]byte, 512<<10)
	g := j.Group(1)
	for i := range uint64(entries) {
		if err := g.Append([]journal.Entry{{Index: i + 1, Term: 1, Data: data}}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(1 << 10)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i += 7919
		if _, err := g.ReadAt(1+i%entries, 1, int(i*1024)%(len(data)-1024), 1024); err != nil {
			b.Fatal(err)
		}
	}
}
