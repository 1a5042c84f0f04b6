package envelope

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// testNow is when everything in these tests happens.
var testNow = time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC)

var testHeader = []byte("a clear header of 44 bytes, opaque to seals.")

// parties is a sender and the owner of a mailbox, with a verified record.
type parties struct {
	sender, owner *Identity
	key           *EpochKey
	record        *KeyRecord
	mailbox       [16]byte
	now           time.Time
}

const testMailboxName = "team.box"

func newParties(t testing.TB, now time.Time, policy Policy) *parties {
	t.Helper()
	p := &parties{now: now, mailbox: [16]byte{1, 2, 3}}
	var err error
	if p.sender, err = NewIdentity("billing"); err != nil {
		t.Fatal(err)
	}
	if p.owner, err = NewIdentity("warehouse"); err != nil {
		t.Fatal(err)
	}
	if p.key, err = GenerateEpochKey(1, now, now.Add(7*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	p.record = &KeyRecord{MailboxID: p.mailbox, Name: testMailboxName, Version: 1, NotAfter: now.Add(MaxValidity),
		Policy: policy, Epochs: []EpochPublic{p.key.Public()}}
	if _, err := p.record.Sign(p.owner); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *parties) keys(id [8]byte, _ uint32) *EpochKey {
	if id == p.key.ID() {
		return p.key
	}
	return nil
}

// open opens a session whose clock stands still at p.now.
func (p *parties) open(t testing.TB) *SendSession {
	t.Helper()
	s, err := OpenSession(p.sender, p.record, 1, p.now)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return p.now }
	return s
}

func (p *parties) accept(init []byte) (*ReceiveSession, error) {
	return AcceptSession(init, p.mailbox, testMailboxName, p.owner.PublicKey(), p.keys)
}

// mustAccept is accept for a session that must be fine.
func (p *parties) mustAccept(t testing.TB, init []byte) *ReceiveSession {
	t.Helper()
	r, err := p.accept(init)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// forgeInit is a session made by somebody who can do anything but break the ciphers: every part is the caller's
// choice.
type forgeInit struct {
	header    SessionHeader
	to        binding
	public    []byte
	statement []byte
	created   time.Time
	signer    *Identity
	signedFor binding // what the signature says the session is for
	encHash   []byte  // enc that the signature covers, nil for the real one
}

// newForgeInit returns the parts of an honest session from id.
func newForgeInit(p *parties, id *Identity) forgeInit {
	to := binding{p.mailbox, testMailboxName, p.owner.PublicKey()}
	return forgeInit{
		header: SessionHeader{Suite: SuiteXWing, NotAfter: fromMinutes(minutes(p.now) + 60), Epoch: 1, KeyID: p.key.ID()},
		to:     to, public: p.key.Public().Key, statement: id.StatementAt(p.now), created: p.now, signer: id,
		signedFor: to,
	}
}

func (f forgeInit) seal(t testing.TB) []byte {
	t.Helper()
	enc, exports, err := encapsulate(f.public, f.to.info(f.header))
	if err != nil {
		t.Fatal(err)
	}
	return f.sealWith(t, enc, exports)
}

func (f forgeInit) sealWith(t testing.TB, enc []byte, exports exporter) []byte {
	t.Helper()
	aead, err := exportAEAD(exports, labelInitKey)
	if err != nil {
		t.Fatal(err)
	}
	clear := f.header.append(nil)
	created := codec.AppendU64(nil, uint64(f.created.UnixMilli()))
	signedEnc := enc
	if f.encHash != nil {
		signedEnc = f.encHash
	}
	inside := append(append([]byte(nil), created...), f.statement...)
	inside = append(inside, f.signer.sign(labelSessionSig,
		f.signedFor.signed(clear, signedEnc, sha256.Sum256(f.statement), created)...)...)
	init := append(append([]byte(nil), clear...), enc...)
	init = codec.AppendU16(init, uint16(Overhead+len(inside)))
	return aead.Seal(init, nil, inside, f.to.initAAD(clear, enc))
}

// sealInside seals bytes of the caller's choice as the inside of a message.
func (s *sealer) sealInside(header, inside []byte) []byte {
	return s.aead().Seal(nil, nil, inside, codec.PAE(labelMessage, s.mailboxID[:], header))
}

// identityFromSeed makes the same identity in every run.
func identityFromSeed(t testing.TB, name string, seed byte) *Identity {
	t.Helper()
	b := make([]byte, ed25519.SeedSize)
	b[0] = seed
	id, err := newIdentity(name, b)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// wantError fails the test unless err is want and, as errors of this package must, none of the others that callers
// would act on differently.
func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
		return
	}
	for _, other := range []error{ErrNoKey, ErrBadSeal, ErrExpired, ErrUnsupported, ErrSessionExhausted} {
		if other != want && errors.Is(err, other) {
			t.Errorf("%s: %v is also %q", what, err, other)
		}
	}
}

// eachChange calls f with b damaged in every way that a single byte, a cut and one byte more can damage it.
func eachChange(b []byte, f func(what string, changed []byte)) {
	for i := range b {
		for _, x := range []byte{0x01, 0x80, 0xff} {
			c := append([]byte(nil), b...)
			c[i] ^= x
			f("byte flipped", c)
		}
	}
	for n := range b {
		f("cut", b[:n:n])
	}
	f("one byte more", append(append([]byte(nil), b...), 0))
}
