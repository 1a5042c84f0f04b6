package codec

import (
	"encoding/binary"
	"math"
)

// AppendU16, AppendU32 and AppendU64 append a big-endian integer.
func AppendU16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }

// AppendU32 appends four bytes, big-endian.
func AppendU32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// AppendU64 appends eight bytes, big-endian.
func AppendU64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// AppendUvarint appends the minimal varint of v.
func AppendUvarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// AppendBytes8 appends a u8 length and b. It panics if b is longer than 255 bytes: writers own their lengths.
func AppendBytes8(dst, b []byte) []byte {
	if len(b) > math.MaxUint8 {
		panic("codec: more than 255 bytes for a u8 length")
	}
	return append(append(dst, byte(len(b))), b...)
}

// AppendBytes16 appends a u16 length and b. It panics if b is longer than 65,535 bytes.
func AppendBytes16(dst, b []byte) []byte {
	if len(b) > math.MaxUint16 {
		panic("codec: more than 65,535 bytes for a u16 length")
	}
	return append(AppendU16(dst, uint16(len(b))), b...)
}

// AppendBytes appends a varint length and b.
func AppendBytes(dst, b []byte) []byte {
	return append(AppendUvarint(dst, uint64(len(b))), b...)
}

// UvarintLen returns how many bytes AppendUvarint appends for v.
func UvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
