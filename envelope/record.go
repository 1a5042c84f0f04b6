package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	recordVersion = 1
	// MaxEpochs is how many epochs a key record holds at most: the one in use, the next, and some that still stand for
	// senders that are behind.
	MaxEpochs = 8
	// MaxKeyRecordBytes is the length of the longest key record.
	MaxKeyRecordBytes = recordFixedBytes + 255 + MaxEpochs*epochPublicBytes + maxStatementBytes

	recordFixedBytes = 1 + 2 + 16 + 8 + 32 + 4 + 1 + 1 + 2 + signatureBytes
)

// Policy is what the owner of a mailbox demands of its senders.
type Policy uint16

const (
	// PolicySealed refuses messages that are not sealed. It is the default of a mailbox.
	PolicySealed Policy = 1 << iota
	// PolicySigned demands a signature on every message.
	PolicySigned
	// PolicyPadded demands padding on every message.
	PolicyPadded

	knownPolicy = PolicySealed | PolicySigned | PolicyPadded
)

// KeyRecord publishes the epoch keys of a mailbox, signed by its owner. Records of a mailbox form a chain by version
// and hash. Make one by filling in the fields and calling [KeyRecord.Sign], or read one with [ParseKeyRecord]; its
// fields must not be changed after either.
type KeyRecord struct {
	MailboxID [16]byte
	Name      string   // of the mailbox, in full
	Version   uint64   // 1, 2, 3, …
	Previous  [32]byte // hash of the record before, zero for version 1
	NotAfter  time.Time
	Policy    Policy
	Epochs    []EpochPublic // ascending by number
	Statement []byte        // the owner's; Sign sets it

	owner    *Statement
	raw      []byte
	verified uint32 // atomic: Verify or Sign has checked raw's signature, see Verify
}

// Sign fills in the owner's statement and returns the signed record. The statement is made for the record and is valid
// for the [MaxValidity] before the record's not-after, so a record that claims a longer life is not valid yet.
func (k *KeyRecord) Sign(owner *Identity) ([]byte, error) {
	until := minutes(k.NotAfter)
	from := until - min(until, maxValidityMinutes)
	k.Statement = appendStatement(nil, owner.secret().key, owner.name, from, until)
	body, err := k.encode()
	if err != nil {
		return nil, &RecordError{err}
	}
	raw := append(body, owner.sign(labelKeyRecord, body)...)
	signed, err := ParseKeyRecord(raw)
	if err != nil {
		return nil, err
	}
	*k = *signed
	k.setVerified()
	return bytes.Clone(raw), nil
}

// encode returns the record without its signature.
func (k *KeyRecord) encode() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if len(k.Statement) > maxStatementBytes {
		return nil, fmt.Errorf("statement: %w", ErrTooLarge)
	}
	b := make([]byte, 0, recordFixedBytes+len(k.Name)+len(k.Epochs)*epochPublicBytes+len(k.Statement))
	b = append(b, recordVersion)
	b = codec.AppendU16(b, uint16(k.Policy))
	b = append(b, k.MailboxID[:]...)
	b = codec.AppendU64(b, k.Version)
	b = append(b, k.Previous[:]...)
	b = codec.AppendU32(b, minutes(k.NotAfter))
	b = codec.AppendBytes8(b, []byte(k.Name))
	b = append(b, byte(len(k.Epochs)))
	for _, e := range k.Epochs {
		b = e.append(b)
	}
	return codec.AppendBytes16(b, k.Statement), nil
}

// ParseKeyRecord reads a signed record. It checks its form; [KeyRecord.Verify] checks the rest.
func ParseKeyRecord(b []byte) (*KeyRecord, error) {
	k := &KeyRecord{raw: bytes.Clone(b)}
	if err := k.decode(); err != nil {
		return nil, &RecordError{malformed("parsing", err)}
	}
	return k, nil
}

func (k *KeyRecord) decode() error {
	if len(k.raw) > MaxKeyRecordBytes {
		return codec.ErrLimit
	}
	r := codec.NewReader(k.raw)
	if v := r.U8(); r.Err() == nil && v != recordVersion {
		return fmt.Errorf("%w: version %d", ErrUnsupported, v)
	}
	k.Policy = Policy(r.U16())
	k.MailboxID = r.Array16()
	k.Version = r.U64()
	k.Previous = r.Array32()
	k.NotAfter = fromMinutes(r.U32())
	k.Name = string(r.Bytes8())
	n := int(r.U8())
	if n > MaxEpochs {
		r.Fail(codec.ErrLimit)
	}
	for range n {
		k.Epochs = append(k.Epochs, readEpochPublic(&r))
		if r.Err() != nil {
			break
		}
	}
	k.Statement = bytes.Clone(r.Bytes16(maxStatementBytes))
	r.Take(signatureBytes)
	if err := r.Done(); err != nil {
		return err
	}
	if err := k.check(); err != nil {
		return err
	}
	var err error
	k.owner, err = ParseStatement(k.Statement)
	return err
}

// check holds the rules on the fields that do not depend on time or keys.
func (k *KeyRecord) check() error {
	if k.Policy&^knownPolicy != 0 {
		return fmt.Errorf("%w: policy %#x", ErrUnsupported, uint16(k.Policy))
	}
	if err := checkName(k.Name); err != nil {
		return err
	}
	switch {
	case isZero(k.MailboxID[:]):
		return errors.New("mailbox id is zero")
	case k.Version == 0:
		return errors.New("version 0")
	case (k.Version == 1) != isZero(k.Previous[:]):
		return errors.New("exactly the first version has no previous hash")
	case len(k.Epochs) == 0 || len(k.Epochs) > MaxEpochs:
		return fmt.Errorf("%d epochs", len(k.Epochs))
	}
	for i, e := range k.Epochs {
		if err := e.check(); err != nil {
			return err
		}
		if i > 0 && e.Number <= k.Epochs[i-1].Number {
			return errors.New("epochs are not in ascending order")
		}
	}
	return nil
}

// Bytes returns the signed bytes, nil if the record was neither signed nor parsed.
func (k *KeyRecord) Bytes() []byte { return bytes.Clone(k.raw) }

// Hash returns SHA-256 of the signed bytes: what the next version names as its previous, and what a broker compares
// when it publishes. It panics if the record was neither signed nor parsed, as it then has no hash.
func (k *KeyRecord) Hash() [32]byte {
	if k.raw == nil {
		panic("envelope: hash of a key record that was neither signed nor parsed")
	}
	return sha256.Sum256(k.raw)
}

// Owner returns the statement of the identity that owns the mailbox, nil if the record was neither signed nor parsed.
func (k *KeyRecord) Owner() *Statement { return k.owner }
