package envelope

import (
	"errors"
	"fmt"
)

// What callers branch on. Errors of this package wrap one of these, and never hold a key, a body or a name.
var (
	// ErrNoKey means that the receiver does not hold the epoch key that a session was sealed to. Nothing is known to be
	// wrong with the message: another receiver of the mailbox may open it.
	ErrNoKey = errors.New("no private key for this key id")
	// ErrBadSeal means that the key was there and authentication failed, or that what the seal held is not in order. It
	// is a security event: nobody will ever open these bytes.
	ErrBadSeal = errors.New("seal does not verify")
	// ErrMalformed means bytes that do not have the form their version prescribes.
	ErrMalformed = errors.New("malformed")
	// ErrUnsupported means a version, suite, flag or critical option that this version does not know.
	ErrUnsupported = errors.New("unsupported version, suite or option")
	// ErrExpired means that something is past its not-after.
	ErrExpired = errors.New("expired")
	// ErrNotYetValid means that something's not-before is still to come.
	ErrNotYetValid = errors.New("not yet valid")
	// ErrNoEpoch means that a key record holds no epoch of that number, or none that has begun.
	ErrNoEpoch = errors.New("no usable epoch in the key record")
	// ErrWrongName means a key record of another mailbox name than the one asked for.
	ErrWrongName = errors.New("key record names another mailbox")
	// ErrWrongMailbox means a key record of another mailbox id: the mailbox was deleted and made anew.
	ErrWrongMailbox = errors.New("key record has another mailbox id")
	// ErrIdentityMismatch means that another identity signed than the one that had to.
	ErrIdentityMismatch = errors.New("another identity than expected")
	// ErrSignature means a signature that does not verify.
	ErrSignature = errors.New("signature does not verify")
	// ErrRollback means a key record that is older than, or forks from, the one it should follow.
	ErrRollback = errors.New("key record does not follow the one before it")
	// ErrNotVerified means a key record that [KeyRecord.Verify] has not accepted, or that was changed since.
	ErrNotVerified = errors.New("key record has not been verified")
	// ErrWeakKey means a key that no honest generator makes: all zeros, or a point of small order.
	ErrWeakKey = errors.New("weak key")
	// ErrSessionExhausted means that a session has sealed all that it may, by count or by time: open a new one.
	ErrSessionExhausted = errors.New("session is used up")
	// ErrPolicy means a message that is not sealed as the mailbox's key record demands.
	ErrPolicy = errors.New("mailbox policy demands another form of sealing")
	// ErrTooLarge means a body or option above its limit.
	ErrTooLarge = errors.New("above the size limit")
	// ErrName means a name that is empty, too long or not printable ASCII.
	ErrName = errors.New("name is not 1 to 255 printable ASCII characters")
)

// RecordError says why a key record was not accepted. Reason wraps one of the errors above.
type RecordError struct{ Reason error }

func (e *RecordError) Error() string { return "key record: " + e.Reason.Error() }
func (e *RecordError) Unwrap() error { return e.Reason }

func malformed(what string, err error) error {
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrWeakKey) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrMalformed, err)
}

func badSeal(what string) error { return fmt.Errorf("%w: %s", ErrBadSeal, what) }

// badInside says what is wrong with something that a verified seal held. What this version merely does not know is not
// called a bad seal: a newer receiver may open it.
func badInside(what string, err error) error {
	if errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %v", ErrBadSeal, what, err)
}
