package wire

import (
	"encoding/binary"
	"errors"
	"io"
)

// A frame's length counts its type and request id, and not itself.
const (
	frameLengthBytes = 4
	frameFixedBytes  = 5
	// FrameHeaderBytes is what a frame has before its payload.
	FrameHeaderBytes = frameLengthBytes + frameFixedBytes
)

// AppendFrame appends m as one frame. Whoever fills a batch keeps it within FrameBytes with the items' SizeBound.
func AppendFrame(dst []byte, request uint32, m Message) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(m.Type()), byte(request>>24), byte(request>>16), byte(request>>8), byte(request))
	dst = m.Append(dst)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-frameLengthBytes))
	return dst
}

// smallBufferBytes holds any frame that may come before an identity is proved, and is all that an idle connection
// keeps.
const smallBufferBytes = frameLengthBytes + PreAuthFrameBytes

// emptyReads is how often a source may return nothing and no error.
const emptyReads = 100

// FrameReader reads frames from a connection. It holds a small buffer, and a large one while a frame needs it, which
// grows as bytes arrive: announcing a length costs this side nothing. It is for one goroutine.
type FrameReader struct {
	src        io.Reader
	limit      int
	buf        []byte // buf[start:end] is read and not yet returned
	start, end int
	small      []byte
	large      *[]byte // what buf is, if it came from the pool
	proven     int     // the largest frame that has come whole: so much may be taken at once
	err        error   // a *FrameError, for ever
}

// NewFrameReader returns a reader with the limit that holds before an identity is proved.
func NewFrameReader(r io.Reader) *FrameReader {
	small := make([]byte, smallBufferBytes)
	return &FrameReader{src: r, limit: PreAuthFrameBytes, buf: small, small: small}
}

// SetLimit changes the largest length that a frame may announce, from PreAuthFrameBytes to FrameBytes.
func (f *FrameReader) SetLimit(n int) { f.limit = min(max(n, PreAuthFrameBytes), FrameBytes) }

// Next returns the next frame. The payload is valid until the next call. The error is io.EOF between frames,
// io.ErrUnexpectedEOF inside one, a [*FrameError] for a frame that was refused (then every later call returns the
// same), or the source's own; after a timeout of the source Next may be called again.
func (f *FrameReader) Next() (t Type, request uint32, payload []byte, err error) {
	if f.err != nil {
		return 0, 0, nil, f.err
	}
	f.release()
	if err := f.fill(frameLengthBytes); err != nil {
		return 0, 0, nil, err
	}
	size := binary.BigEndian.Uint32(f.buf[f.start:])
	if err := f.check(size); err != nil {
		f.err = err
		return 0, 0, nil, err
	}
	whole := frameLengthBytes + int(size)
	if err := f.fill(whole); err != nil {
		return 0, 0, nil, err
	}
	f.proven = max(f.proven, whole)
	frame := f.buf[f.start : f.start+whole : f.start+whole]
	f.start += whole
	return Type(frame[4]), binary.BigEndian.Uint32(frame[5:]), frame[FrameHeaderBytes:], nil
}

func (f *FrameReader) check(size uint32) error {
	switch {
	case uint64(size) > uint64(f.limit):
		return &FrameError{ErrFrameTooLarge, size, f.limit, foreignProtocol(f.buf[f.start:])}
	case size < frameFixedBytes:
		return &FrameError{ErrBadFrame, size, f.limit, ""}
	}
	return nil
}

// fill reads until need bytes are there.
func (f *FrameReader) fill(need int) error {
	empty := 0
	for f.end-f.start < need {
		f.room(need)
		n, err := f.src.Read(f.buf[f.end:])
		f.end += n
		switch {
		case n > 0:
			empty = 0
		case err == nil:
			if empty++; empty == emptyReads {
				return io.ErrNoProgress
			}
		case errors.Is(err, io.EOF) && f.end > f.start:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
	return nil
}

// room makes space behind end for a frame of need bytes: all of them if a frame of that size has come before, else no
// more than what has arrived takes, so that memory follows bytes and not announcements.
func (f *FrameReader) room(need int) {
	if f.end < len(f.buf) && need <= len(f.buf)-f.start {
		return
	}
	if f.start > 0 {
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	if need <= len(f.buf) || f.end < len(f.buf) && need > f.proven {
		return
	}
	want := need
	if need > f.proven {
		want = min(need, 2*len(f.buf))
	}
	large := takeBuffer(want)
	copy(*large, f.buf[:f.end])
	if f.large != nil {
		giveBuffer(f.large)
	}
	f.large, f.buf = large, *large
}

// release gives a large buffer back once what is left in it fits the small one.
func (f *FrameReader) release() {
	if f.start == f.end {
		f.start, f.end = 0, 0
	}
	if f.large == nil || f.end-f.start > len(f.small) {
		return
	}
	f.end = copy(f.small, f.buf[f.start:f.end])
	f.start = 0
	giveBuffer(f.large)
	f.large, f.buf = nil, f.small
}

// foreignProtocol names the protocol that the first bytes of a refused frame belong to.
func foreignProtocol(b []byte) string {
	if len(b) >= 3 && (b[0] == 0x16 || b[0] == 0x15) && b[1] == 3 && b[2] <= 4 {
		return "TLS"
	}
	if len(b) < 4 {
		return ""
	}
	switch string(b[:4]) {
	case "GET ", "HEAD", "POST", "PUT ", "DELE", "OPTI", "PATC", "CONN", "TRAC", "PRI ", "HTTP":
		return "HTTP"
	case "SSH-":
		return "SSH"
	case "PROX", "\r\n\r\n":
		return "the PROXY protocol"
	}
	return ""
}
