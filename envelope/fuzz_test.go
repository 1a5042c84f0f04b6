package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

// Each parser of untrusted bytes: it does not panic, its errors have a class, and what it accepts encodes to the same
// bytes again.

func wantClass(t *testing.T, err error, classes ...error) {
	t.Helper()
	for _, c := range classes {
		if errors.Is(err, c) {
			return
		}
	}
	t.Fatalf("%v has none of the classes %v", err, classes)
}

// FuzzParseIdentity fuzzes what stands before the digest, and mends the digest.
func FuzzParseIdentity(f *testing.F) {
	g := readGolden(f)
	for _, b := range []hexed{g.Sender.Private, g.Owner.Private, g.EpochKeys[0].Private} {
		f.Add([]byte(b[:len(b)-sha256.Size]))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := appendPrivateDigest(bytes.Clone(body), labelIdentityFile)
		id, err := ParseIdentity(b)
		if err != nil {
			wantClass(t, err, ErrMalformed, ErrUnsupported, ErrWeakKey)
			return
		}
		if !bytes.Equal(id.Marshal(), b) {
			t.Fatal("another encoding of the same identity")
		}
	})
}

func FuzzParseEpochKey(f *testing.F) {
	g := readGolden(f)
	for _, b := range []hexed{g.EpochKeys[0].Private, g.EpochKeys[1].Private, g.Sender.Private} {
		f.Add([]byte(b[:len(b)-sha256.Size]))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := appendPrivateDigest(bytes.Clone(body), labelEpochFile)
		key, err := ParseEpochKey(b)
		if err != nil {
			wantClass(t, err, ErrMalformed, ErrUnsupported, ErrWeakKey)
			return
		}
		if !bytes.Equal(key.Marshal(), b) {
			t.Fatal("another encoding of the same key")
		}
	})
}

func FuzzParseStatement(f *testing.F) {
	g := readGolden(f)
	f.Add([]byte(g.Sender.Statement))
	for _, b := range g.Bad {
		if b.Kind == "statement" {
			f.Add([]byte(b.Bytes))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatement(b)
		if err != nil {
			wantClass(t, err, ErrMalformed, ErrUnsupported, ErrWeakKey)
			return
		}
		if err := s.Verify(testNow); err != nil {
			wantClass(t, err, ErrSignature, ErrUnsupported, ErrExpired, ErrNotYetValid)
		}
		if !bytes.Equal(encodeStatement(s), b) {
			t.Fatal("another encoding of the same statement")
		}
	})
}

// encodeStatement writes the fields of s, with the signature it came with.
func encodeStatement(s *Statement) []byte {
	flags := uint16(0)
	if s.Organisation != [8]byte{} {
		flags = flagOrganisation
	}
	b := codec.AppendU16([]byte{statementVersion}, flags)
	b = codec.AppendU32(codec.AppendU32(b, minutes(s.NotBefore)), minutes(s.NotAfter))
	b = codec.AppendBytes8(append(b, s.Key[:]...), []byte(s.Subject))
	b = append(b, byte(len(s.Patterns)))
	for _, p := range s.Patterns {
		b = codec.AppendBytes8(b, []byte(p))
	}
	b = append(b, s.Organisation[:]...)
	return append(b, s.raw[len(s.raw)-signatureBytes:]...)
}

func FuzzParseKeyRecord(f *testing.F) {
	g := readGolden(f)
	for _, r := range g.Records {
		f.Add([]byte(r.Bytes))
	}
	for _, b := range g.Bad {
		if b.Kind == "key_record" {
			f.Add([]byte(b.Bytes))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeyRecord(b)
		if err != nil {
			wantClass(t, err, ErrMalformed, ErrUnsupported, ErrWeakKey)
			return
		}
		if err := k.Verify(testNow, g.Name); err != nil {
			wantClass(t, err, ErrSignature, ErrUnsupported, ErrExpired, ErrNotYetValid, ErrWrongName)
		}
		body, err := k.encode()
		if err != nil || !bytes.Equal(body, b[:len(b)-signatureBytes]) {
			t.Fatalf("another encoding of the same record, %v", err)
		}
	})
}

func FuzzAcceptSession(f *testing.F) {
	g := readGolden(f)
	r := newGoldenReceiver(f, g)
	f.Add([]byte(g.Session.Init))
	for _, b := range g.Bad {
		if b.Kind == "session" {
			f.Add([]byte(b.Bytes))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := r.accept(b)
		if err != nil {
			wantClass(t, err, ErrMalformed, ErrUnsupported, ErrNoKey, ErrBadSeal)
			return
		}
		if !bytes.Equal(b, g.Session.Init) {
			t.Fatalf("a session that nobody made: %v", s)
		}
	})
}

// FuzzSessionInside fuzzes what an owner of a session key finds inside: any sender chooses these bytes.
func FuzzSessionInside(f *testing.F) {
	g := readGolden(f)
	r := newGoldenReceiver(f, g)
	in, err := parseSessionInit(g.Session.Init)
	if err != nil {
		f.Fatal(err)
	}
	to := binding{r.mailbox, g.Name, r.owner.PublicKey()}
	exports, err := decapsulate(r.keys[in.KeyID].key(), in.enc, to.info(in.SessionHeader))
	if err != nil {
		f.Fatal(err)
	}
	aead, err := exportAEAD(exports, labelInitKey)
	if err != nil {
		f.Fatal(err)
	}
	inside, err := aead.Open(nil, nil, in.sealed, to.initAAD(in.clear, in.enc))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(inside)
	f.Fuzz(func(t *testing.T, b []byte) {
		forged := in
		forged.sealed = aead.Seal(nil, nil, b, to.initAAD(in.clear, in.enc))
		s := &ReceiveSession{header: in.SessionHeader}
		if err := s.openInit(forged, to, exports); err != nil {
			wantClass(t, err, ErrBadSeal, ErrUnsupported)
		} else if !bytes.Equal(b, inside) {
			t.Fatalf("a signature that nobody made, by %s", s.sender.Subject)
		}
	})
}

// FuzzOpen fuzzes the bytes of a message as the network sees them.
func FuzzOpen(f *testing.F) {
	g := readGolden(f)
	s, err := newGoldenReceiver(f, g).accept(g.Session.Init)
	if err != nil {
		f.Fatal(err)
	}
	known := make(map[string]bool)
	for _, m := range g.Messages {
		f.Add([]byte(m.Header), []byte(m.Sealed), byte(form(m.Signed, m.Padded)))
		known[string(m.Sealed)] = true
	}
	for _, b := range g.Bad {
		if b.Kind == "message" {
			f.Add([]byte(b.Header), []byte(b.Bytes), byte(form(b.Signed, b.Padded)))
			known[string(b.Bytes)] = true // some are in order when they are read in another form
		}
	}
	f.Fuzz(func(t *testing.T, header, sealed []byte, form byte) {
		o, err := s.Open(nil, header, sealed, Form(form))
		if err != nil {
			wantClass(t, err, ErrBadSeal, ErrUnsupported, ErrTooLarge)
			return
		}
		if !known[string(sealed)] {
			t.Fatalf("a message that nobody sealed: %+v", o)
		}
	})
}

// FuzzMessageInside fuzzes what stands inside a message: any sender chooses these bytes.
func FuzzMessageInside(f *testing.F) {
	for _, m := range []Message{
		{Body: []byte("x")},
		{Body: bytes.Repeat([]byte("x"), 100), Form: FormPadded},
		{Options: Options{ContentType: "a/b", Sent: testNow, Correlation: []byte{1}, ReplyTo: "r", TraceContext: []byte{2}}},
	} {
		plain, padded := m.insideLen(5)
		_, count := m.Options.encodedLen()
		b := codec.AppendBytes(m.Options.append([]byte{5, count}), m.Body)
		f.Add(append(b, make([]byte, padded-plain)...), m.Form == FormPadded)
	}
	f.Add([]byte{0, 1, 99, 1, '?', 1, 'x'}, false)
	f.Fuzz(func(t *testing.T, inside []byte, isPadded bool) {
		o := Opened{Form: form(false, isPadded)}
		if err := o.read(inside, len(inside)); err != nil {
			wantClass(t, err, ErrBadSeal, ErrUnsupported)
			return
		}
		m := Message{Form: o.Form, Body: o.Body, Options: o.Options}
		if err := m.check(); err != nil {
			t.Fatalf("read what cannot be sealed: %v", err)
		}
		_, count := m.Options.encodedLen()
		b := codec.AppendUvarint(nil, o.Sequence)
		if inside[len(b)] != count {
			return // unknown options were skipped
		}
		b = codec.AppendBytes(m.Options.append(append(b, count)), m.Body)
		_, size := m.insideLen(o.Sequence)
		if b = append(b, make([]byte, size-len(b))...); !bytes.Equal(b, inside) {
			t.Fatalf("another encoding of the same message: %x", b)
		}
	})
}
