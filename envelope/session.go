package envelope

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	sessionVersion = 1

	// DefaultSessionLifetime is how long [OpenSession] lets a session seal.
	DefaultSessionLifetime = time.Hour
	// MaxSessionLifetime is how long any session may seal; receivers refuse a longer one.
	MaxSessionLifetime = 24 * time.Hour
	// MaxSessionMessages is how many messages a session seals at most.
	MaxSessionMessages = 1 << 20
	// MaxSessionInitBytes is the length of the longest session header.
	MaxSessionInitBytes = sessionClearBytes + xwingEncBytes + 2 + Overhead + maxSessionSealed

	sessionClearBytes = 1 + 1 + 2 + 4 + 4 + 8
	minSessionSealed  = 8 + signatureBytes
	maxSessionSealed  = minSessionSealed + maxStatementBytes
)

// SessionHeader is the part of a session's bytes that everybody can read.
type SessionHeader struct {
	Suite    uint8
	NotAfter time.Time
	Epoch    uint32
	KeyID    [8]byte
}

// sessionInit is the bytes of a session, taken apart.
type sessionInit struct {
	SessionHeader
	clear  []byte
	enc    []byte
	sealed []byte // nonce, ciphertext, tag
}

// ParseSessionHeader reads the clear part of a session's bytes, and checks the form of the rest.
func ParseSessionHeader(init []byte) (SessionHeader, error) {
	s, err := parseSessionInit(init)
	return s.SessionHeader, err
}

// SessionKeyID returns the key id and the epoch that a session is sealed to.
func SessionKeyID(init []byte) (keyID [8]byte, epoch uint32, err error) {
	s, err := parseSessionInit(init)
	return s.KeyID, s.Epoch, err
}

// SessionID returns the id of a session in a mailbox. It hashes every byte, so nobody can take the id of another's.
func SessionID(mailboxID [16]byte, init []byte) [16]byte {
	sum := sha256.Sum256(codec.PAE(labelSessionID, mailboxID[:], init))
	return [16]byte(sum[:16])
}

func parseSessionInit(init []byte) (s sessionInit, err error) {
	r := codec.NewReader(init)
	if v := r.U8(); r.Err() == nil && v != sessionVersion {
		r.Fail(fmt.Errorf("%w: version %d", ErrUnsupported, v))
	}
	s.Suite = r.U8()
	if r.Err() == nil {
		if err := checkSuite(s.Suite); err != nil {
			r.Fail(err)
		}
	}
	if flags := r.U16(); flags != 0 {
		r.Fail(fmt.Errorf("%w: flags %#x", ErrUnsupported, flags))
	}
	s.NotAfter = fromMinutes(r.U32())
	s.Epoch = r.U32()
	copy(s.KeyID[:], r.Take(8))
	s.enc = r.Take(xwingEncBytes)
	s.sealed = r.Bytes16(Overhead + maxSessionSealed)
	if r.Err() == nil && len(s.sealed) < Overhead+minSessionSealed {
		r.Fail(codec.ErrShort)
	}
	if err := r.Done(); err != nil {
		return sessionInit{}, malformed("session", err)
	}
	s.clear = init[:sessionClearBytes]
	return s, nil
}

// append appends the clear part: the first sessionClearBytes of a session.
func (h SessionHeader) append(dst []byte) []byte {
	dst = append(dst, sessionVersion, h.Suite)
	dst = codec.AppendU16(dst, 0)
	dst = codec.AppendU32(dst, minutes(h.NotAfter))
	dst = codec.AppendU32(dst, h.Epoch)
	return append(dst, h.KeyID[:]...)
}

// binding is what a session is for: everything that both sides must agree on and that no byte of the session carries.
type binding struct {
	mailboxID [16]byte
	name      string
	owner     [32]byte
}

// info is the HPKE info of a session.
func (b binding) info(h SessionHeader) []byte {
	return codec.PAE(labelSession, []byte{h.Suite}, b.mailboxID[:], []byte(b.name), h.KeyID[:], b.owner[:])
}

// initAAD is the additional data of the sealed part of a session.
func (b binding) initAAD(clear, enc []byte) []byte {
	return codec.PAE(labelInit, b.mailboxID[:], clear, enc)
}

// signed returns the fields that the sender of a session signs. The owner's key is among them, so the owner cannot
// pass the session on to a third mailbox as if it had been meant for it.
func (b binding) signed(clear, enc []byte, statement [32]byte, created []byte) [][]byte {
	encHash := sha256.Sum256(enc)
	return [][]byte{clear, encHash[:], b.mailboxID[:], []byte(b.name), b.owner[:], statement[:], created}
}
