package envelope

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"hash"

	"github.com/sealmq/sealmq/internal/codec"
)

// dedupKey derives the key of keyed ids and body tags from an identity's seed, so that the same application key gives
// the same message id after a crash and on every machine of the identity, and says nothing to anybody else.
func dedupKey(seed []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, seed, nil, string(codec.PAE(labelDedupKey)), sha256.Size)
}

// KeyedID returns the message id for a key that the application chose. The broker sees 16 bytes that it cannot guess
// the key from; another identity gets other ids for the same key.
func (i *Identity) KeyedID(mailbox [16]byte, appKey string) [16]byte {
	var buf [128]byte
	return i.dedupMAC(codec.AppendPAE(buf[:0], labelKeyedID, mailbox[:], []byte(appKey)), nil)
}

// BodyTag returns the tag that tells the broker whether two messages under one keyed id have the same body, although
// each was sealed anew.
func (i *Identity) BodyTag(mailbox, id [16]byte, body []byte) [16]byte {
	// The encoding of the three fields, with the body written on its own: it may be large, and it is the last.
	var buf [128]byte
	head := codec.AppendPAE(buf[:0], labelBodyTag, mailbox[:], id[:], nil)
	return i.dedupMAC(codec.AppendU32(head[:len(head)-4], uint32(len(body))), body)
}

// dedupMAC is the first half of HMAC-SHA256 over head and body.
func (i *Identity) dedupMAC(head, body []byte) [16]byte {
	s := i.secret()
	mac, ok := s.macs.Get().(hash.Hash)
	if !ok {
		mac = hmac.New(sha256.New, s.dedup)
	}
	mac.Write(head)
	mac.Write(body)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	mac.Reset()
	s.macs.Put(mac)
	return [16]byte(sum[:16])
}
