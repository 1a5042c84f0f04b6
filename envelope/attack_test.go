package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// What a broker, another sender, the owner of a mailbox or a second holder of its keys might try.

// A session and its messages belong to one mailbox id, one name and one owner.
func TestSessionDoesNotMove(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	init := p.open(t).Init()
	owner, other := p.owner.PublicKey(), identityFromSeed(t, "other", 9).PublicKey()
	tests := []struct {
		what    string
		mailbox [16]byte
		name    string
		owner   [32]byte
		want    error
	}{
		{"the same mailbox", p.mailbox, testMailboxName, owner, nil},
		{"another mailbox id", [16]byte{9}, testMailboxName, owner, ErrBadSeal},
		{"another name", p.mailbox, "team.other", owner, ErrBadSeal},
		{"another owner", p.mailbox, testMailboxName, other, ErrBadSeal},
	}
	for _, tt := range tests {
		_, err := AcceptSession(init, tt.mailbox, tt.name, tt.owner, p.keys)
		if tt.want == nil && err != nil {
			t.Errorf("%s: %v", tt.what, err)
		} else if tt.want != nil {
			wantError(t, tt.what, err, tt.want)
		}
	}
}

// The broker serves the honestly signed record of one mailbox under the name of another.
func TestRecordNameSwap(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	rec, err := ParseKeyRecord(p.record.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "other name", rec.Verify(testNow, "team.other"), ErrWrongName)
	if _, err := OpenSession(p.sender, rec, 1, testNow); err == nil {
		t.Error("a record that was not verified can be sealed to")
	}
}

// Messages of one session do not open in another between the same parties, nor under another message's header.
func TestMessageDoesNotMove(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	a, b := p.open(t), p.open(t)
	ra, rb := p.mustAccept(t, a.Init()), p.mustAccept(t, b.Init())
	one := append(bytes.Clone(testHeader), 1)
	two := append(bytes.Clone(testHeader), 2)
	sealed, err := a.Seal(nil, one, Message{Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ra.Open(nil, one, sealed, 0); err != nil {
		t.Error(err)
	}
	_, err = rb.Open(nil, one, sealed, 0)
	wantError(t, "other session", err, ErrBadSeal)
	_, err = ra.Open(nil, two, sealed, 0)
	wantError(t, "other message id", err, ErrBadSeal)
}

// Two consumers share a mailbox and one lacks the newest epoch: it knows that it only lacks the key.
func TestConsumerWithoutTheEpoch(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	init := p.open(t).Init()
	p.mustAccept(t, init)
	older, err := GenerateEpochKey(2, testNow, testNow.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	lacking := func(key *EpochKey) func([8]byte, uint32) *EpochKey {
		return func([8]byte, uint32) *EpochKey { return key }
	}
	_, err = AcceptSession(init, p.mailbox, testMailboxName, p.owner.PublicKey(), lacking(nil))
	wantError(t, "no key", err, ErrNoKey)
	// A wrong key that the lookup hands out anyway would not fail in the key agreement.
	_, err = AcceptSession(init, p.mailbox, testMailboxName, p.owner.PublicKey(), lacking(older))
	wantError(t, "a key of another id", err, ErrNoKey)
}

// A key of the right id but with another secret: the session is reported as tampered with, and nothing opens.
func TestWrongKeyUnderTheRightID(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	init := p.open(t).Init()
	wrong, err := GenerateEpochKey(1, testNow, testNow.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	wrong.id = p.key.ID()
	_, err = AcceptSession(init, p.mailbox, testMailboxName, p.owner.PublicKey(),
		func([8]byte, uint32) *EpochKey { return wrong })
	wantError(t, "wrong secret", err, ErrBadSeal)
}

// A system whose keys got lost on the way encrypts to zeros and works: nothing of ours opens under a zero key.
func TestNothingIsSealedUnderZeros(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	sealed, err := s.Seal(nil, testHeader, Message{Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	zero, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zero.Open(nil, nil, sealed, codec.PAE(labelMessage, p.mailbox[:], testHeader)); err == nil {
		t.Error("the message opens under the zero key")
	}
	in, err := parseSessionInit(s.Init())
	if err != nil {
		t.Fatal(err)
	}
	to := binding{p.mailbox, testMailboxName, p.owner.PublicKey()}
	if _, err := zero.Open(nil, nil, in.sealed, to.initAAD(in.clear, in.enc)); err == nil {
		t.Error("the session opens under the zero key")
	}
}

// The owner of a mailbox, or who stole its epoch key, takes a session apart, puts its own name on it and keeps the
// secrets. The session passes as its own, but the sender's messages do not pass as its own.
func TestReSigningAsAnotherSender(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	mallory := identityFromSeed(t, "mallory", 66)
	in, err := parseSessionInit(s.Init())
	if err != nil {
		t.Fatal(err)
	}
	f := newForgeInit(p, mallory)
	f.header = in.SessionHeader
	exports, err := decapsulate(p.key.key(), in.enc, f.to.info(in.SessionHeader))
	if err != nil {
		t.Fatal(err)
	}
	stolen := p.mustAccept(t, f.sealWith(t, in.enc, exports))
	if stolen.Sender().Subject != "mallory" || stolen.ID() == s.ID() {
		t.Fatalf("%v of %s", stolen, stolen.Sender().Subject)
	}
	for _, form := range []Form{0, FormSigned} {
		sealed, err := s.Seal(nil, testHeader, Message{Body: []byte("x"), Form: form})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stolen.Open(nil, testHeader, sealed, form)
		wantError(t, "message under a stolen session", err, ErrBadSeal)
	}
}

// The owner of a mailbox passes a sender's session on to a third party, as if the sender had meant that one.
func TestSurreptitiousForwarding(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	in, err := parseSessionInit(p.open(t).Init())
	if err != nil {
		t.Fatal(err)
	}
	meant := binding{p.mailbox, testMailboxName, p.owner.PublicKey()}
	third := newParties(t, testNow, PolicySealed)

	// The signature over the sender's own enc, and one over whatever enc the forwarder needs: neither can be had, so the
	// test signs with the sender's key for the mailbox that was meant.
	for what, enc := range map[string][]byte{"the original signature": in.enc, "with the new enc": nil} {
		f := newForgeInit(third, p.sender)
		f.signedFor, f.encHash = meant, enc
		_, err := third.accept(f.seal(t))
		wantError(t, what, err, ErrBadSeal)
	}
	// The same by hand but meant for the third party is accepted: it is the binding that refused, nothing else.
	third.mustAccept(t, newForgeInit(third, p.sender).seal(t))
}

// What a sender says about itself and its session is checked.
func TestDishonestSender(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	mallory := identityFromSeed(t, "mallory", 66)
	aDayLater := fromMinutes(minutes(testNow) + 24*60 + 1)
	statementFrom := func(d time.Duration) []byte {
		return identityFromSeed(t, "mallory", 66).StatementAt(testNow.Add(d))
	}
	tests := map[string]func(*forgeInit){
		"somebody else's statement":      func(f *forgeInit) { f.statement = p.sender.StatementAt(testNow) },
		"a statement that was over":      func(f *forgeInit) { f.statement = statementFrom(-31 * 24 * time.Hour) },
		"a statement still to come":      func(f *forgeInit) { f.statement = statementFrom(time.Hour) },
		"a changed statement":            func(f *forgeInit) { f.statement = bytes.Clone(f.statement); f.statement[44] ^= 1 },
		"no statement":                   func(f *forgeInit) { f.statement = nil },
		"a session of more than a day":   func(f *forgeInit) { f.header.NotAfter = aDayLater },
		"a session that was over":        func(f *forgeInit) { f.header.NotAfter = fromMinutes(minutes(testNow)) },
		"an epoch that the key is not":   func(f *forgeInit) { f.header.Epoch = 2 },
		"another enc under the seal":     func(f *forgeInit) { f.encHash = make([]byte, xwingEncBytes) },
		"a signature for another name":   func(f *forgeInit) { f.signedFor.name = "team.other" },
		"a signature for another owner":  func(f *forgeInit) { f.signedFor.owner = [32]byte{5} },
		"a signature of another mailbox": func(f *forgeInit) { f.signedFor.mailboxID = [16]byte{5} },
	}
	for what, change := range tests {
		f := newForgeInit(p, mallory)
		change(&f)
		_, err := p.accept(f.seal(t))
		wantError(t, what, err, ErrBadSeal)
	}
	if s := p.mustAccept(t, newForgeInit(p, mallory).seal(t)); s.Sender().Key != mallory.PublicKey() {
		t.Error("an honest session by the same hand is of somebody else")
	}
}

// A second holder of the epoch key can write unsigned messages into a session, but no signed one, and cannot take the
// signature off one.
func TestSignatureCannotBeForgedOrStripped(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	rest := []byte{0, 0, 1, 'x'}
	fake := identityFromSeed(t, "mallory", 66)
	forger := r.sealer
	forger.signer = fake
	for what, inside := range map[string][]byte{
		"signed by another":    append(forger.sign(testHeader, rest), rest...),
		"zeros as signature":   append(make([]byte, 64), rest...),
		"signature taken away": rest,
	} {
		_, err := r.Open(nil, testHeader, r.sealer.sealInside(testHeader, inside), FormSigned)
		wantError(t, what, err, ErrBadSeal)
	}
	honest, err := s.Seal(nil, testHeader, Message{Form: FormSigned, Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(nil, testHeader, honest, FormSigned); err != nil {
		t.Error(err)
	}
	// The signature of one message under the header of another.
	inside, err := r.sealer.aead().Open(nil, nil, honest, codec.PAE(labelMessage, p.mailbox[:], testHeader))
	if err != nil {
		t.Fatal(err)
	}
	other := append(bytes.Clone(testHeader), 1)
	_, err = r.Open(nil, other, r.sealer.sealInside(other, inside), FormSigned)
	wantError(t, "signature moved to another header", err, ErrBadSeal)
	// What is left to a forger: an unsigned message, which the policy's form tells from what the owner demanded.
	o, err := r.Open(nil, testHeader, r.sealer.sealInside(testHeader, rest), 0)
	if err != nil || PolicySigned.Form()&^o.Form == 0 {
		t.Errorf("forged unsigned message: %v, %v", o, err)
	}
}

// The same message sealed twice, by one process and by two, has nothing in common; and after a crash the keyed id and
// the body's tag are those of before.
func TestTwoRunsDiffer(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	body := []byte("the same body")
	again, err := ParseIdentity(p.sender.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	id := p.sender.KeyedID(p.mailbox, "order-17")
	if again.KeyedID(p.mailbox, "order-17") != id ||
		again.BodyTag(p.mailbox, id, body) != p.sender.BodyTag(p.mailbox, id, body) {
		t.Error("a retry after a crash has another id or tag")
	}
	first := p.open(t)
	p.sender = again
	second := p.open(t)
	if bytes.Equal(first.Init(), second.Init()) || first.ID() == second.ID() {
		t.Error("two sessions are the same")
	}
	seen := make(map[string]bool)
	for _, s := range []*SendSession{first, first, second} {
		sealed, err := s.Seal(nil, testHeader, Message{Body: body})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+8 <= len(sealed); i++ {
			if w := string(sealed[i : i+8]); seen[w] {
				t.Fatalf("two sealed messages share %x", w)
			} else {
				seen[w] = true
			}
		}
		if o, err := p.mustAccept(t, s.Init()).Open(nil, testHeader, sealed, 0); err != nil || !bytes.Equal(o.Body, body) {
			t.Errorf("%v, %v", o, err)
		}
	}
}
