package envelope

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	epochVersion = 1
	epochPurpose = "sealmq epoch private key"
)

// EpochPublic is what a key record says of one epoch: its number, from when to when it is meant to be used, and the
// public key.
type EpochPublic struct {
	Number              uint32
	Suite               uint8
	NotBefore, NotAfter time.Time // whole minutes
	Key                 []byte
}

// ID returns the key id that stands in the clear in every session sealed to this epoch. It covers all fields.
func (p EpochPublic) ID() [8]byte {
	sum := sha256.Sum256(codec.PAE(labelEpochKeyID, p.append(nil)))
	return [8]byte(sum[:8])
}

func (p EpochPublic) append(dst []byte) []byte {
	dst = codec.AppendU32(dst, p.Number)
	dst = append(dst, p.Suite)
	dst = codec.AppendU32(dst, minutes(p.NotBefore))
	dst = codec.AppendU32(dst, minutes(p.NotAfter))
	return append(dst, p.Key...)
}

const epochPublicBytes = 4 + 1 + 4 + 4 + xwingPublicBytes

func readEpochPublic(r *codec.Reader) EpochPublic {
	p := EpochPublic{Number: r.U32(), Suite: r.U8()}
	p.NotBefore, p.NotAfter = fromMinutes(r.U32()), fromMinutes(r.U32())
	if r.Err() != nil {
		return p
	}
	if err := checkSuite(p.Suite); err != nil {
		r.Fail(err)
		return p
	}
	p.Key = bytes.Clone(r.Take(xwingPublicBytes))
	if r.Err() == nil {
		if err := p.check(); err != nil {
			r.Fail(err)
		}
	}
	return p
}

func (p EpochPublic) check() error {
	if err := checkSuite(p.Suite); err != nil {
		return err
	}
	switch {
	case len(p.Key) != xwingPublicBytes:
		return errors.New("epoch public key has the wrong length")
	case isZero(p.Key):
		return fmt.Errorf("epoch public key: %w", ErrWeakKey)
	}
	return checkEpochFields(p.Number, minutes(p.NotBefore), minutes(p.NotAfter))
}

func checkEpochFields(number, from, until uint32) error {
	if number == 0 {
		return errors.New("epoch 0 is reserved for what is not sealed")
	}
	if from >= until {
		return errors.New("epoch ends before it begins")
	}
	return nil
}

// EpochKey is the private key of one epoch of a mailbox. It is safe for concurrent use. Once it is destroyed, nobody
// opens the sessions sealed to it; destroy it when no message of them can still be waiting: that is the longest time
// to live and delay, and [MaxSessionLifetime], after the next epoch began.
type EpochKey struct {
	public EpochPublic
	id     [8]byte
	key    hidden[hpke.PrivateKey]
}

// GenerateEpochKey draws the key of the epoch of that number.
func GenerateEpochKey(number uint32, notBefore, notAfter time.Time) (*EpochKey, error) {
	var seed [seedBytes]byte
	defer clear(seed[:])
	rand.Read(seed[:])
	k, err := newEpochKey(number, minutes(notBefore), minutes(notAfter), seed[:])
	if err != nil {
		return nil, fmt.Errorf("generating epoch key: %w", err)
	}
	return k, nil
}

func newEpochKey(number, from, until uint32, seed []byte) (*EpochKey, error) {
	if isZero(seed) {
		return nil, ErrWeakKey
	}
	if err := checkEpochFields(number, from, until); err != nil {
		return nil, err
	}
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		return nil, err
	}
	k := &EpochKey{key: hide(key), public: EpochPublic{
		Number:    number,
		Suite:     SuiteXWing,
		NotBefore: fromMinutes(from),
		NotAfter:  fromMinutes(until),
		Key:       key.PublicKey().Bytes(),
	}}
	k.id = k.public.ID()
	return k, nil
}

// ParseEpochKey reads what [EpochKey.Marshal] wrote.
func ParseEpochKey(b []byte) (*EpochKey, error) {
	body, err := checkPrivateForm(b, epochVersion, epochPurpose, labelEpochFile)
	if err != nil {
		return nil, malformed("epoch key", err)
	}
	r := codec.NewReader(body)
	number := r.U32()
	suite := r.U8()
	if r.Err() == nil {
		if err := checkSuite(suite); err != nil {
			r.Fail(err)
		}
	}
	from, until := r.U32(), r.U32()
	seed := r.Take(seedBytes)
	if err := r.Done(); err != nil {
		return nil, malformed("epoch key", err)
	}
	k, err := newEpochKey(number, from, until, seed)
	if err != nil {
		return nil, malformed("epoch key", err)
	}
	return k, nil
}

// Marshal returns the private form: whoever reads it opens every message of the epoch.
func (k *EpochKey) Marshal() []byte {
	seed, err := k.key().Bytes()
	if err != nil {
		panic("envelope: an epoch key always has its seed: " + err.Error())
	}
	b := appendPrivateForm(nil, epochVersion, epochPurpose)
	b = codec.AppendU32(b, k.public.Number)
	b = append(b, k.public.Suite)
	b = codec.AppendU32(b, minutes(k.public.NotBefore))
	b = codec.AppendU32(b, minutes(k.public.NotAfter))
	b = append(b, seed...)
	return appendPrivateDigest(b, labelEpochFile)
}

// ID returns the key id, that of [EpochKey.Public].
func (k *EpochKey) ID() [8]byte { return k.id }

// Number returns the number of the epoch.
func (k *EpochKey) Number() uint32 { return k.public.Number }

// Public returns what a key record publishes of the epoch.
func (k *EpochKey) Public() EpochPublic {
	p := k.public
	p.Key = bytes.Clone(p.Key)
	return p
}

// Format prints number and key id for every verb.
func (k *EpochKey) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "envelope.EpochKey(%d, %x)", k.public.Number, k.id)
}
