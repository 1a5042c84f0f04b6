package envelope

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// SendSession seals messages of one identity to one epoch of one mailbox. It is safe for concurrent use, and it is
// never stored: a process that starts opens new ones.
type SendSession struct {
	// What every message needs comes first, together: a process with many sessions finds little of them in its caches.
	next         atomic.Uint64 // sequence number of the next message
	notAfterUnix int64
	now          func() time.Time
	sealer       sealer
	policy       Policy
	id           [16]byte
	header       SessionHeader

	init    []byte
	renewAt time.Time
}

// OpenSession agrees on a session with the owner of a mailbox for [DefaultSessionLifetime]. The record must have been
// verified; epoch is the number of one of its epochs, as [KeyRecord.Choose] returns it.
func OpenSession(id *Identity, rec *KeyRecord, epoch uint32, now time.Time) (*SendSession, error) {
	return OpenSessionFor(id, rec, epoch, now, DefaultSessionLifetime)
}

// OpenSessionFor is [OpenSession] with a lifetime of at most [MaxSessionLifetime]. The session ends no later than the
// record.
func OpenSessionFor(id *Identity, rec *KeyRecord, epoch uint32, now time.Time, lifetime time.Duration,
) (*SendSession, error) {
	s := new(SendSession)
	if err := s.Open(id, rec, epoch, now, lifetime); err != nil {
		return nil, err
	}
	return s, nil
}

// Open is [OpenSessionFor] in memory of the caller's, for one who keeps the session inside something larger. s must be
// new; after an error it must not be used.
func (s *SendSession) Open(id *Identity, rec *KeyRecord, epoch uint32, now time.Time, lifetime time.Duration) error {
	if err := s.open(id, rec, epoch, now, lifetime); err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	return nil
}

func (s *SendSession) open(id *Identity, rec *KeyRecord, number uint32, now time.Time, lifetime time.Duration) error {
	if err := rec.checkVerified(now); err != nil {
		return err
	}
	epoch, err := rec.Epoch(number)
	if err != nil {
		return err
	}
	s.header, err = newSessionHeader(rec, epoch, now, lifetime)
	if err != nil {
		return err
	}
	to := binding{rec.MailboxID, rec.Name, rec.owner.Key}
	enc, exports, err := encapsulate(epoch.Key, to.info(s.header))
	if err != nil {
		return err
	}
	s.policy, s.notAfterUnix, s.now = rec.Policy, s.header.NotAfter.Unix(), time.Now
	if s.init, err = sealInit(id, to, s.header, enc, exports, now); err != nil {
		return err
	}
	s.id = SessionID(rec.MailboxID, s.init)
	s.sealer, err = newSealer(exports, rec.MailboxID, s.id, id.public)
	if err != nil {
		return err
	}
	s.sealer.signer = id
	s.renewAt = renewalPoint(now, s.header.NotAfter)
	return nil
}

func newSessionHeader(rec *KeyRecord, epoch EpochPublic, now time.Time, lifetime time.Duration) (SessionHeader, error) {
	if lifetime <= 0 || lifetime > MaxSessionLifetime {
		return SessionHeader{}, fmt.Errorf("session lifetime of %v: %w", lifetime, ErrTooLarge)
	}
	end := now.Add(lifetime)
	if rec.NotAfter.Before(end) {
		end = rec.NotAfter
	}
	end = fromMinutes(minutes(end))
	if !end.After(now) {
		return SessionHeader{}, &RecordError{ErrExpired}
	}
	return SessionHeader{Suite: epoch.Suite, NotAfter: end, Epoch: epoch.Number, KeyID: epoch.ID()}, nil
}

// sealInit returns the bytes of a session: who sends, signed, and sealed to the owner.
func sealInit(id *Identity, to binding, header SessionHeader, enc []byte, exports exporter, now time.Time,
) ([]byte, error) {
	aead, err := exportAEAD(exports, labelInitKey)
	if err != nil {
		return nil, err
	}
	statement := id.StatementAt(now)
	init := make([]byte, 0, sessionClearBytes+len(enc)+2+Overhead+minSessionSealed+len(statement))
	init = append(header.append(init), enc...)
	clear := init[:sessionClearBytes:sessionClearBytes]

	created := codec.AppendU64(nil, uint64(now.UnixMilli()))
	inside := append(append([]byte(nil), created...), statement...)
	inside = append(inside, id.sign(labelSessionSig, to.signed(clear, enc, sha256.Sum256(statement), created)...)...)
	init = codec.AppendU16(init, uint16(Overhead+len(inside)))
	return aead.Seal(init, nil, inside, to.initAAD(clear, enc)), nil
}

// renewalPoint draws a moment in the last tenth of a session's life, so that sessions opened together are not renewed
// together.
func renewalPoint(now, notAfter time.Time) time.Time {
	life := notAfter.Sub(now)
	var random [8]byte
	rand.Read(random[:])
	part := float64(binary.BigEndian.Uint64(random[:])>>11) / (1 << 53) // in [0, 1)
	return notAfter.Add(-time.Duration(float64(life) / 10 * part))
}

// Init returns the bytes of the session, which the receiver needs to open any message of it.
func (s *SendSession) Init() []byte { return append([]byte(nil), s.init...) }

// ID returns the session id.
func (s *SendSession) ID() [16]byte { return s.id }

// Epoch returns the number of the key epoch that the session is sealed to.
func (s *SendSession) Epoch() uint32 { return s.header.Epoch }

// KeyID returns the id of the key that the session is sealed to.
func (s *SendSession) KeyID() [8]byte { return s.header.KeyID }

// Policy returns the policy of the key record that the session was opened with.
func (s *SendSession) Policy() Policy { return s.policy }

// NotAfter returns when the session ends. Nothing is sealed from then on.
func (s *SendSession) NotAfter() time.Time { return s.header.NotAfter }

// RenewAt returns when to open the next session: a random moment in the last tenth of this one's life. The old one may
// still be used until NotAfter.
func (s *SendSession) RenewAt() time.Time { return s.renewAt }

// Remaining returns how many messages the session may still seal.
func (s *SendSession) Remaining() int {
	return MaxSessionMessages - int(min(s.next.Load(), MaxSessionMessages))
}

// Seal appends nonce, ciphertext and tag of msg to dst. header is the exact bytes of the clear header, which must
// state msg.Form: a receiver reads the form there. The space after dst must not overlap header or msg.
func (s *SendSession) Seal(dst, header []byte, msg Message) ([]byte, error) {
	if missing := s.policy.Form() &^ msg.Form; missing != 0 {
		return dst, fmt.Errorf("sealing: %w", ErrPolicy)
	}
	if err := msg.check(); err != nil {
		return dst, fmt.Errorf("sealing: %w", err)
	}
	if s.now().Unix() >= s.notAfterUnix {
		return dst, fmt.Errorf("sealing: %w", ErrSessionExhausted)
	}
	sequence := s.next.Add(1) - 1
	if sequence >= MaxSessionMessages {
		return dst, fmt.Errorf("sealing: %w", ErrSessionExhausted)
	}
	return s.sealer.seal(dst, header, sequence, &msg), nil
}

// sealer holds what sealing and opening messages of a session share.
type sealer struct {
	aead      hidden[cipher.AEAD] // under k_msg
	mailboxID [16]byte
	sender    [32]byte
	signer    *Identity // of the sending side
}

func newSealer(e exporter, mailboxID, sessionID [16]byte, sender [32]byte) (sealer, error) {
	aead, err := exportAEAD(e, labelMessageKey, sessionID[:], sender[:])
	return sealer{aead: hide(aead), mailboxID: mailboxID, sender: sender}, err
}

// Format prints the session id for every verb.
func (s *SendSession) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "envelope.SendSession(%x)", s.id) }
