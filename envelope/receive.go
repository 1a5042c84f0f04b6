package envelope

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// ReceiveSession opens the messages of one session, in any order, any number of times. It is safe for concurrent use.
type ReceiveSession struct {
	id      [16]byte
	header  SessionHeader
	created time.Time
	sender  *Statement
	sealer  sealer
}

// AcceptSession opens a session that was sealed to a mailbox. mailboxID is the one that its messages were born in;
// name and owner are those of the mailbox's key record. keys returns the private key of that id, nil if there is none:
// the epoch is a hint where to look, not yet authenticated.
//
// The sender's statement is checked at the moment that the sender says it opened the session, as messages may wait for
// weeks. Who the sender should be is for the caller to decide by [ReceiveSession.Sender].
func AcceptSession(init []byte, mailboxID [16]byte, name string, owner [32]byte,
	keys func(keyID [8]byte, epoch uint32) *EpochKey) (*ReceiveSession, error) {
	s, err := acceptSession(init, binding{mailboxID, name, owner}, keys)
	if err != nil {
		return nil, fmt.Errorf("accepting a session: %w", err)
	}
	return s, nil
}

func acceptSession(init []byte, to binding, keys func([8]byte, uint32) *EpochKey) (*ReceiveSession, error) {
	in, err := parseSessionInit(init)
	if err != nil {
		return nil, err
	}
	key := keys(in.KeyID, in.Epoch)
	if key == nil || key.id != in.KeyID {
		return nil, ErrNoKey
	}
	if key.public.Number != in.Epoch || key.public.Suite != in.Suite {
		return nil, badSeal("epoch is not that of the key")
	}
	exports, err := decapsulate(key.key(), in.enc, to.info(in.SessionHeader))
	if err != nil {
		return nil, badSeal("key agreement")
	}
	s := &ReceiveSession{id: SessionID(to.mailboxID, init), header: in.SessionHeader}
	if err := s.openInit(in, to, exports); err != nil {
		return nil, err
	}
	s.sealer, err = newSealer(exports, to.mailboxID, s.id, s.sender.Key)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openInit opens the sealed part and checks everything that it says.
func (s *ReceiveSession) openInit(in sessionInit, to binding, exports exporter) error {
	aead, err := exportAEAD(exports, labelInitKey)
	if err != nil {
		return err
	}
	inside, err := aead.Open(nil, nil, in.sealed, to.initAAD(in.clear, in.enc))
	if err != nil {
		return badSeal("session")
	}
	r := codec.NewReader(inside)
	created := r.Take(8)
	statement := r.Take(r.Len() - signatureBytes)
	signature := r.Take(signatureBytes)
	if r.Done() != nil {
		return badSeal("session is too short")
	}
	if s.sender, err = ParseStatement(statement); err != nil {
		return badInside("sender", err)
	}
	if !verify(s.sender.Key, signature, labelSessionSig,
		to.signed(in.clear, in.enc, sha256.Sum256(statement), created)...) {
		return badSeal("session signature")
	}
	r = codec.NewReader(created)
	s.created = time.UnixMilli(int64(r.U64())).UTC()
	if err := s.sender.Verify(s.created); err != nil {
		return badInside("sender", err)
	}
	if life := s.header.NotAfter.Sub(s.created); life <= 0 || life > MaxSessionLifetime {
		return badSeal("session lifetime")
	}
	return nil
}

// ID returns the session id.
func (s *ReceiveSession) ID() [16]byte { return s.id }

// Epoch returns the number of the key epoch that the session was sealed to.
func (s *ReceiveSession) Epoch() uint32 { return s.header.Epoch }

// Created returns when the sender says that it opened the session.
func (s *ReceiveSession) Created() time.Time { return s.created }

// NotAfter returns when the session ended or ends.
func (s *ReceiveSession) NotAfter() time.Time { return s.header.NotAfter }

// Sender returns the statement of the identity that sealed the session. The key in it did seal the session; whether
// the name is true is for the caller's pins.
func (s *ReceiveSession) Sender() *Statement { return s.sender }

// Open appends what a message holds to dst and returns it; the body and the options alias that. header is the exact
// bytes of the clear header and form is what it states. dst must not overlap header, nor sealed unless it is
// sealed[:0].
func (s *ReceiveSession) Open(dst, header, sealed []byte, form Form) (*Opened, error) {
	o := new(Opened)
	if err := s.OpenInto(o, dst, header, sealed, form); err != nil {
		return nil, err
	}
	return o, nil
}

// OpenInto is [ReceiveSession.Open] into an Opened that the caller may use again. After an error it holds nothing.
func (s *ReceiveSession) OpenInto(o *Opened, dst, header, sealed []byte, form Form) error {
	if err := s.sealer.open(o, dst, header, sealed, form); err != nil {
		*o = Opened{}
		return fmt.Errorf("opening a message: %w", err)
	}
	return nil
}

// Format prints the session id for every verb.
func (s *ReceiveSession) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "envelope.ReceiveSession(%x)", s.id)
}
