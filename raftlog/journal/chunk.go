package journal

import (
	"errors"
	"fmt"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/codec"
)

const (
	// unitBytes is what every chunk's place is a multiple of: one disk sector, so that a flush does not rewrite a
	// sector of the one before it.
	unitBytes = 512
	// firstPlace is where the first chunk of a segment lies; the file's header has the unit before it.
	firstPlace = unitBytes

	chunkLog2        = 15
	chunkBytes       = 1 << chunkLog2 // of a full chunk, on disk
	chunkHeaderBytes = 32
	tagBytes         = 16
	chunkVersion     = 1

	// roomBytes is how much plaintext a full chunk holds: then it fills its 32 KiB without padding.
	roomBytes = chunkBytes - chunkHeaderBytes - atrest.Overhead

	// maxSegmentEnd bounds a segment: places are 32-bit and must not wrap.
	maxSegmentEnd = 1 << 31

	chunkLabel = "sealmq/journal-chunk/v1"
)

type chunkKind uint8

const (
	chunkRecords chunkKind = 1 // whole records, or the front of one long record and nothing else
	chunkPart    chunkKind = 2 // nothing but the data that continues a long record
)

// tag is the authentication tag of a chunk.
type tag [tagBytes]byte

// chunkHeader is the clear front of a chunk, authenticated with it.
type chunkHeader struct {
	kind    chunkKind
	length  uint32 // of the plaintext
	place   uint32 // offset of the chunk in its segment
	durable uint32 // where the chunk's flush begins: everything below was durable before this chunk was written
	prev    tag    // of the chunk before it, in the segment before for a first chunk
}

var errChunkHeader = errors.New("no chunk header")

func (h *chunkHeader) append(dst []byte) []byte {
	dst = append(dst, 'S', 'J', chunkVersion, byte(h.kind))
	dst = codec.AppendU32(dst, h.length)
	dst = codec.AppendU32(dst, h.place)
	dst = codec.AppendU32(dst, h.durable)
	return append(dst, h.prev[:]...)
}

// parseChunkHeader reads the header at the front of b. What it says is proved only by opening the chunk.
func parseChunkHeader(b []byte) (chunkHeader, error) {
	if len(b) < chunkHeaderBytes {
		return chunkHeader{}, fmt.Errorf("%w: input is short", errChunkHeader)
	}
	r := codec.NewReader(b[:chunkHeaderBytes])
	if r.U8() != 'S' || r.U8() != 'J' {
		return chunkHeader{}, errChunkHeader
	}
	if v := r.U8(); v != chunkVersion {
		return chunkHeader{}, fmt.Errorf("%w: version %d", errChunkHeader, v)
	}
	h := chunkHeader{kind: chunkKind(r.U8()), length: r.U32(), place: r.U32(), durable: r.U32(), prev: r.Array16()}
	switch {
	case h.kind != chunkRecords && h.kind != chunkPart:
		return chunkHeader{}, fmt.Errorf("%w: kind %d", errChunkHeader, h.kind)
	case h.length == 0 || h.length > roomBytes:
		return chunkHeader{}, fmt.Errorf("%w: length %d", errChunkHeader, h.length)
	case h.place%unitBytes != 0 || h.place < firstPlace || h.place > maxSegmentEnd:
		return chunkHeader{}, fmt.Errorf("%w: place %d", errChunkHeader, h.place)
	case h.durable%unitBytes != 0 || h.durable < firstPlace || h.durable > h.place:
		return chunkHeader{}, fmt.Errorf("%w: durable point %d", errChunkHeader, h.durable)
	}
	return h, r.Done()
}

// sealedBytes is how long header, nonce, ciphertext and tag are together; diskBytes counts the padding too.
func (h *chunkHeader) sealedBytes() int { return chunkHeaderBytes + atrest.Overhead + int(h.length) }
func (h *chunkHeader) diskBytes() int   { return roundUp(h.sealedBytes()) }

// end is where the next chunk begins.
func (h *chunkHeader) end() uint32 { return h.place + uint32(h.diskBytes()) }

func roundUp(n int) int { return (n + unitBytes - 1) / unitBytes * unitBytes }

// chunkAAD appends what a chunk's ciphertext is bound to besides its file: the whole header.
func chunkAAD(dst, header []byte) []byte { return codec.AppendPAE(dst, chunkLabel, header) }

// openChunk authenticates the chunk whose header h was parsed from the front of b, and appends its plaintext to dst.
func openChunk(sealed *atrest.File, h *chunkHeader, dst, b, aad []byte) ([]byte, error) {
	aad = chunkAAD(aad[:0], b[:chunkHeaderBytes])
	return sealed.Open(dst, b[chunkHeaderBytes:h.sealedBytes()], aad)
}

// dataPart says which chunk of a long record holds byte off of its data, and at which offset in the chunk's plaintext.
func dataPart(headBytes, off int) (part, at int) {
	at = headBytes + off
	return at / roomBytes, at % roomBytes
}
