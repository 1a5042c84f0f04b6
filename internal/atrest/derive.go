package atrest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

const (
	keySize        = 32
	saltSize       = 32
	commitmentSize = 32
	nonceSize      = 12
	tagSize        = 16

	// Overhead is by how much sealed bytes are longer than their plaintext: a nonce and a tag.
	Overhead = nonceSize + tagSize

	// suiteAES256GCM is AES-256-GCM with random nonces, keys by HKDF-SHA256.
	suiteAES256GCM = 1
	kdfName        = "hkdf-sha256"
)

// secret is a 32-byte key. It is held as *secret: behind two pointers package fmt shows an address, whatever the verb
// and wherever in a larger value it is.
type secret struct{ key *[keySize]byte }

// Format keeps the key out of every verb.
func (*secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[key]") }

func (s *secret) bytes() []byte { return s.key[:] }

func newSecret() *secret {
	s := &secret{key: new([keySize]byte)}
	rand.Read(s.bytes())
	return s
}

// secretFrom copies b, and refuses a key that is all zero: that is what a key that was never set looks like.
func secretFrom(b []byte) (*secret, error) {
	if len(b) != keySize {
		return nil, fmt.Errorf("key has %d bytes, not %d", len(b), keySize)
	}
	if subtle.ConstantTimeCompare(b, make([]byte, keySize)) == 1 {
		return nil, errZeroKey
	}
	return &secret{key: (*[keySize]byte)(bytes.Clone(b))}, nil
}

var errZeroKey = errors.New("key is all zero")

// derive returns the AEAD and the commitment that belong to (key, salt, info).
func derive(key *secret, salt, info []byte) (cipher.AEAD, []byte, error) {
	okm, err := hkdf.Key(sha256.New, key.bytes(), salt, string(info), keySize+commitmentSize)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving a key: %w", err)
	}
	defer clear(okm[:keySize])
	block, err := aes.NewCipher(okm[:keySize])
	if err != nil {
		return nil, nil, fmt.Errorf("setting up AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, nil, fmt.Errorf("setting up AES-GCM: %w", err)
	}
	return aead, okm[keySize:], nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func isZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}
