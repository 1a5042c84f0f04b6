package envelope

import (
	"bytes"
	"sync/atomic"
	"time"
)

// Verify checks that the record is of the mailbox called wantName, that its owner signed it, and that it and the
// owner's statement are valid at now. Errors are *[RecordError]. Sealing needs a record that this has accepted. It
// does not say who the owner should be: the caller compares [KeyRecord.Owner] with its pin.
func (k *KeyRecord) Verify(now time.Time, wantName string) error {
	if k.owner == nil {
		return &RecordError{ErrNotVerified}
	}
	if k.Name != wantName {
		return &RecordError{ErrWrongName}
	}
	if err := checkNotAfter(now, k.NotAfter); err != nil {
		return &RecordError{err}
	}
	if err := k.owner.Verify(now); err != nil {
		return &RecordError{err}
	}
	body := len(k.raw) - signatureBytes
	if !verify(k.owner.Key, k.raw[body:], labelKeyRecord, k.raw[:body]) {
		return &RecordError{ErrSignature}
	}
	k.setVerified()
	return nil
}

func (k *KeyRecord) setVerified() { atomic.StoreUint32(&k.verified, 1) }

// checkVerified tells whether the fields are still those whose signature was checked, and in time.
func (k *KeyRecord) checkVerified(now time.Time) error {
	if atomic.LoadUint32(&k.verified) == 0 {
		return &RecordError{ErrNotVerified}
	}
	body, err := k.encode()
	if err != nil || !bytes.Equal(body, k.raw[:len(k.raw)-signatureBytes]) {
		return &RecordError{ErrNotVerified}
	}
	if err := checkNotAfter(now, k.NotAfter); err != nil {
		return &RecordError{err}
	}
	return nil
}

// Choose returns the epoch to seal to at now: the newest that has begun. It stays usable past its own not-after until
// a newer one begins or the record's not-after, so an owner that is away for weeks still gets mail.
//
// Senders that all follow this do not change at one moment as long as they keep a session until [SendSession.RenewAt].
func (k *KeyRecord) Choose(now time.Time) (EpochPublic, error) {
	if err := checkNotAfter(now, k.NotAfter); err != nil {
		return EpochPublic{}, &RecordError{err}
	}
	for i := len(k.Epochs) - 1; i >= 0; i-- {
		if !k.Epochs[i].NotBefore.After(now) {
			return k.Epochs[i], nil
		}
	}
	// A clock that is a little behind may find that not even the first has begun.
	if len(k.Epochs) > 0 && !k.Epochs[0].NotBefore.After(now.Add(ClockSkew)) {
		return k.Epochs[0], nil
	}
	return EpochPublic{}, &RecordError{ErrNoEpoch}
}

// Epoch returns the epoch of that number.
func (k *KeyRecord) Epoch(number uint32) (EpochPublic, error) {
	for _, e := range k.Epochs {
		if e.Number == number {
			return e, nil
		}
	}
	return EpochPublic{}, &RecordError{ErrNoEpoch}
}

// Follows checks that the record may take the place of before, which was accepted earlier: of the same name, mailbox
// and owner, and the same or a later version, linked by its hash where they are neighbours. Versions between them may
// be missing: a sender sees the newest only. Both must have been signed or parsed.
func (k *KeyRecord) Follows(before *KeyRecord) error {
	switch {
	case k.owner == nil || before.owner == nil:
		return &RecordError{ErrNotVerified}
	case k.Name != before.Name:
		return &RecordError{ErrWrongName}
	case k.MailboxID != before.MailboxID:
		return &RecordError{ErrWrongMailbox}
	case k.owner.Key != before.owner.Key || k.owner.Subject != before.owner.Subject:
		return &RecordError{ErrIdentityMismatch}
	case k.Version < before.Version,
		k.Version == before.Version && k.Hash() != before.Hash(),
		k.Version == before.Version+1 && k.Previous != before.Hash():
		return &RecordError{ErrRollback}
	}
	return nil
}
