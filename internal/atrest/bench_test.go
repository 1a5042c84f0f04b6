package atrest

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f, _ := newTestFile(b, ModeJournal, 15)
			plaintext, dst, aad := pattern(size), make([]byte, 0, size+Overhead), make([]byte, 60)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				f.Seal(dst, plaintext, aad)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f, _ := newTestFile(b, ModeJournal, 15)
			aad := make([]byte, 60)
			sealed, dst := f.Seal(nil, pattern(size), aad), make([]byte, 0, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Open(dst, sealed, aad); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNewFile(b *testing.B) {
	ring, store := newTestRings(b).Ring(RingMessages), NewStoreID(StoreState)
	for b.Loop() {
		if _, _, err := ring.NewFile(ModeChunk, store, 14, "000001.sst"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenFile(b *testing.B) {
	ring, store := newTestRings(b).Ring(RingMessages), NewStoreID(StoreState)
	_, header, err := ring.NewFile(ModeChunk, store, 14, "000001.sst")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ring.OpenFile(ModeChunk, store, header, "000001.sst"); err != nil {
			b.Fatal(err)
		}
	}
}

// Random and sequential reads of a table's blocks through chunks of different sizes.
func BenchmarkChunkReadAt(b *testing.B) {
	const fileSize = 4 << 20
	for _, log2 := range []uint8{12, 13, 14, 15, 16} {
		f, header := newTestFile(b, ModeChunk, log2)
		file := writeChunks(b, f, header, pattern(fileSize), 1<<20)
		for _, block := range []int{4 << 10, 32 << 10} {
			for _, order := range []string{"random", "sequential"} {
				b.Run(fmt.Sprintf("chunk%dK/block%dK/%s", 1<<log2>>10, block>>10, order), func(b *testing.B) {
					r, err := NewChunkReader(f, bytes.NewReader(file), int64(len(file)))
					if err != nil {
						b.Fatal(err)
					}
					p := make([]byte, block)
					b.SetBytes(int64(block))
					b.ReportAllocs()
					offset := int64(0)
					for b.Loop() {
						if order == "random" {
							offset = (offset*1103515245 + 12345) % (fileSize - int64(block))
						} else if offset += int64(block); offset > fileSize-int64(block) {
							offset = 0
						}
						if _, err := r.ReadAt(p, offset); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
