package journal

import (
	"slices"

	"github.com/sealmq/sealmq/internal/atrest"
)

// packer lays the records of one flush out in chunks and seals them, ready for one write. Short records are copied
// once, into the chunk that they share; of a long one only what fills its first chunk.
type packer struct {
	sealed *atrest.File
	start  uint32 // where the flush begins in the segment, which is also the durable point that its chunks state
	prev   tag    // of the chunk before the next one
	buf    []byte // sealed chunks so far
	plain  []byte // records of the chunk that is being filled
	head   []byte // of the record
	header []byte // of the chunk
	aad    []byte
}

// begin starts a flush at place start, after a chunk with tag prev. bound is how many bytes may come.
func (p *packer) begin(sealed *atrest.File, start uint32, prev tag, bound int) {
	p.sealed, p.start, p.prev = sealed, start, prev
	p.buf = growAligned(p.buf, bound)
	p.plain = slices.Grow(p.plain[:0], roomBytes)
}

// place is where the chunk that is being filled will lie.
func (p *packer) place() uint32 { return p.start + uint32(len(p.buf)) }

// add takes a record in and returns the place of its chunk and its offset in the chunk's plaintext. Of a long record's
// data nothing is kept after add returns.
func (p *packer) add(rec *record) (place, off uint32) {
	p.head = rec.appendHead(p.head[:0])
	if len(p.plain)+len(p.head)+len(rec.data) > roomBytes {
		p.close()
	}
	place, off = p.place(), uint32(len(p.plain))
	p.plain = append(p.plain, p.head...)
	data := rec.data
	if n := roomBytes - len(p.plain); len(data) > n {
		p.plain = append(p.plain, data[:n]...)
		p.close()
		for data = data[n:]; len(data) > 0; data = data[n:] {
			n = min(len(data), roomBytes)
			p.seal(chunkPart, data[:n])
		}
		return place, off
	}
	p.plain = append(p.plain, data...)
	return place, off
}

// close seals the chunk that is being filled, if anything is in it.
func (p *packer) close() {
	if len(p.plain) > 0 {
		p.seal(chunkRecords, p.plain)
		p.plain = p.plain[:0]
	}
}

func (p *packer) seal(kind chunkKind, plain []byte) {
	h := chunkHeader{kind: kind, length: uint32(len(plain)), place: p.place(), durable: p.start, prev: p.prev}
	p.header = h.append(p.header[:0])
	p.aad = chunkAAD(p.aad[:0], p.header)
	p.buf = append(p.buf, p.header...)
	p.buf = p.sealed.Seal(p.buf, plain, p.aad)
	copy(p.prev[:], p.buf[len(p.buf)-tagBytes:])
	p.buf = append(p.buf, zeroUnit[:h.diskBytes()-h.sealedBytes()]...)
}

var zeroUnit [unitBytes]byte
