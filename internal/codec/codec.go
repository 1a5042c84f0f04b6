// Package codec reads and writes the bytes that other packages own the meaning of.
//
// It knows fixed big-endian integers, minimal varints and length-prefixed runs of bytes, and the one encoding of
// everything that is signed, derived or authenticated ([PAE]). It must not know any message, file or key format.
//
// Laws:
//
//   - A [Reader] never reads past its input, never panics and never allocates in proportion to a length that it has
//     not first compared with the bytes that are really there.
//   - One value has one encoding: a varint longer than it need be is refused, and [Reader.Done] refuses trailing bytes.
//     So what parses re-encodes to the same bytes.
//   - Writers append to a slice and cannot fail.
//
// Bytes:
//
//	u8 u16 u32 u64   big-endian
//	uvarint          7 bits a byte, least significant first, high bit = more follows; at most 10 bytes; minimal
//	bytes8/16/v      u8, u16 or uvarint length, then that many bytes
//	PAE(label, f..)  u16 len(label) | label | u16 count | (u32 len(f) | f)*
package codec
