package codec

import (
	"encoding/binary"
	"errors"
)

// The ways that untrusted bytes can be wrong. Callers wrap them with what was being read.
var (
	// ErrShort means that the input ended inside a value.
	ErrShort = errors.New("input ends inside a value")
	// ErrTrailing means that bytes follow the last value.
	ErrTrailing = errors.New("bytes follow the last value")
	// ErrVarint means a varint that is not minimal or does not fit 64 bits.
	ErrVarint = errors.New("varint is not minimal or overflows 64 bits")
	// ErrLimit means a length or count above what the caller allows.
	ErrLimit = errors.New("length is above its limit")
)

// Reader takes values off the front of a byte slice. The first failure sticks: every later read returns zero values,
// so a decoder may read all its fields and look at [Reader.Err] or [Reader.Done] once. Byte slices that it returns
// alias the input.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a Reader of b, which it does not copy.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// Err returns the first failure.
func (r *Reader) Err() error { return r.err }

// Len returns how many bytes have not been read, 0 after a failure.
func (r *Reader) Len() int { return len(r.rest) }

// Fail makes the Reader fail with err unless it already has. A decoder uses it for a value that parses but that the
// format does not allow.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

// Done returns the first failure, or [ErrTrailing] if anything is left.
func (r *Reader) Done() error {
	if r.err == nil && len(r.rest) != 0 {
		r.Fail(ErrTrailing)
	}
	return r.err
}

// Take returns the next n bytes without copying them, nil on failure or if n is 0.
func (r *Reader) Take(n int) []byte {
	if r.err != nil || n == 0 {
		return nil
	}
	if n < 0 || n > len(r.rest) {
		r.Fail(ErrShort)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// Rest returns everything that is left.
func (r *Reader) Rest() []byte { return r.Take(len(r.rest)) }

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if len(r.rest) < 1 {
		r.Fail(ErrShort)
		return 0
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

// U16 reads two bytes, big-endian.
func (r *Reader) U16() uint16 {
	if b := r.Take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes, big-endian.
func (r *Reader) U32() uint32 {
	if b := r.Take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes, big-endian.
func (r *Reader) U64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Array16 reads 16 bytes, the size of our ids.
func (r *Reader) Array16() (v [16]byte) {
	copy(v[:], r.Take(16))
	return v
}

// Array32 reads 32 bytes, the size of our keys and digests.
func (r *Reader) Array32() (v [32]byte) {
	copy(v[:], r.Take(32))
	return v
}

// Uvarint reads a minimal varint.
func (r *Reader) Uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v := uint64(r.rest[0])
		r.rest = r.rest[1:]
		return v
	}
	v, n := binary.Uvarint(r.rest)
	switch {
	case n == 0:
		r.Fail(ErrShort)
		return 0
	case n < 0 || r.rest[n-1] == 0:
		r.Fail(ErrVarint)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Length reads a varint that must not be above limit. Use it for counts as well: a count of things that take at least
// one byte each should also be compared with [Reader.Len] before memory is taken.
func (r *Reader) Length(limit int) int {
	v := r.Uvarint()
	if v > uint64(limit) {
		r.Fail(ErrLimit)
		return 0
	}
	return int(v)
}

// Count reads a varint count of things that take at least least (> 0) bytes each, and fails with [ErrLimit] if it is
// above limit, with [ErrShort] if so many cannot be there. Its result is safe to allocate for.
func (r *Reader) Count(limit, least int) int {
	n := r.Length(limit)
	if n > len(r.rest)/least {
		r.Fail(ErrShort)
		return 0
	}
	return n
}

// Bytes8 reads a u8 length and that many bytes.
func (r *Reader) Bytes8() []byte { return r.Take(int(r.U8())) }

// Bytes16 reads a u16 length, at most limit, and that many bytes.
func (r *Reader) Bytes16(limit int) []byte {
	n := int(r.U16())
	if n > limit {
		r.Fail(ErrLimit)
		return nil
	}
	return r.Take(n)
}

// Bytes reads a varint length, at most limit, and that many bytes.
func (r *Reader) Bytes(limit int) []byte { return r.Take(r.Length(limit)) }
