package envelope

import "math/bits"

// minPadded keeps short answers alike: without it "yes" and "no" would differ in length.
const minPadded = 64

// PaddedLen returns the length that n bytes are padded to: Padmé, which rounds n up so that its last bits are zero and
// leaves at most log log n bits of the length to see, for at most 12 % more bytes; and never less than 64.
func PaddedLen(n int) int {
	if n <= minPadded {
		return minPadded
	}
	exponent := bits.Len(uint(n)) - 1
	lastBits := exponent - bits.Len(uint(exponent))
	mask := 1<<lastBits - 1
	return (n + mask) &^ mask
}
