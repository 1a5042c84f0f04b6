package atrest

import (
	"crypto/cipher"
	"fmt"
)

// File seals and opens the parts of one file under that file's own key. It is safe for concurrent use.
type File struct {
	aead      *cipher.AEAD // a pointer so that no verb of package fmt gets at the key schedule
	key       KeyID
	chunkLog2 uint8
}

// Seal appends nonce, ciphertext and tag of plaintext to dst. aad says where in the file it belongs; opening it needs
// the same. The spare capacity of dst must not overlap plaintext or aad, except that plaintext may start where dst
// ends.
func (f *File) Seal(dst, plaintext, aad []byte) []byte {
	return (*f.aead).Seal(dst, nil, plaintext, aad)
}

// Open appends what Seal sealed to dst, or fails with [ErrDamaged]. To open without allocating give dst the capacity
// for len(sealed)-Overhead bytes more. The spare capacity of dst must not overlap sealed, except that dst may be
// sealed[:0].
func (f *File) Open(dst, sealed, aad []byte) ([]byte, error) {
	plaintext, err := (*f.aead).Open(dst, nil, sealed, aad)
	if err != nil {
		return nil, damaged("authentication failed")
	}
	return plaintext, nil
}

// ChunkBytes returns how many bytes of the file one chunk takes, nonce and tag included; 1 for a record, which has
// none.
func (f *File) ChunkBytes() int { return 1 << f.chunkLog2 }

// ChunkLog2 returns the logarithm of ChunkBytes.
func (f *File) ChunkLog2() uint8 { return f.chunkLog2 }

// Key returns the id of the data key that the file's key is derived from.
func (f *File) Key() KeyID { return f.key }

// Format prints the data key's id, never a key.
func (f *File) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "File(key %s)", f.key) }
