package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/sealmq/sealmq/internal/codec"
)

// Rows calls fn with every replicated row of a group in state/, in the order of keys, but for the configuration, which
// is Raft's. A keyed id comes as a row by itself, under the table, class, window, mailbox, sender and id, and in no order.
// Neither slice may be kept. Use it on a snapshot.
func (r Reader) Rows(fn func(k, row []byte) error) error {
	lower := newKey(nil, r.group, tableApplied)
	var one key
	var value []byte
	return r.scan(lower, after(lower[:2]), func(k, row []byte) error {
		switch k[2] {
		case tableConfig:
			return nil
		case tableKeyed:
			return eachKeyed(k, row, func(id *KeyedRow) error {
				one = append(one[:0], k[:8]...).u64(id.Mailbox).bytes(id.Sender[:]).bytes(id.ID[:])
				value = codec.AppendU64(value[:0], id.Seq)
				return fn(one, append(value, id.Tag[:]...))
			})
		default:
			return fn(k, row)
		}
	})
}

// Digest returns a hash over those rows. Two replicas that applied the same entries have the same one, however their
// logs were cut into batches and whatever they restarted from. Of keyed ids it is the sum of the hashes of each, because
// their order is each replica's own.
func (r Reader) Digest() (digest [32]byte, err error) {
	h := sha256.New()
	var keyed sum256
	var frame []byte
	err = r.Rows(func(k, row []byte) error {
		frame = codec.AppendBytes(frame[:0], k)
		frame = codec.AppendBytes(frame, row)
		if k[2] == tableKeyed {
			keyed.add(sha256.Sum256(frame))
		} else {
			h.Write(frame)
		}
		return nil
	})
	h.Write(keyed.append(nil))
	copy(digest[:], h.Sum(nil))
	return digest, err
}

// sum256 is a sum modulo 2^256, the lowest word first. It finds what went wrong, not what somebody contrived.
type sum256 [4]uint64

func (s *sum256) add(v [32]byte) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], binary.LittleEndian.Uint64(v[8*i:]), carry)
	}
}

func (s *sum256) append(dst []byte) []byte {
	for _, word := range s {
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return dst
}
