package atrest

import (
	"fmt"
	"io"
	"sync"

	"github.com/sealmq/sealmq/internal/codec"
)

// Chunks says where the sealed chunks of a chunk-mode file lie. The file is cut into slots of 2^log2 bytes, each filled
// by one sealed chunk; the header takes the front of slot 0, so chunk 0 holds less. Only the last chunk may be short,
// and it alone is sealed as final: a file that was cut or grown fails at its last chunk. There is always a last chunk.
//
//	0      128            2^log2              2*2^log2            file size
//	+------+--------------+-------------------+------ - - --------+
//	|header| sealed chunk | sealed chunk      | sealed last chunk |
//	+------+--------------+-------------------+------ - - --------+
//
// Additional data of chunk i: PAE("sealmq/chunk/v1", u64 i, u8 final).
type Chunks struct{ log2 uint8 }

// Chunks returns the layout of a chunk-mode file. It needs no key.
func (h *Header) Chunks() Chunks { return Chunks{log2: h.ChunkLog2} }

// Capacity returns how many bytes of plaintext chunk index holds when it is full.
func (c Chunks) Capacity(index int64) int {
	if index == 0 {
		return 1<<c.log2 - Overhead - HeaderSize
	}
	return 1<<c.log2 - Overhead
}

// Offset returns where in the file sealed chunk index starts.
func (c Chunks) Offset(index int64) int64 {
	if index == 0 {
		return HeaderSize
	}
	return index << c.log2
}

// Locate returns the chunk that holds the plaintext byte at offset, and where in that chunk it is.
func (c Chunks) Locate(offset int64) (index int64, within int) {
	first := int64(c.Capacity(0))
	if offset < first {
		return 0, int(offset)
	}
	capacity := int64(c.Capacity(1))
	return 1 + (offset-first)/capacity, int((offset - first) % capacity)
}

// FileSize returns the size of the file that holds so many bytes of plaintext.
func (c Chunks) FileSize(plainSize int64) int64 {
	last, within := c.Locate(max(plainSize-1, 0))
	if plainSize > 0 {
		within++
	}
	return c.Offset(last) + int64(within) + Overhead
}

// PlainSize returns how much plaintext a file of that size holds, and fails with [ErrDamaged] if no file has that size.
func (c Chunks) PlainSize(fileSize int64) (int64, error) {
	if fileSize < HeaderSize+Overhead {
		return 0, damaged("file of %d bytes is cut short", fileSize)
	}
	last := (fileSize - 1) >> c.log2
	within := fileSize - c.Offset(last) - Overhead
	if within < 0 || within == 0 && last > 0 {
		return 0, damaged("file of %d bytes is cut inside a chunk", fileSize)
	}
	plain := within
	if last > 0 {
		plain += int64(c.Capacity(0)) + (last-1)*int64(c.Capacity(1))
	}
	return plain, nil
}

// chunkAADSize is the length of PAE("sealmq/chunk/v1", 8 bytes, 1 byte).
const chunkAADSize = 2 + len("sealmq/chunk/v1") + 2 + 4 + 8 + 4 + 1

func appendChunkAAD(dst []byte, index int64, final bool) []byte {
	var place [8]byte
	flag := []byte{0}
	if final {
		flag[0] = 1
	}
	return codec.AppendPAE(dst, "sealmq/chunk/v1", codec.AppendU64(place[:0], uint64(index)), flag)
}

// SealChunk appends the sealed form of chunk index to dst, under the rules of [File.Seal].
func (f *File) SealChunk(dst, plaintext []byte, index int64, final bool) []byte {
	var aad [chunkAADSize]byte
	return f.Seal(dst, plaintext, appendChunkAAD(aad[:0], index, final))
}

// OpenChunk appends the plaintext of sealed chunk index to dst, under the rules of [File.Open].
func (f *File) OpenChunk(dst, sealed []byte, index int64, final bool) ([]byte, error) {
	var aad [chunkAADSize]byte
	plaintext, err := f.Open(dst, sealed, appendChunkAAD(aad[:0], index, final))
	if err != nil {
		return nil, fmt.Errorf("chunk %d: %w", index, err)
	}
	return plaintext, nil
}

// ChunkWriter seals what is written to it into the chunks of a file whose header is there already. It is not safe for
// concurrent use.
type ChunkWriter struct {
	file   *File
	w      io.WriterAt
	layout Chunks
	index  int64  // of the chunk that tail belongs to
	tail   []byte // plaintext of the last chunk so far; at most its capacity
	sealed []byte // scratch
	dirty  bool   // tail is not in the file as the final chunk
}

// NewChunkWriter returns a writer of file's chunks to w.
func NewChunkWriter(file *File, w io.WriterAt) *ChunkWriter {
	size := 1 << file.chunkLog2
	return &ChunkWriter{
		file: file, w: w, layout: Chunks{log2: file.chunkLog2}, dirty: true,
		tail: make([]byte, 0, size), sealed: make([]byte, 0, size),
	}
}

// Write seals every chunk that p fills and that something follows. The rest waits for [ChunkWriter.Flush].
func (w *ChunkWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(w.tail) == w.layout.Capacity(w.index) {
			if err := w.writeTail(false); err != nil {
				return n, err
			}
			w.index++
			w.tail = w.tail[:0]
		}
		take := min(len(p)-n, w.layout.Capacity(w.index)-len(w.tail))
		w.tail = append(w.tail, p[n:n+take]...)
		w.dirty = true
		n += take
	}
	return n, nil
}

// Flush writes the last chunk as final: the file is whole now. If more is written after it, that chunk is sealed again
// in its place, under another nonce.
func (w *ChunkWriter) Flush() error {
	if !w.dirty {
		return nil
	}
	if err := w.writeTail(true); err != nil {
		return err
	}
	w.dirty = false
	return nil
}

// Size returns how many bytes were written.
func (w *ChunkWriter) Size() int64 {
	size := int64(len(w.tail))
	if w.index > 0 {
		size += int64(w.layout.Capacity(0)) + (w.index-1)*int64(w.layout.Capacity(1))
	}
	return size
}

// WholeChunks returns how much of the file no later write changes.
func (w *ChunkWriter) WholeChunks() int64 { return w.layout.Offset(w.index) }

func (w *ChunkWriter) writeTail(final bool) error {
	w.sealed = w.file.SealChunk(w.sealed[:0], w.tail, w.index, final)
	_, err := w.w.WriteAt(w.sealed, w.layout.Offset(w.index))
	return err
}

// ChunkReader reads a chunk-mode file at any offset. It is safe for concurrent use.
type ChunkReader struct {
	file     *File
	r        io.ReaderAt
	layout   Chunks
	fileSize int64
	size     int64
	last     int64 // index of the final chunk

	// The chunk opened last: reads of neighbouring blocks often fall into the same one. Whoever cannot have it at once
	// does without.
	cache      sync.Mutex
	cacheIndex int64 // -1 if none
	cached     []byte
}

// NewChunkReader returns a reader of file's chunks, which fill r to fileSize. It opens the last chunk, so a file that
// was cut short or grown is refused here.
func NewChunkReader(file *File, r io.ReaderAt, fileSize int64) (*ChunkReader, error) {
	layout := Chunks{log2: file.chunkLog2}
	size, err := layout.PlainSize(fileSize)
	if err != nil {
		return nil, err
	}
	last, _ := layout.Locate(max(size-1, 0))
	c := &ChunkReader{
		file: file, r: r, layout: layout, fileSize: fileSize, size: size, last: last, cacheIndex: -1,
	}
	if err := c.fillCache(last); err != nil {
		return nil, err
	}
	return c, nil
}

// Size returns the length of the plaintext.
func (c *ChunkReader) Size() int64 { return c.size }

// FileRange returns which bytes of the file hold the chunks of so many bytes of plaintext at offset.
func (c *ChunkReader) FileRange(offset, length int64) (fileOffset, fileLength int64) {
	if length <= 0 || offset < 0 || offset >= c.size {
		return 0, 0
	}
	first, _ := c.layout.Locate(offset)
	last, _ := c.layout.Locate(min(offset+length, c.size) - 1)
	start := c.layout.Offset(first)
	return start, c.end(last) - start
}

// end returns where in the file chunk index ends.
func (c *ChunkReader) end(index int64) int64 {
	if index >= c.last {
		return c.fileSize
	}
	return c.layout.Offset(index + 1)
}

// rawBuffers holds what ReadAt reads sealed chunks into.
var rawBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxRead bounds the sealed bytes that one ReadAt holds at a time.
const maxRead = 256 << 10

// ReadAt reads plaintext, as [io.ReaderAt] says. Nothing of a chunk that does not authenticate is returned.
func (c *ChunkReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("reading at offset %d", offset)
	}
	want := p
	if left := max(c.size-offset, 0); int64(len(want)) > left {
		want = want[:left]
	}
	n := 0
	for n < len(want) {
		index, within := c.layout.Locate(offset + int64(n))
		took, err := c.fromCache(want[n:], index, within)
		if took == 0 && err == nil {
			took, err = c.fromFile(want[n:], index, within)
		}
		n += took
		if err != nil {
			return n, err
		}
	}
	if len(want) < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fromCache copies what the cached chunk has of chunk index; if p needs only a part of a chunk that is not cached, it
// is cached first.
func (c *ChunkReader) fromCache(p []byte, index int64, within int) (int, error) {
	if !c.cache.TryLock() {
		return 0, nil
	}
	defer c.cache.Unlock()
	if c.cacheIndex != index {
		if within+len(p) >= c.layout.Capacity(index) {
			return 0, nil
		}
		if err := c.fillCacheLocked(index); err != nil {
			return 0, err
		}
	}
	return copy(p, c.cached[within:]), nil
}

func (c *ChunkReader) fillCache(index int64) error {
	c.cache.Lock()
	defer c.cache.Unlock()
	return c.fillCacheLocked(index)
}

func (c *ChunkReader) fillCacheLocked(index int64) error {
	raw := rawBuffers.Get().(*[]byte)
	defer rawBuffers.Put(raw)
	if err := c.readRaw(raw, index, index); err != nil {
		return err
	}
	c.cacheIndex = -1
	plaintext, err := c.file.OpenChunk(c.cached[:0], *raw, index, index == c.last)
	if err != nil {
		return err
	}
	c.cached, c.cacheIndex = plaintext, index
	return nil
}

// readRaw reads the sealed chunks first to last.
func (c *ChunkReader) readRaw(raw *[]byte, first, last int64) error {
	start := c.layout.Offset(first)
	n := int(c.end(last) - start)
	if cap(*raw) < n {
		*raw = make([]byte, n)
	}
	*raw = (*raw)[:n]
	if got, err := c.r.ReadAt(*raw, start); got < n {
		if err == nil || err == io.EOF {
			return damaged("file ends inside chunk %d", first)
		}
		return err
	}
	return nil
}

// fromFile opens the chunks from index on that p covers, up to maxRead of them, and copies what p wants.
func (c *ChunkReader) fromFile(p []byte, index int64, within int) (int, error) {
	last, _ := c.layout.Locate(c.start(index) + int64(within+len(p)) - 1)
	last = min(last, c.last, index+max(int64(maxRead)>>c.layout.log2, 1)-1)
	raw := rawBuffers.Get().(*[]byte)
	defer rawBuffers.Put(raw)
	if err := c.readRaw(raw, index, last); err != nil {
		return 0, err
	}
	n := 0
	base := c.layout.Offset(index)
	for i := index; i <= last; i++ {
		sealed := (*raw)[c.layout.Offset(i)-base : c.end(i)-base]
		size := len(sealed) - Overhead
		if within == 0 && len(p)-n >= size {
			if _, err := c.file.OpenChunk(p[n:n:n+size], sealed, i, i == c.last); err != nil {
				return n, err
			}
			n += size
			continue
		}
		took, err := c.openPart(p[n:], sealed, i, within)
		if err != nil {
			return n, err
		}
		n += took
		within = 0
	}
	return n, nil
}

// openPart copies to p what it wants of a chunk that was read. A chunk of which the end is not wanted yet is cached.
func (c *ChunkReader) openPart(p, sealed []byte, index int64, within int) (int, error) {
	final := index == c.last
	if within+len(p) < len(sealed)-Overhead && c.cache.TryLock() {
		defer c.cache.Unlock()
		c.cacheIndex = -1
		plaintext, err := c.file.OpenChunk(c.cached[:0], sealed, index, final)
		if err != nil {
			return 0, err
		}
		c.cached, c.cacheIndex = plaintext, index
		return copy(p, plaintext[within:]), nil
	}
	plaintext, err := c.file.OpenChunk(sealed[:0], sealed, index, final)
	if err != nil {
		return 0, err
	}
	return copy(p, plaintext[within:]), nil
}

// start returns the offset of chunk index in the plaintext.
func (c *ChunkReader) start(index int64) int64 {
	if index == 0 {
		return 0
	}
	return int64(c.layout.Capacity(0)) + (index-1)*int64(c.layout.Capacity(1))
}
