package atrest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

// The ring file. The digest at the end is of all bytes before it, in every version: it finds accidents before any key
// is tried, so that a wrong key and a damaged file are told apart.
//
//	"SMQK" 4 | version 1 | suite 1
//	u8 length, KDF name ("hkdf-sha256") | u8 length, KDF parameters (salt 32)
//	rings id 16 | generation u64
//	u8 count, then each wrap: u8 length, root id | u16 length, wrapped KEK
//	uvarint length, sealed data keys (AES-256-GCM)
//	commitment 32 | SHA-256 32
//
// key, commitment = HKDF(KEK, salt, PAE("sealmq/rings/v1", everything before the sealed data keys and their length));
// the additional data is the same PAE string, so the wraps are authenticated too. The data keys in the seal:
//
//	u8 count of rings, then each: u8 kind | u16 count, then each key, the active one last: id 8 | created u64 | key 32
const (
	ringsMagic      = "SMQK"
	ringsVersion    = 1
	maxRingsFile    = 1 << 20
	maxWrapped      = 4096
	dataKeySize     = 8 + 8 + keySize
	maxSealedRings  = 1 << 20
	ringsMinimumLen = len(ringsMagic) + 1 + sha256.Size
)

// Marshal returns the bytes of the ring file. Each call seals under another salt and nonce.
func (r *Rings) Marshal() ([]byte, error) {
	salt := randomBytes(saltSize)
	b := append([]byte(ringsMagic), ringsVersion, suiteAES256GCM)
	b = codec.AppendBytes8(b, []byte(kdfName))
	b = codec.AppendBytes8(b, salt)
	b = append(b, r.id[:]...)
	b = codec.AppendU64(b, r.generation)
	b = append(b, byte(len(r.wraps)))
	for _, w := range r.wraps {
		if len(w.rootID) == 0 || len(w.rootID) > 255 || len(w.wrapped) > maxWrapped {
			return nil, fmt.Errorf("root key %s: its name or what it wrapped is too long for the ring file", w.rootID)
		}
		b = codec.AppendBytes8(b, []byte(w.rootID))
		b = codec.AppendBytes16(b, w.wrapped)
	}
	info := codec.PAE("sealmq/rings/v1", b)
	aead, commitment, err := derive(r.kek, salt, info)
	if err != nil {
		return nil, err
	}
	keys := appendDataKeys(nil, r.rings)
	defer clear(keys)
	b = codec.AppendBytes(b, aead.Seal(nil, nil, keys, info))
	b = append(b, commitment...)
	digest := sha256.Sum256(b)
	return append(b, digest[:]...), nil
}

func appendDataKeys(dst []byte, rings []*Ring) []byte {
	size := 1
	for _, ring := range rings {
		size += 3 + dataKeySize*len(*ring.keys.Load())
	}
	dst = append(make([]byte, 0, size), dst...) // never grown: append would leave copies of the keys behind
	dst = append(dst, byte(len(rings)))
	for _, ring := range rings {
		keys := *ring.keys.Load()
		dst = append(dst, byte(ring.kind))
		dst = codec.AppendU16(dst, uint16(len(keys)))
		for _, k := range keys {
			dst = append(dst, k.id[:]...)
			dst = codec.AppendU64(dst, uint64(k.created))
			dst = append(dst, k.secret.bytes()...)
		}
	}
	return dst
}

// OpenRings reads a ring file with a root key. The error wraps [ErrWrongKey] if the file is whole but sealed for other
// root keys, else [ErrVersion] or [ErrDamaged], or is what the root provider answered.
func OpenRings(file []byte, root Root) (*Rings, error) {
	r, err := openRings(file, root)
	if err != nil {
		return nil, fmt.Errorf("opening the ring file: %w", err)
	}
	return r, nil
}

func openRings(file []byte, root Root) (*Rings, error) {
	p, err := parseRings(file)
	if err != nil {
		return nil, err
	}
	r := &Rings{id: p.id, generation: p.generation, wraps: p.wraps}
	if err := r.unwrapWith(root); err != nil {
		return nil, err
	}
	info := codec.PAE("sealmq/rings/v1", p.clear)
	aead, commitment, err := derive(r.kek, p.salt, info)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, p.commitment) != 1 {
		return nil, damaged("key commitment differs")
	}
	keys, err := aead.Open(nil, nil, p.sealed, info)
	if err != nil {
		return nil, damaged("data keys do not authenticate")
	}
	defer clear(keys)
	if r.rings, err = parseDataKeys(keys); err != nil {
		return nil, err
	}
	return r, nil
}

type parsedRings struct {
	clear      []byte // all that is authenticated but not sealed
	salt       []byte
	id         [16]byte
	generation uint64
	wraps      []wrap
	sealed     []byte
	commitment []byte
}

func parseRings(file []byte) (*parsedRings, error) {
	if len(file) < ringsMinimumLen || len(file) > maxRingsFile || string(file[:len(ringsMagic)]) != ringsMagic {
		return nil, damaged("not a ring file")
	}
	body := file[:len(file)-sha256.Size]
	digest := sha256.Sum256(body)
	if !bytes.Equal(digest[:], file[len(body):]) {
		return nil, damaged("checksum differs")
	}
	r := codec.NewReader(body[len(ringsMagic):])
	if v := r.U8(); v != ringsVersion {
		return nil, unknownVersion("ring file", v)
	}
	if v := r.U8(); v != suiteAES256GCM {
		return nil, unknownVersion("cipher suite", v)
	}
	p := &parsedRings{}
	name := r.Bytes8()
	p.salt = r.Bytes8()
	if r.Err() == nil && (string(name) != kdfName || len(p.salt) != saltSize) {
		return nil, fmt.Errorf("%w: key derivation of the ring file", ErrVersion)
	}
	p.id = r.Array16()
	p.generation = r.U64()
	for range r.U8() {
		w := wrap{rootID: string(r.Bytes8()), wrapped: r.Bytes16(maxWrapped)}
		if r.Err() != nil {
			break
		}
		p.wraps = append(p.wraps, w)
		if len(p.wraps) > maxWraps || w.rootID == "" {
			r.Fail(errors.New("too many wraps or one without a name"))
		}
	}
	p.clear = body[:len(body)-r.Len()]
	p.sealed = r.Bytes(maxSealedRings)
	p.commitment = r.Take(commitmentSize)
	if err := r.Done(); err != nil {
		return nil, damaged("ring file: %v", err)
	}
	if len(p.wraps) == 0 {
		return nil, damaged("ring file has no wraps")
	}
	return p, nil
}

// parseDataKeys wants exactly the rings that this version has, in their order, each with a key.
func parseDataKeys(b []byte) ([]*Ring, error) {
	r := codec.NewReader(b)
	if n := r.U8(); int(n) != len(ringKinds) {
		return nil, damaged("ring file holds %d rings", n)
	}
	var rings []*Ring
	for _, kind := range ringKinds {
		if got := RingKind(r.U8()); r.Err() == nil && got != kind {
			return nil, damaged("%s stands where the %s ring should", got, kind)
		}
		n := int(r.U16())
		if r.Err() == nil && (n == 0 || n > maxKeysPerRing || n > r.Len()/dataKeySize) {
			return nil, damaged("the %s ring cannot have %d keys", kind, n)
		}
		keys := make([]dataKey, 0, n)
		for range n {
			var k dataKey
			copy(k.id[:], r.Take(len(k.id)))
			k.created = int64(r.U64())
			var err error
			if k.secret, err = secretFrom(r.Take(keySize)); err != nil || RingKind(k.id[0]) != kind {
				return nil, damaged("data key %s of the %s ring is not one", k.id, kind)
			}
			keys = append(keys, k)
		}
		rings = append(rings, newRing(kind, keys))
	}
	if err := r.Done(); err != nil {
		return nil, damaged("data keys: %v", err)
	}
	return rings, nil
}
