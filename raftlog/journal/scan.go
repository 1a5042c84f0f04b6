package journal

import (
	"errors"
	"fmt"
	"io"

	"github.com/sealmq/sealmq/internal/codec"
)

// windowBytes is how much of a segment a scan reads at a time.
const windowBytes = 512 << 10

// window reads a file forward through a buffer.
type window struct {
	file File
	buf  []byte
	off  int64
}

// at returns n bytes at off, fewer where the file ends. They are good until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	if cap(w.buf) < windowBytes {
		w.buf = make([]byte, windowBytes)
	}
	w.buf = w.buf[:cap(w.buf)]
	got, err := w.file.ReadAt(w.buf, off)
	if err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return nil, err
	}
	w.buf, w.off = w.buf[:got], off
	return w.buf[:min(n, got)], nil
}

// chunk is one that has been authenticated at its place.
type chunk struct {
	chunkHeader
	tag   tag
	plain []byte // good until the next chunk is read
}

// tornError says why no valid chunk is at a place. Whether that is a torn tail or damage is for the caller to say.
type tornError struct{ reason string }

func (e *tornError) Error() string { return e.reason }

// chunkReader authenticates chunks of one segment, in any order.
type chunkReader struct {
	segment *segmentFile
	window  window
	plain   []byte
	aad     []byte
}

func newChunkReader(s *segmentFile) *chunkReader {
	return &chunkReader{segment: s, window: window{file: s.file}}
}

// read returns the chunk at a place. The error is a tornError unless reading itself failed.
func (c *chunkReader) read(place uint32) (*chunk, error) {
	b, err := c.window.at(int64(place), chunkBytes)
	if err != nil {
		return nil, &readError{err}
	}
	h, err := parseChunkHeader(b)
	if err != nil {
		return nil, &tornError{err.Error()}
	}
	if h.place != place {
		return nil, &tornError{fmt.Sprintf("chunk says that it belongs at %d", h.place)}
	}
	if len(b) < h.diskBytes() {
		return nil, &tornError{"the file ends inside a chunk"}
	}
	plain, err := openChunk(c.segment.sealed, &h, c.plain[:0], b, c.aad)
	if err != nil {
		return nil, &tornError{err.Error()}
	}
	c.plain = plain
	if !zero(b[h.sealedBytes():h.diskBytes()]) {
		return nil, &tornError{"padding is not zero"}
	}
	found := &chunk{chunkHeader: h, plain: plain}
	copy(found.tag[:], b[h.sealedBytes()-tagBytes:])
	return found, nil
}

// located is a record with the place where it begins and where the chunk that it ends in does.
type located struct {
	record
	place, off uint32
	end        uint32
}

// assembler takes chunks in order and gives back the records in them.
type assembler struct {
	withData bool // keep entries' data; blocks are always kept
	long     located
	need     int // bytes of the long record's data that have not come yet; 0: no record is open
}

// take hands every record that ends in the chunk to visit. Data is good until visit returns. An error means that the
// chunk, which is authentic, does not hold what the format allows.
func (a *assembler) take(c *chunk, visit func(*located) error) error {
	if (c.kind == chunkPart) != (a.need > 0) {
		return fmt.Errorf("%w: chunk of kind %d", errRecord, c.kind)
	}
	if c.kind == chunkPart {
		return a.part(c, visit)
	}
	r := codec.NewReader(c.plain)
	for r.Len() > 0 {
		l := located{place: c.place, off: uint32(len(c.plain) - r.Len()), end: c.end()}
		l.record = readHead(&r)
		if r.Err() != nil {
			return r.Err()
		}
		if l.length > r.Len() {
			return a.begin(&l, r.Rest(), len(c.plain))
		}
		l.data = r.Take(l.length)
		if err := visit(&l); err != nil {
			return err
		}
	}
	return r.Err()
}

// begin starts a record that goes on in the next chunks.
func (a *assembler) begin(l *located, front []byte, chunkLength int) error {
	if l.off != 0 || chunkLength != roomBytes {
		return fmt.Errorf("%w: %v is longer than its chunk", errRecord, l.kind)
	}
	a.long = *l
	a.need = l.length - len(front)
	if a.keeps() {
		a.long.data = append(make([]byte, 0, min(l.length, maxAhead)), front...)
	}
	return nil
}

// maxAhead bounds what is allocated on the word of a length before the bytes have come.
const maxAhead = 1 << 20

func (a *assembler) keeps() bool { return a.withData || a.long.kind != recordEntry }

func (a *assembler) part(c *chunk, visit func(*located) error) error {
	if len(c.plain) != min(a.need, roomBytes) {
		return fmt.Errorf("%w: part of %d bytes", errRecord, len(c.plain))
	}
	a.need -= len(c.plain)
	if a.keeps() {
		a.long.data = append(a.long.data, c.plain...)
	}
	if a.need > 0 {
		return nil
	}
	l := a.long
	l.end = c.end()
	a.long = located{}
	return visit(&l)
}
