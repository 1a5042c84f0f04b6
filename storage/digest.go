package storage

import (
	"crypto/sha256"

	"github.com/sealmq/sealmq/internal/codec"
)

// Rows calls fn with every replicated row of a group in state/, in the order of keys, but for the configuration, which
// is Raft's. Neither slice may be kept. Use it on a snapshot.
func (r Reader) Rows(fn func(k, row []byte) error) error {
	lower := newKey(nil, r.group, tableApplied)
	return r.scan(lower, after(lower[:2]), func(k, row []byte) error {
		if k[2] == tableConfig {
			return nil
		}
		return fn(k, row)
	})
}

// Digest returns a hash over those rows. Two replicas that applied the same entries have the same one, however their
// logs were cut into batches and whatever they restarted from.
func (r Reader) Digest() (digest [32]byte, err error) {
	h := sha256.New()
	var frame []byte
	err = r.Rows(func(k, row []byte) error {
		frame = codec.AppendBytes(frame[:0], k)
		frame = codec.AppendBytes(frame, row)
		h.Write(frame)
		return nil
	})
	copy(digest[:], h.Sum(nil))
	return digest, err
}
