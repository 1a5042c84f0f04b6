package envelope

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	statementVersion   = 1
	flagOrganisation   = 1 << 0 // the signature is the organisation's, not the identity's own
	maxPatterns        = 16
	maxStatementBytes  = 4608
	signatureBytes     = ed25519.SignatureSize
	maxValidityMinutes = uint32(MaxValidity / time.Minute)
)

// Statement says that a key belongs to a name, for a while. An identity signs its own, and whoever meets it first pins
// the pair; the format has room for an organisation's signature instead, which this version reads and does not accept.
type Statement struct {
	NotBefore, NotAfter time.Time
	Key                 [32]byte
	Subject             string
	Patterns            []string // names of mailboxes that the subject may own, by an organisation's word; else empty
	Organisation        [8]byte  // key id of the organisation that signed, zero if the identity did

	raw []byte
}

// ParseStatement reads a statement. It checks its form; [Statement.Verify] checks the signature and the dates.
func ParseStatement(b []byte) (*Statement, error) {
	s := &Statement{raw: bytes.Clone(b)}
	if err := s.decode(); err != nil {
		return nil, malformed("identity statement", err)
	}
	return s, nil
}

func (s *Statement) decode() error {
	if len(s.raw) > maxStatementBytes {
		return codec.ErrLimit
	}
	r := codec.NewReader(s.raw)
	if v := r.U8(); r.Err() == nil && v != statementVersion {
		r.Fail(fmt.Errorf("%w: version %d", ErrUnsupported, v))
	}
	flags := r.U16()
	if flags&^flagOrganisation != 0 {
		r.Fail(fmt.Errorf("%w: flags %#x", ErrUnsupported, flags))
	}
	from, until := r.U32(), r.U32()
	s.NotBefore, s.NotAfter = fromMinutes(from), fromMinutes(until)
	s.Key = r.Array32()
	s.Subject = string(r.Bytes8())
	n := int(r.U8())
	if n > maxPatterns {
		r.Fail(codec.ErrLimit)
	}
	for range n {
		s.Patterns = append(s.Patterns, string(r.Bytes8()))
		if r.Err() != nil {
			break
		}
	}
	copy(s.Organisation[:], r.Take(8))
	r.Take(signatureBytes)
	if err := r.Done(); err != nil {
		return err
	}
	if from >= until || until-from > maxValidityMinutes {
		return fmt.Errorf("validity of %d minutes", int64(until)-int64(from))
	}
	if (flags&flagOrganisation != 0) == isZero(s.Organisation[:]) {
		return fmt.Errorf("organisation key id does not match the flags")
	}
	return s.checkFields()
}

func (s *Statement) checkFields() error {
	if err := checkName(s.Subject); err != nil {
		return err
	}
	for _, p := range s.Patterns {
		if err := checkName(p); err != nil {
			return err
		}
	}
	return checkIdentityKey(s.Key)
}

// Bytes returns the signed bytes.
func (s *Statement) Bytes() []byte { return bytes.Clone(s.raw) }

// Fingerprint is [Fingerprint] of the statement's key.
func (s *Statement) Fingerprint() string { return Fingerprint(s.Key) }

// Verify checks that the identity itself signed the statement and that it is valid at now. It does not say that the
// subject's name is true: the caller compares (Subject, Key) with what it has pinned.
func (s *Statement) Verify(now time.Time) error {
	if s.Organisation != [8]byte{} {
		return fmt.Errorf("identity statement: %w: signed by an organisation", ErrUnsupported)
	}
	body := len(s.raw) - signatureBytes
	if body < 0 || !verify(s.Key, s.raw[body:], labelStatement, s.raw[:body]) {
		return fmt.Errorf("identity statement: %w", ErrSignature)
	}
	if err := checkWindow(now, s.NotBefore, s.NotAfter); err != nil {
		return fmt.Errorf("identity statement: %w", err)
	}
	return nil
}

// appendStatement appends a statement that key signs about itself.
func appendStatement(dst []byte, key ed25519.PrivateKey, subject string, from, until uint32) []byte {
	start := len(dst)
	dst = append(dst, statementVersion)
	dst = codec.AppendU16(dst, 0)
	dst = codec.AppendU32(dst, from)
	dst = codec.AppendU32(dst, until)
	dst = append(dst, key.Public().(ed25519.PublicKey)...)
	dst = codec.AppendBytes8(dst, []byte(subject))
	dst = append(dst, 0)                  // no patterns: only an organisation's would mean anything
	dst = append(dst, make([]byte, 8)...) // no organisation
	return append(dst, ed25519.Sign(key, codec.PAE(labelStatement, dst[start:]))...)
}
