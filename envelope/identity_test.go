package envelope

import (
	"bytes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

func TestIdentityRoundTrip(t *testing.T) {
	id, err := NewIdentity("billing")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewIdentity("billing")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseIdentity(id.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if back.Name() != id.Name() || back.PublicKey() != id.PublicKey() || !bytes.Equal(back.Marshal(), id.Marshal()) {
		t.Error("an identity came back different")
	}
	if other.PublicKey() == id.PublicKey() || other.Fingerprint() == id.Fingerprint() {
		t.Error("two identities have one key")
	}
	s, err := ParseStatement(id.Statement())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(time.Now()); err != nil || s.Subject != "billing" || s.Key != id.PublicKey() ||
		s.Fingerprint() != id.Fingerprint() {
		t.Errorf("own statement: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "team.box", "Team-1_x", "*.>", strings.Repeat("x", 255)} {
		if _, err := NewIdentity(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", " ", "a b", "a\n", "\x1b[2J", "é", "a\x7f", strings.Repeat("x", 256)} {
		if _, err := NewIdentity(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
		}
	}
}

func TestStatementIsRenewedAtHalf(t *testing.T) {
	id := identityFromSeed(t, "billing", 1)
	first := id.StatementAt(testNow)
	first[0] ^= 0xff // the caller's copy is its own
	first = id.StatementAt(testNow)
	tests := []struct {
		after time.Duration
		same  bool
	}{
		{time.Hour, true}, {14 * 24 * time.Hour, true}, {15*24*time.Hour + time.Minute, false}, {-time.Hour, false},
	}
	for _, tt := range tests {
		id := identityFromSeed(t, "billing", 1)
		id.StatementAt(testNow)
		now := testNow.Add(tt.after)
		got := id.StatementAt(now)
		if bytes.Equal(got, first) != tt.same {
			t.Errorf("after %v: same = %v", tt.after, !tt.same)
		}
		s, err := ParseStatement(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(now); err != nil {
			t.Errorf("after %v: %v", tt.after, err)
		}
	}
}

func TestStatementWindow(t *testing.T) {
	s, err := ParseStatement(identityFromSeed(t, "billing", 1).StatementAt(testNow))
	if err != nil {
		t.Fatal(err)
	}
	if s.NotAfter.Sub(s.NotBefore) != MaxValidity {
		t.Errorf("valid for %v", s.NotAfter.Sub(s.NotBefore))
	}
	for _, tt := range []struct {
		now  time.Time
		want error
	}{
		{s.NotBefore.Add(-ClockSkew - time.Second), ErrNotYetValid},
		{s.NotBefore.Add(-ClockSkew), nil},
		{s.NotAfter.Add(ClockSkew), nil},
		{s.NotAfter.Add(ClockSkew + time.Second), ErrExpired},
	} {
		if err := s.Verify(tt.now); !errors.Is(err, tt.want) {
			t.Errorf("at %v: %v, want %v", tt.now, err, tt.want)
		}
	}
}

// rawStatement signs a statement with every field free.
func rawStatement(key ed25519.PrivateKey, flags uint16, from, until uint32, public []byte, subject string,
	patterns []string, organisation uint64) []byte {
	b := codec.AppendU16([]byte{statementVersion}, flags)
	b = append(codec.AppendU32(codec.AppendU32(b, from), until), public...)
	b = append(codec.AppendBytes8(b, []byte(subject)), byte(len(patterns)))
	for _, p := range patterns {
		b = codec.AppendBytes8(b, []byte(p))
	}
	b = codec.AppendU64(b, organisation)
	return append(b, ed25519.Sign(key, codec.PAE(labelStatement, b))...)
}

func TestStatementFields(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	public := []byte(key.Public().(ed25519.PublicKey))
	from := minutes(testNow)
	many := strings.Split(strings.Repeat("p ", 17), " ")[:17]
	tests := []struct {
		what string
		b    []byte
		want error
	}{
		{"plain", rawStatement(key, 0, from, from+60, public, "a", nil, 0), nil},
		{"patterns", rawStatement(key, 0, from, from+60, public, "a", []string{"team.>", "x"}, 0), nil},
		{"30 days", rawStatement(key, 0, from, from+43200, public, "a", nil, 0), nil},
		{"more than 30 days", rawStatement(key, 0, from, from+43201, public, "a", nil, 0), ErrMalformed},
		{"ends before it begins", rawStatement(key, 0, from, from-1, public, "a", nil, 0), ErrMalformed},
		{"no length", rawStatement(key, 0, from, from, public, "a", nil, 0), ErrMalformed},
		{"no subject", rawStatement(key, 0, from, from+60, public, "", nil, 0), ErrMalformed},
		{"subject that moves the cursor", rawStatement(key, 0, from, from+60, public, "\x1b[A", nil, 0), ErrMalformed},
		{"an empty pattern", rawStatement(key, 0, from, from+60, public, "a", []string{""}, 0), ErrMalformed},
		{"17 patterns", rawStatement(key, 0, from, from+60, public, "a", many, 0), ErrMalformed},
		{"unknown flag", rawStatement(key, 2, from, from+60, public, "a", nil, 0), ErrUnsupported},
		{"organisation without its id", rawStatement(key, 1, from, from+60, public, "a", nil, 0), ErrMalformed},
		{"id without an organisation", rawStatement(key, 0, from, from+60, public, "a", nil, 7), ErrMalformed},
		{"an organisation", rawStatement(key, 1, from, from+60, public, "a", nil, 7), ErrUnsupported},
		{"zero key", rawStatement(key, 0, from, from+60, make([]byte, 32), "a", nil, 0), ErrWeakKey},
		{"another key", rawStatement(key, 0, from, from+60, bytes.Repeat([]byte{2}, 32), "a", nil, 0), ErrSignature},
	}
	for _, tt := range tests {
		s, err := ParseStatement(tt.b)
		if err == nil {
			err = s.Verify(testNow)
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
}

// Each point on the list of refused keys does what it is refused for: one signature verifies for many messages.
func TestSmallOrderKeysAreRefused(t *testing.T) {
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1 // R is the neutral element, S is zero
	for _, weak := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			key := weak
			key[31] |= sign
			if err := checkIdentityKey(key); !errors.Is(err, ErrWeakKey) {
				t.Errorf("%x: %v, want ErrWeakKey", key, err)
			}
		}
		verifies := 0
		for i := range 256 {
			if ed25519.Verify(weak[:], []byte{byte(i)}, signature) {
				verifies++
			}
		}
		if verifies < 8 {
			t.Errorf("%x: one signature verifies for %d of 256 messages: not a weak key", weak, verifies)
		}
	}
	if err := checkIdentityKey(identityFromSeed(t, "a", 1).PublicKey()); err != nil {
		t.Error(err)
	}
}

// withZeros replaces the 32 bytes before the digest by zeros, and mends the digest.
func withZeros(b []byte, label string) []byte {
	b = bytes.Clone(b[:len(b)-sha256.Size])
	clear(b[len(b)-32:])
	return appendPrivateDigest(b, label)
}

func TestZeroKeysAreRefused(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	if _, err := ParseIdentity(withZeros(p.sender.Marshal(), labelIdentityFile)); !errors.Is(err, ErrWeakKey) {
		t.Errorf("identity: %v", err)
	}
	if _, err := ParseEpochKey(withZeros(p.key.Marshal(), labelEpochFile)); !errors.Is(err, ErrWeakKey) {
		t.Errorf("epoch key: %v", err)
	}
	if _, err := newEpochKey(1, 1, 2, make([]byte, 32)); !errors.Is(err, ErrWeakKey) {
		t.Errorf("new epoch key: %v", err)
	}
	zero := p.key.Public()
	clear(zero.Key)
	rec := &KeyRecord{MailboxID: p.mailbox, Name: "a", Version: 1, NotAfter: testNow, Epochs: []EpochPublic{zero}}
	if _, err := rec.Sign(p.owner); !errors.Is(err, ErrWeakKey) {
		t.Errorf("record of a zero key: %v", err)
	}
}

func TestPrivateForms(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	if _, err := ParseIdentity(p.key.Marshal()); !errors.Is(err, ErrMalformed) {
		t.Errorf("an epoch key as identity: %v", err)
	}
	if _, err := ParseEpochKey(p.sender.Marshal()); !errors.Is(err, ErrMalformed) {
		t.Errorf("an identity as epoch key: %v", err)
	}
	future := p.sender.Marshal()
	future[0] = 2
	if _, err := ParseIdentity(future); !errors.Is(err, ErrUnsupported) {
		t.Errorf("version 2: %v", err)
	}
	suite := bytes.Clone(p.key.Marshal())
	suite = suite[:len(suite)-sha256.Size]
	suite[1+1+len(epochPurpose)+4] = 2
	if _, err := ParseEpochKey(appendPrivateDigest(suite, labelEpochFile)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("suite 2: %v", err)
	}
	for what, err := range map[string]error{
		"epoch 0":     second(GenerateEpochKey(0, testNow, testNow.Add(time.Hour))),
		"no duration": second(GenerateEpochKey(1, testNow, testNow)),
		"backwards":   second(GenerateEpochKey(1, testNow, testNow.Add(-time.Hour))),
	} {
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// No way of printing shows a private key: not %v and its relatives, not the value behind the pointer, not JSON.
func TestPrintingShowsNoSecret(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	identity, epoch := p.sender.Marshal(), p.key.Marshal()
	secrets := map[string][]byte{
		"identity seed": identity[len(identity)-64 : len(identity)-32],
		"epoch seed":    epoch[len(epoch)-64 : len(epoch)-32],
		"dedup key":     p.sender.secret().dedup,
		"message key":   messageKey(t, p, s.Init()),
	}
	type wrapper struct {
		Exported any
		hidden   any
	}
	values := []any{p.sender, p.key, s, r}
	for _, v := range values[:4:4] {
		value := reflect.ValueOf(v).Elem().Interface()
		values = append(values, value, wrapper{v, v}, &wrapper{v, v}, []any{v}, map[int]any{1: v})
	}
	for _, v := range values {
		out := printedEveryWay(v)
		for name, secret := range secrets {
			for form, text := range printedForms(secret[:8]) {
				if strings.Contains(out, text) {
					t.Errorf("%T shows the %s in %s", v, name, form)
				}
			}
		}
	}
	got := fmt.Sprintf("%v", p.sender)
	if !strings.Contains(got, p.sender.Fingerprint()) || strings.Contains(got, "billing") {
		t.Errorf("an identity prints as %s", got)
	}
}

func printedEveryWay(v any) string {
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	if b, err := json.Marshal(v); err == nil {
		out.Write(b)
	}
	return out.String()
}

// printedForms returns the ways in which bytes show up in printed structs; as words, they are the beginning of an
// expanded AES key.
func printedForms(b []byte) map[string]string {
	trim := func(s string) string { return strings.Trim(s, "[]{}") }
	return map[string]string{
		"raw": string(b), "hex": hex.EncodeToString(b), "HEX": strings.ToUpper(hex.EncodeToString(b)),
		"decimals": trim(fmt.Sprint(b)), "octals": trim(fmt.Sprintf("%o", b)), "bits": trim(fmt.Sprintf("%b", b)),
		"source":               fmt.Sprintf("%#x, %#x, %#x", b[0], b[1], b[2]),
		"base64":               base64.StdEncoding.EncodeToString(b)[:10],
		"little-endian words":  fmt.Sprint(binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])),
		"big-endian words":     fmt.Sprint(binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])),
		"little-endian source": fmt.Sprintf("%#x, %#x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])),
	}
}

func messageKey(t *testing.T, p *parties, init []byte) []byte {
	t.Helper()
	in, err := parseSessionInit(init)
	if err != nil {
		t.Fatal(err)
	}
	to := binding{p.mailbox, testMailboxName, p.owner.PublicKey()}
	exports, err := decapsulate(p.key.key(), in.enc, to.info(in.SessionHeader))
	if err != nil {
		t.Fatal(err)
	}
	id, sender := SessionID(p.mailbox, init), p.sender.PublicKey()
	key, err := exports.Export(string(codec.PAE(labelMessageKey, id[:], sender[:])), keyBytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The test above can fail: without their covers the same secrets do show.
func TestPrintingTestSeesSecrets(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	identity, epoch := p.sender.Marshal(), p.key.Marshal()
	for name, tt := range map[string]struct {
		bare   any
		secret []byte
	}{
		"identity seed": {struct{ secret *identitySecret }{p.sender.secret()}, identity[len(identity)-64:]},
		"epoch seed":    {struct{ key any }{p.key.key()}, epoch[len(epoch)-64:]},
		"message key":   {struct{ aead cipher.AEAD }{s.sealer.aead()}, messageKey(t, p, s.Init())},
	} {
		out, seen := printedEveryWay(tt.bare), false
		for _, text := range printedForms(tt.secret[:8]) {
			seen = seen || strings.Contains(out, text)
		}
		if !seen {
			t.Errorf("the %s is there and was not seen", name)
		}
	}
}

func TestKeyedIDs(t *testing.T) {
	a, b := identityFromSeed(t, "a", 1), identityFromSeed(t, "b", 2)
	box, other := [16]byte{1}, [16]byte{2}
	id := a.KeyedID(box, "order-17")
	for what, got := range map[string][16]byte{
		"another identity": b.KeyedID(box, "order-17"),
		"another mailbox":  a.KeyedID(other, "order-17"),
		"another key":      a.KeyedID(box, "order-18"),
		"nothing":          {},
	} {
		if got == id {
			t.Errorf("%s: the same id", what)
		}
	}
	tag := a.BodyTag(box, id, []byte("body"))
	for what, got := range map[string][16]byte{
		"another identity": b.BodyTag(box, id, []byte("body")),
		"another mailbox":  a.BodyTag(other, id, []byte("body")),
		"another id":       a.BodyTag(box, [16]byte{}, []byte("body")),
		"another body":     a.BodyTag(box, id, []byte("Body")),
		"no body":          a.BodyTag(box, id, nil),
		"the id":           id,
	} {
		if got == tag {
			t.Errorf("%s: the same tag", what)
		}
	}
}
