package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

// SuiteXWing is HPKE with X-Wing (ML-KEM-768 and X25519, KEM 0x647a) and HKDF-SHA256, export only, and AES-256-GCM for
// what the exported keys seal. The numbers 2 (ML-KEM-768 and P-256) and 3 (ML-KEM-1024 and P-384) are reserved.
const SuiteXWing = 1

const (
	xwingPublicBytes = 1216
	xwingEncBytes    = 1120
	seedBytes        = 32
	keyBytes         = 32
	nonceBytes       = 12
	tagBytes         = 16

	// Overhead is what sealing adds to the padded inside of a message: nonce and tag.
	Overhead = nonceBytes + tagBytes
)

func checkSuite(suite uint8) error {
	if suite != SuiteXWing {
		return fmt.Errorf("%w: suite %d", ErrUnsupported, suite)
	}
	return nil
}

// exporter is the half of an HPKE context that is used.
type exporter interface {
	Export(context string, length int) ([]byte, error)
}

// encapsulate agrees on fresh secrets with the holder of a public key.
func encapsulate(public, info []byte) (enc []byte, _ exporter, err error) {
	key, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, nil, fmt.Errorf("epoch public key: %w: %w", ErrMalformed, err)
	}
	return hpke.NewSender(key, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
}

// decapsulate finds the same secrets. It seldom fails: with another key it finds others.
func decapsulate(key hpke.PrivateKey, enc, info []byte) (exporter, error) {
	return hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
}

// exportAEAD returns AES-256-GCM, with random nonces that it writes before the ciphertext, under a key exported for
// label and fields. One such key seals at most 2^20 messages, so that two nonces meet with probability 2^-57.
func exportAEAD(e exporter, label string, fields ...[]byte) (cipher.AEAD, error) {
	key, err := e.Export(string(codec.PAE(label, fields...)), keyBytes)
	if err != nil {
		return nil, fmt.Errorf("exporting a key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("AES-256: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
