package envelope

import (
	"crypto/sha256"
	"sync"

	"github.com/sealmq/sealmq/internal/codec"
)

// aad is the additional data of one message, PAE("sealmq/m/v1", mailbox id, header), in a buffer that is used again:
// it goes through an interface, so it would otherwise be an allocation for every message.
type aad struct{ b []byte }

var aads = sync.Pool{New: func() any { return &aad{make([]byte, 0, 192)} }}

func takeAAD(mailboxID [16]byte, header []byte) *aad {
	a := aads.Get().(*aad)
	a.b = codec.AppendPAE(a.b[:0], labelMessage, mailboxID[:], header)
	return a
}

func (a *aad) giveBack() {
	const keepBytes = 1024
	if cap(a.b) <= keepBytes {
		aads.Put(a)
	}
}

// sign signs one message: rest is everything inside after the signature.
func (s *sealer) sign(header, rest []byte) []byte {
	sum := sha256.Sum256(rest)
	return s.signer.sign(labelMessageSig, s.mailboxID[:], header, sum[:])
}

func (s *sealer) verify(header, rest, signature []byte) bool {
	sum := sha256.Sum256(rest)
	return verify(s.sender, signature, labelMessageSig, s.mailboxID[:], header, sum[:])
}
