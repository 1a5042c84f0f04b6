package atrest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/sealmq/sealmq/internal/codec"
)

// A frame-mode file grows at its end and tells how far it must reach:
//
//	0        4096     8192     12288
//	+--------+--------+--------+-------+-------+- - -
//	| header | mark 0 | mark 1 | frame | frame |
//	+--------+--------+--------+-------+-------+- - -
//
// The header's page is zero behind the header. A mark is 4096 sealed bytes: u64 durable, then zeros; additional data
// PAE("sealmq/frame-mark/v1", u8 number). Durable is the offset up to which the writer knew the file to be synced. The
// marks are overwritten by turns after each sync, and become durable with the next one; a power cut may spoil one of
// them. Frames are never overwritten:
//
//	+------------+----------+----------+------------+--------+
//	| length u32 | kind u32 | nonce 12 | ciphertext | tag 16 |
//	+------------+----------+----------+------------+--------+
//
// Length is the plaintext's. Additional data: PAE("sealmq/frame/v1", u64 offset of the frame in the file, the 8 clear
// bytes); frames lie without gaps, so the offset also fixes a frame's number and its place in the plaintext.
const (
	framePage = 4096
	// FrameStart is where the first frame lies.
	FrameStart = 3 * framePage

	frameHead = 8
	// FrameOverhead is by how much a frame is longer than its plaintext.
	FrameOverhead = frameHead + Overhead

	frameData  = 0 // 1 to 2^log2 bytes
	frameFinal = 1 // no plaintext; nothing follows
)

type frameHeader struct {
	length uint32
	kind   uint32
}

func (h frameHeader) append(dst []byte) []byte {
	return codec.AppendU32(codec.AppendU32(dst, h.length), h.kind)
}

// frameAADSize is the length of PAE("sealmq/frame/v1", 8 bytes, 8 bytes).
const frameAADSize = 2 + len("sealmq/frame/v1") + 2 + 4 + 8 + 4 + frameHead

func appendFrameAAD(dst []byte, offset int64, head []byte) []byte {
	var place [8]byte
	return codec.AppendPAE(dst, "sealmq/frame/v1", codec.AppendU64(place[:0], uint64(offset)), head)
}

func markAAD(number int) []byte { return codec.PAE("sealmq/frame-mark/v1", []byte{byte(number)}) }

// FrameWriter writes a frame-mode file. It is not safe for concurrent use. After an error it must not be used further:
// what the file then holds is unknown.
type FrameWriter struct {
	file    *File
	w       io.WriterAt
	offset  int64 // where the next frame starts
	durable int64
	marks   int   // how many were written since the front
	size    int64 // of the plaintext
	buf     []byte
}

// NewFrameWriter writes the front of a new file, header and marks, and returns a writer of its frames.
func NewFrameWriter(file *File, header []byte, w io.WriterAt) (*FrameWriter, error) {
	f := &FrameWriter{file: file, w: w, offset: FrameStart, durable: FrameStart}
	front := make([]byte, framePage, FrameStart)
	copy(front, header)
	for number := range 2 {
		front = f.appendMark(front, number)
	}
	if _, err := w.WriteAt(front, 0); err != nil {
		return nil, err
	}
	return f, nil
}

// appendMark appends mark number, which says that the file is durable as far as it is written.
func (w *FrameWriter) appendMark(dst []byte, number int) []byte {
	var mark [framePage - Overhead]byte
	binary.BigEndian.PutUint64(mark[:], uint64(w.offset))
	return w.file.Seal(dst, mark[:], markAAD(number))
}

// Write appends p as one frame, or as several if it is longer than a frame may be. It does not keep or change p.
func (w *FrameWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		part := p[n:min(n+1<<w.file.chunkLog2, len(p))]
		if err := w.append(frameData, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Synced is called after a sync: all that was written before it is durable. It writes a mark that says so, from which
// on damage before that point is never taken for the torn end of a crash.
func (w *FrameWriter) Synced() error {
	if w.durable == w.offset {
		return nil
	}
	number := w.marks % 2
	w.buf = w.appendMark(w.buf[:0], number)
	if _, err := w.w.WriteAt(w.buf, int64(1+number)*framePage); err != nil {
		return err
	}
	w.marks++
	w.durable = w.offset
	return nil
}

// Finish appends the final frame. All that is before it must be durable: the caller syncs and calls Synced first, and
// does both again after it.
func (w *FrameWriter) Finish() error {
	if w.durable != w.offset {
		return errors.New("finishing a frame file that is not synced")
	}
	return w.append(frameFinal, nil)
}

// Size returns how many bytes of plaintext were written.
func (w *FrameWriter) Size() int64 { return w.size }

// FileSize returns how long the file is by now.
func (w *FrameWriter) FileSize() int64 { return w.offset }

// Durable returns how much of the file was durable at the last Synced.
func (w *FrameWriter) Durable() int64 { return w.durable }

func (w *FrameWriter) append(kind uint32, plaintext []byte) error {
	w.buf = frameHeader{length: uint32(len(plaintext)), kind: kind}.append(w.buf[:0])
	var aad [frameAADSize]byte
	w.buf = w.file.Seal(w.buf, plaintext, appendFrameAAD(aad[:0], w.offset, w.buf))
	if _, err := w.w.WriteAt(w.buf, w.offset); err != nil {
		return err
	}
	w.offset += int64(len(w.buf))
	w.size += int64(len(plaintext))
	return nil
}

// Frames is what [ScanFrames] found in a frame-mode file, and reads its plaintext at any offset. It is safe for
// concurrent use.
type Frames struct {
	file  *File
	r     io.ReaderAt
	refs  []frameRef
	size  int64
	final bool
	torn  int64

	// The frame opened last, for readers that take small steps. Whoever cannot have it at once does without.
	cache  sync.Mutex
	cached int // number of the frame, -1 if none
	plain  []byte
}

type frameRef struct {
	offset int64 // in the file
	start  int64 // in the plaintext
	head   frameHeader
}

// Size returns the length of the plaintext.
func (s *Frames) Size() int64 { return s.size }

// Final reports whether the file was finished by its writer.
func (s *Frames) Final() bool { return s.final }

// Torn returns how many bytes at the end of the file are not part of it: what a crash left of unsynced writes.
func (s *Frames) Torn() int64 { return s.torn }

// ScanFrames authenticates a whole frame-mode file. Where a frame is short, zero or does not authenticate, the file is
// damaged if a mark says that the place was durable; then the error wraps [ErrDamaged]. Otherwise the file ends there,
// as a crash may end it, whatever lies behind: a power cut keeps any part of what was not synced.
//
// The file may be written meanwhile. fileSize is called after the marks were read, so that they never speak of more
// than it returns.
func ScanFrames(file *File, r io.ReaderAt, fileSize func() (int64, error)) (*Frames, error) {
	s := &Frames{file: file, r: r, cached: -1}
	durable, err := s.readMarks()
	if err != nil {
		return nil, err
	}
	size, err := fileSize()
	if err != nil {
		return nil, err
	}
	var buf []byte
	offset := int64(FrameStart)
	for offset < size && !s.final {
		head, n, err := s.readFrame(&buf, offset, size)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		if head.kind == frameData {
			s.refs = append(s.refs, frameRef{offset: offset, start: s.size, head: head})
			s.size += int64(head.length)
		}
		s.final = head.kind == frameFinal
		offset += n
	}
	if offset < durable {
		return nil, damaged("no frame at offset %d, though the file was durable up to %d", offset, durable)
	}
	if s.final && offset < size {
		return nil, damaged("bytes follow the final frame")
	}
	s.torn = size - offset
	return s, nil
}

// readMarks checks the front of the file and returns up to where the file was durable.
func (s *Frames) readMarks() (int64, error) {
	front := make([]byte, FrameStart)
	if err := readFull(s.r, front, 0); err != nil {
		return 0, err
	}
	if !isZero(front[HeaderSize:framePage]) {
		return 0, damaged("the header's page is not zero behind the header")
	}
	durable := int64(0)
	for number := range 2 {
		sealed := front[(1+number)*framePage:][:framePage]
		mark, err := s.file.Open(nil, sealed, markAAD(number))
		if err == nil {
			durable = max(durable, int64(binary.BigEndian.Uint64(mark)))
		}
	}
	if durable < FrameStart {
		return 0, damaged("neither mark authenticates")
	}
	return durable, nil
}

// readFrame authenticates the frame at offset and returns its length in the file, 0 if there is none. Its plaintext is
// then buf.
func (s *Frames) readFrame(buf *[]byte, offset, fileSize int64) (frameHeader, int64, error) {
	if fileSize-offset < FrameOverhead {
		return frameHeader{}, 0, nil
	}
	var head [frameHead]byte
	if err := readFull(s.r, head[:], offset); err != nil {
		return frameHeader{}, 0, err
	}
	h := frameHeader{length: binary.BigEndian.Uint32(head[:]), kind: binary.BigEndian.Uint32(head[4:])}
	plausible := h.kind <= frameFinal && (h.kind == frameFinal) == (h.length == 0) && h.length <= 1<<s.file.chunkLog2
	if !plausible || int64(h.length)+FrameOverhead > fileSize-offset {
		return h, 0, nil
	}
	opened, err := s.open(buf, offset, h)
	if err != nil || !opened {
		return h, 0, err
	}
	return h, FrameOverhead + int64(h.length), nil
}

// open decrypts the frame with header h at offset into buf. It returns false if the frame does not authenticate.
func (s *Frames) open(buf *[]byte, offset int64, h frameHeader) (bool, error) {
	n := int(h.length) + Overhead
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	sealed := (*buf)[:n]
	if err := readFull(s.r, sealed, offset+frameHead); err != nil {
		return false, err
	}
	var aad [frameAADSize]byte
	var head [frameHead]byte
	plaintext, err := s.file.Open(sealed[:0], sealed, appendFrameAAD(aad[:0], offset, h.append(head[:0])))
	if err != nil {
		return false, nil
	}
	*buf = plaintext
	return true, nil
}

// ReadAt reads plaintext, as [io.ReaderAt] says.
func (s *Frames) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("reading at offset %d", offset)
	}
	n := 0
	for i := s.find(offset); i < len(s.refs) && n < len(p); i++ {
		took, err := s.readPart(p[n:], i, offset+int64(n)-s.refs[i].start)
		n += took
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPart copies to p what frame i holds from within on.
func (s *Frames) readPart(p []byte, i int, within int64) (int, error) {
	if !s.cache.TryLock() {
		var buf []byte
		err := s.reopen(&buf, i)
		return copy(p, buf[min(within, int64(len(buf))):]), err
	}
	defer s.cache.Unlock()
	if s.cached != i {
		s.cached = -1
		if err := s.reopen(&s.plain, i); err != nil {
			return 0, err
		}
		s.cached = i
	}
	return copy(p, s.plain[within:]), nil
}

// reopen decrypts frame i, which authenticated when it was scanned, into buf.
func (s *Frames) reopen(buf *[]byte, i int) error {
	ref := s.refs[i]
	opened, err := s.open(buf, ref.offset, ref.head)
	if err == nil && !opened {
		err = damaged("frame at offset %d changed since it was scanned", ref.offset)
	}
	if err != nil {
		*buf = (*buf)[:0]
	}
	return err
}

// find returns the number of the frame that holds the plaintext byte at offset, len(refs) if none does.
func (s *Frames) find(offset int64) int {
	return sort.Search(len(s.refs), func(i int) bool {
		return s.refs[i].start+int64(s.refs[i].head.length) > offset
	})
}

// readFull reads len(p) bytes that must be there.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return damaged("the file ends at offset %d", offset+int64(n))
	}
	return err
}
