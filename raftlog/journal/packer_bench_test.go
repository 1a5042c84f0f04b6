package journal

import (
	"crypto/rand"
	"fmt"
	"testing"
)

// BenchmarkPack is what an append costs besides the disk; BenchmarkPack/seal is AES-GCM alone over the same bytes.
func BenchmarkPack(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10, 256 << 10} {
		data := make([]byte, size)
		rand.Read(data)
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			var p packer
			sealed := testFile(b)
			records := max(1, (256<<10)/size)
			b.SetBytes(int64(records * size))
			b.ReportAllocs()
			for b.Loop() {
				p.begin(sealed, firstPlace, tag{}, diskBound(records, records*(size+entryHeadBytes)))
				for i := range records {
					rec := entryRecord(1, &Entry{Index: uint64(i + 1), Data: data})
					p.add(&rec)
				}
				p.close()
			}
		})
	}
	b.Run("seal", func(b *testing.B) {
		sealed := testFile(b)
		data, buf, aad := make([]byte, roomBytes), make([]byte, 0, chunkBytes), make([]byte, 63)
		b.SetBytes(8 * roomBytes)
		for b.Loop() {
			for range 8 {
				buf = sealed.Seal(buf[:0], data, aad)
			}
		}
	})
}
