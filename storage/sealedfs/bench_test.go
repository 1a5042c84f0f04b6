package sealedfs_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

// benchFS returns the plain file system and sealed ones of several chunk sizes.
func benchFS(b *testing.B) map[string]vfs.FS {
	ring, store := newRing(b), atrest.NewStoreID(atrest.StoreState)
	all := map[string]vfs.FS{"plain": vfs.Default}
	for log2 := uint8(12); log2 <= 16; log2++ {
		name := fmt.Sprintf("chunk%02dK", 1<<log2>>10)
		all[name] = sealedfs.New(vfs.Default, ring, store, sealedfs.Options{ChunkLog2: log2})
	}
	return all
}

func benchOptions(fs vfs.FS) *pebble.Options {
	return &pebble.Options{
		FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}, DisableWAL: true, MemTableSize: 16 << 20,
		DisableAutomaticCompactions: true, CacheSize: 1 << 10,
		Levels: [7]pebble.LevelOptions{{Compression: func() *sstable.CompressionProfile { return sstable.NoCompression }}},
	}
}

const benchRows, benchRow = 100_000, 200

// benchStore opens a store of 20 MB in tables.
func benchStore(b *testing.B, fs vfs.FS) *pebble.DB {
	db, err := pebble.Open(b.TempDir(), benchOptions(fs))
	if err != nil {
		b.Fatal(err)
	}
	load(b, db)
	return db
}

func load(b *testing.B, db *pebble.DB) {
	rng := newRand(3)
	row := make([]byte, benchRow)
	for i := range benchRows {
		for j := range row {
			row[j] = byte(rng.Uint32())
		}
		if err := db.Set(key(i), row, pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
}

// Point reads of blocks that Pebble's cache does not hold.
func BenchmarkGet(b *testing.B) {
	for name, fs := range benchFS(b) {
		b.Run(name, func(b *testing.B) {
			db := benchStore(b, fs)
			defer db.Close()
			rng := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				_, closer, err := db.Get(key(rng.IntN(benchRows)))
				if err != nil {
					b.Fatal(err)
				}
				closer.Close()
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	for name, fs := range benchFS(b) {
		b.Run(name, func(b *testing.B) {
			db := benchStore(b, fs)
			defer db.Close()
			b.SetBytes(benchRows * benchRow)
			for b.Loop() {
				iter, err := db.NewIter(nil)
				if err != nil {
					b.Fatal(err)
				}
				for valid := iter.First(); valid; valid = iter.Next() {
				}
				if err := iter.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Writing tables alone: the rows are sorted already, so no part of Pebble stands before the file.
func BenchmarkWriteTable(b *testing.B) {
	block := pattern(4 << 10)
	for name, fs := range benchFS(b) {
		b.Run(name, func(b *testing.B) {
			path := b.TempDir() + "/000001.sst"
			b.SetBytes(16 << 20)
			for b.Loop() {
				f, err := fs.Create(path, uncategorized)
				if err != nil {
					b.Fatal(err)
				}
				for range 16 << 20 / len(block) {
					if _, err := f.Write(block); err != nil {
						b.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLoadAndCompact(b *testing.B) {
	for name, fs := range benchFS(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchRows * benchRow)
			for b.Loop() {
				db := benchStore(b, fs)
				load(b, db)
				if err := db.Compact(b.Context(), key(0), key(benchRows), false); err != nil {
					b.Fatal(err)
				}
				db.Close()
			}
		})
	}
}
