package codec

import "math"

// PAE returns the pre-authentication encoding of fields under a label that names what they are for. It is injective:
// two different (label, fields) never encode alike, so nothing signed or sealed for one purpose verifies for another.
//
//	u16 len(label) | label | u16 count | (u32 len(field) | field)*
//
// Labels have the form "sealmq/<what>/v<n>".
func PAE(label string, fields ...[]byte) []byte {
	size := 4 + len(label)
	for _, f := range fields {
		size += 4 + len(f)
	}
	return AppendPAE(make([]byte, 0, size), label, fields...)
}

// AppendPAE appends PAE(label, fields) to dst. It panics on a label or field longer than its length prefix can say.
func AppendPAE(dst []byte, label string, fields ...[]byte) []byte {
	if len(label) > math.MaxUint16 || len(fields) > math.MaxUint16 {
		panic("codec: PAE label or field count does not fit 16 bits")
	}
	dst = AppendU16(dst, uint16(len(label)))
	dst = append(dst, label...)
	dst = AppendU16(dst, uint16(len(fields)))
	for _, f := range fields {
		if uint64(len(f)) > math.MaxUint32 {
			panic("codec: PAE field does not fit 32 bits")
		}
		dst = AppendU32(dst, uint32(len(f)))
		dst = append(dst, f...)
	}
	return dst
}
