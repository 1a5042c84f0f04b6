package envelope

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	identityVersion = 1
	identityPurpose = "sealmq identity private key"
)

// Identity is a name and the Ed25519 key that signs for it. It is safe for concurrent use. It never proves anything to
// a broker: connections have keys of their own.
type Identity struct {
	name   string
	public [32]byte
	secret hidden[*identitySecret]

	mu        sync.Mutex
	statement []byte // the newest one, reused for half its validity
	from      time.Time
	until     time.Time
}

type identitySecret struct {
	key   ed25519.PrivateKey
	dedup []byte
	macs  sync.Pool // of hash.Hash: HMAC-SHA256 under dedup, which keeps what it has made of the key
}

// NewIdentity draws a key for name.
func NewIdentity(name string) (*Identity, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	var seed [ed25519.SeedSize]byte
	defer clear(seed[:])
	rand.Read(seed[:])
	return newIdentity(name, seed[:])
}

func newIdentity(name string, seed []byte) (*Identity, error) {
	if isZero(seed) {
		return nil, fmt.Errorf("identity: %w", ErrWeakKey)
	}
	dedup, err := dedupKey(seed)
	if err != nil {
		return nil, fmt.Errorf("identity: deriving the dedup key: %w", err)
	}
	secret := &identitySecret{key: ed25519.NewKeyFromSeed(seed), dedup: dedup}
	i := &Identity{name: name, secret: hide(secret)}
	copy(i.public[:], secret.key.Public().(ed25519.PublicKey))
	return i, nil
}

// ParseIdentity reads what [Identity.Marshal] wrote.
func ParseIdentity(b []byte) (*Identity, error) {
	body, err := checkPrivateForm(b, identityVersion, identityPurpose, labelIdentityFile)
	if err != nil {
		return nil, malformed("identity", err)
	}
	r := codec.NewReader(body)
	name := string(r.Bytes8())
	seed := r.Take(ed25519.SeedSize)
	if err := r.Done(); err != nil {
		return nil, malformed("identity", err)
	}
	if err := checkName(name); err != nil {
		return nil, malformed("identity", err)
	}
	return newIdentity(name, seed)
}

// Marshal returns the private form: whoever reads it is this identity.
func (i *Identity) Marshal() []byte {
	b := appendPrivateForm(nil, identityVersion, identityPurpose)
	b = codec.AppendBytes8(b, []byte(i.name))
	b = append(b, i.secret().key.Seed()...)
	return appendPrivateDigest(b, labelIdentityFile)
}

// Name returns the name that the identity claims.
func (i *Identity) Name() string { return i.name }

// PublicKey returns the Ed25519 public key.
func (i *Identity) PublicKey() [32]byte { return i.public }

// Fingerprint is [Fingerprint] of the public key.
func (i *Identity) Fingerprint() string { return Fingerprint(i.public) }

// Statement is [Identity.StatementAt] of the present.
func (i *Identity) Statement() []byte { return i.StatementAt(time.Now()) }

// StatementAt returns the identity's statement about itself, valid for [MaxValidity] when it was made. It is made anew
// when less than half of that is left at now.
func (i *Identity) StatementAt(now time.Time) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.statement == nil || now.Before(i.from) || i.until.Sub(now) < MaxValidity/2 {
		from := minutes(now)
		until := minutes(now.Add(MaxValidity))
		i.statement = appendStatement(nil, i.secret().key, i.name, from, until)
		i.from, i.until = fromMinutes(from), fromMinutes(until)
	}
	return bytes.Clone(i.statement)
}

// sign signs PAE(label, fields).
func (i *Identity) sign(label string, fields ...[]byte) []byte {
	return ed25519.Sign(i.secret().key, codec.PAE(label, fields...))
}

// Format prints the fingerprint for every verb: neither the key nor the name is for logs.
func (i *Identity) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "envelope.Identity(%s)", i.Fingerprint())
}

// appendPrivateForm begins a private key's bytes: a version, and what kind of key this is in words, so that one kind
// is never read as another and whoever finds the file knows what it is.
func appendPrivateForm(dst []byte, version byte, purpose string) []byte {
	return codec.AppendBytes8(append(dst, version), []byte(purpose))
}

// appendPrivateDigest ends a private key's bytes. A flipped bit in a seed would otherwise be another valid key.
func appendPrivateDigest(b []byte, label string) []byte {
	sum := sha256.Sum256(codec.PAE(label, b))
	return append(b, sum[:]...)
}

// checkPrivateForm returns what stands between the purpose and the digest.
func checkPrivateForm(b []byte, version byte, purpose, label string) ([]byte, error) {
	const maxBytes = 1024
	if len(b) > maxBytes {
		return nil, codec.ErrLimit
	}
	r := codec.NewReader(b)
	v := r.U8()
	if r.Err() == nil && v != version {
		return nil, fmt.Errorf("%w: version %d", ErrUnsupported, v)
	}
	if string(r.Bytes8()) != purpose {
		r.Fail(errors.New("not a key of this kind"))
	}
	body := r.Take(r.Len() - sha256.Size)
	sum := r.Take(sha256.Size)
	if err := r.Done(); err != nil {
		return nil, err
	}
	want := sha256.Sum256(codec.PAE(label, b[:len(b)-sha256.Size]))
	if subtle.ConstantTimeCompare(sum, want[:]) != 1 {
		return nil, errors.New("damaged: digest does not match")
	}
	return body, nil
}
