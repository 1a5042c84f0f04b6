package envelope

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"

	"github.com/sealmq/sealmq/internal/codec"
)

// Fingerprint returns the form of an identity's public key that people compare: 160 bits of its hash in groups of
// four.
func Fingerprint(key [32]byte) string {
	sum := sha256.Sum256(codec.PAE(labelFingerprint, key[:]))
	text := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20]))
	var b strings.Builder
	for i := 0; i < len(text); i += 4 {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(text[i : i+4])
	}
	return b.String()
}

// smallOrder holds the y coordinates, little-endian and without the sign bit, of the Ed25519 points whose order
// divides eight, in canonical and other encodings that Go's verifier decodes. Under such a "key" one signature
// verifies for many messages, so a statement or record would not bind what it says.
var smallOrder = [7][32]byte{
	{},
	{1},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	fieldPrimeAnd(0xec),
	fieldPrimeAnd(0xed),
	fieldPrimeAnd(0xee),
}

// fieldPrimeAnd returns 2^255 - 19 with its lowest byte replaced: 0xec is p-1, 0xed is p, 0xee is p+1.
func fieldPrimeAnd(low byte) (y [32]byte) {
	for i := range y {
		y[i] = 0xff
	}
	y[0], y[31] = low, 0x7f
	return y
}

func checkIdentityKey(key [32]byte) error {
	key[31] &= 0x7f
	for _, weak := range smallOrder {
		if key == weak {
			return ErrWeakKey
		}
	}
	return nil
}

// hidden holds a secret so that no verb of fmt prints it: fmt looks through pointers and interfaces of unexported
// fields, where it cannot call a Format method, but not into functions.
type hidden[T any] func() T

func hide[T any](secret T) hidden[T] { return func() T { return secret } }

func isZero(b []byte) bool {
	var or byte
	for _, v := range b {
		or |= v
	}
	return subtle.ConstantTimeByteEq(or, 0) == 1
}

// verify reports whether sig is key's signature over PAE(label, fields).
func verify(key [32]byte, sig []byte, label string, fields ...[]byte) bool {
	return ed25519.Verify(key[:], codec.PAE(label, fields...), sig)
}

// checkName accepts what can stand in a terminal, a log and a path without surprises. Mailbox names have stricter
// rules, which the protocol owns.
func checkName(name string) error {
	if len(name) == 0 || len(name) > 255 || !isPrintable(name) || strings.Contains(name, " ") {
		return ErrName
	}
	return nil
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
