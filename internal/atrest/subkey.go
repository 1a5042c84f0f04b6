package atrest

import (
	"crypto/cipher"
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

// SubKey seals small records that are stored in many places under a key derived from one erasable secret: when the
// secret is destroyed, no copy of them opens any more. It is safe for concurrent use.
//
//	key = HKDF-SHA256(secret, salt, PAE("sealmq/subkey/v1", purpose), 64)[0:32]
//	sealed = nonce 12 | ciphertext | tag 16
type SubKey struct {
	aead *cipher.AEAD // a pointer so that no verb of package fmt gets at the key schedule
}

// NewSubKey derives the key of one purpose from a secret and a salt. A salt is drawn at random and serves at most 2^30
// seals, so that random nonces never meet.
func NewSubKey(from [32]byte, salt [16]byte, purpose string) (*SubKey, error) {
	key, err := secretFrom(from[:])
	if err != nil {
		return nil, fmt.Errorf("deriving a sub-key: %w", err)
	}
	aead, _, err := derive(key, salt[:], codec.PAE("sealmq/subkey/v1", []byte(purpose)))
	if err != nil {
		return nil, err
	}
	return &SubKey{aead: &aead}, nil
}

// Seal appends nonce, ciphertext and tag of plaintext to dst.
func (k *SubKey) Seal(dst, plaintext, aad []byte) []byte {
	return (*k.aead).Seal(dst, nil, plaintext, aad)
}

// Open appends what Seal sealed to dst, or fails with [ErrDamaged].
func (k *SubKey) Open(dst, sealed, aad []byte) ([]byte, error) {
	plaintext, err := (*k.aead).Open(dst, nil, sealed, aad)
	if err != nil {
		return nil, damaged("authentication failed")
	}
	return plaintext, nil
}
