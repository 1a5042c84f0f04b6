package atrest

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sealmq/sealmq/internal/codec"
)

// Root is where the key lives that opens a ring file: a key file, later a credential, a passphrase or an outside
// service. What Wrap returns starts with the name and parameters of its key derivation, so that the ring file says how
// it is to be opened.
type Root interface {
	// ID names the root key without telling it. It is stored in clear beside what the key wrapped.
	ID() string
	// Wrap seals a key; Unwrap opens it given the same aad.
	Wrap(key, aad []byte) ([]byte, error)
	Unwrap(wrapped, aad []byte) ([]byte, error)
}

// KeyFileError says why a key file was refused.
type KeyFileError struct {
	Path   string
	Reason string
	Err    error // what the operating system said, or nil
}

func (e *KeyFileError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("key file %s: %s: %v", e.Path, e.Reason, e.Err)
	}
	return fmt.Sprintf("key file %s: %s", e.Path, e.Reason)
}

func (e *KeyFileError) Unwrap() error { return e.Err }

// NewKeyFile makes a key file: 32 random bytes that only the owner may read. An existing file is refused.
func NewKeyFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &KeyFileError{Path: path, Reason: "cannot be created", Err: err}
	}
	key := newSecret()
	defer clear(key.bytes())
	_, err = f.Write(key.bytes())
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = syncDirOf(path)
	}
	if err != nil {
		os.Remove(path)
		return &KeyFileError{Path: path, Reason: "cannot be written", Err: err}
	}
	return nil
}

// KeyFileRoot reads a key file. The error is a [*KeyFileError]; the file is refused if others than its owner may read
// or write it, and if it is not a regular file, not 32 bytes, or all zero.
func KeyFileRoot(path string) (Root, error) {
	key, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	id, err := hkdf.Key(sha256.New, key.bytes(), nil, string(codec.PAE("sealmq/root-id/v1")), 8)
	if err != nil {
		return nil, fmt.Errorf("naming the key of %s: %w", path, err)
	}
	return &keyFile{key: key, id: "keyfile:" + hex.EncodeToString(id)}, nil
}

func readKeyFile(path string) (*secret, error) {
	// Stat comes first because opening a pipe would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, &KeyFileError{Path: path, Reason: "cannot be read", Err: err}
	}
	if !info.Mode().IsRegular() {
		return nil, &KeyFileError{Path: path, Reason: "is not a regular file"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &KeyFileError{Path: path, Reason: "cannot be read", Err: err}
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, &KeyFileError{Path: path, Reason: "cannot be read", Err: err}
	}
	if othersMayAccess(info) {
		return nil, &KeyFileError{Path: path,
			Reason: fmt.Sprintf("others than its owner may access it (mode %04o); run chmod 600", info.Mode().Perm())}
	}
	var buf [keySize + 1]byte
	defer clear(buf[:])
	n, err := io.ReadFull(f, buf[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, &KeyFileError{Path: path, Reason: "cannot be read", Err: err}
	}
	if n != keySize {
		return nil, &KeyFileError{Path: path, Reason: fmt.Sprintf("is not exactly %d bytes long", keySize)}
	}
	key, err := secretFrom(buf[:keySize])
	if err != nil {
		return nil, &KeyFileError{Path: path, Reason: err.Error()}
	}
	return key, nil
}

// keyFile wraps under a key derived from the file's 32 bytes:
//
//	u8 length | "hkdf-sha256" | u8 length 32 | salt | sealed key
//	wrapping key = HKDF(file, salt, PAE("sealmq/root-wrap/v1", id, aad))[:32], additional data the same PAE string
type keyFile struct {
	key *secret
	id  string
}

func (k *keyFile) ID() string { return k.id }

// Format prints the key's name, never the key.
func (k *keyFile) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "Root(%s)", k.id) }

func (k *keyFile) Wrap(key, aad []byte) ([]byte, error) {
	var salt [saltSize]byte
	rand.Read(salt[:])
	info := codec.PAE("sealmq/root-wrap/v1", []byte(k.id), aad)
	aead, _, err := derive(k.key, salt[:], info)
	if err != nil {
		return nil, err
	}
	wrapped := codec.AppendBytes8(nil, []byte(kdfName))
	wrapped = codec.AppendBytes8(wrapped, salt[:])
	return aead.Seal(wrapped, nil, key, info), nil
}

func (k *keyFile) Unwrap(wrapped, aad []byte) ([]byte, error) {
	r := codec.NewReader(wrapped)
	name, salt, sealed := r.Bytes8(), r.Bytes8(), r.Rest()
	if r.Err() != nil {
		return nil, damaged("wrapped key is short")
	}
	if string(name) != kdfName || len(salt) != saltSize {
		return nil, fmt.Errorf("%w: key derivation of the wrapped key", ErrVersion)
	}
	info := codec.PAE("sealmq/root-wrap/v1", []byte(k.id), aad)
	aead, _, err := derive(k.key, salt, info)
	if err != nil {
		return nil, err
	}
	key, err := aead.Open(nil, nil, sealed, info)
	if err != nil {
		return nil, damaged("wrapped key does not authenticate")
	}
	return key, nil
}
