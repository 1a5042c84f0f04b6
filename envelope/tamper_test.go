package envelope

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// Every byte of every format changed, every cut, one byte more: an error, never another value.

func TestTamperedIdentity(t *testing.T) {
	id := identityFromSeed(t, "billing", 1)
	eachChange(id.Marshal(), func(what string, b []byte) {
		if got, err := ParseIdentity(b); err == nil {
			t.Fatalf("%s: read as %v", what, got)
		}
	})
}

func TestTamperedEpochKey(t *testing.T) {
	key, err := GenerateEpochKey(3, testNow, testNow.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	eachChange(key.Marshal(), func(what string, b []byte) {
		if got, err := ParseEpochKey(b); err == nil {
			t.Fatalf("%s: read as %v", what, got)
		}
	})
}

func TestTamperedStatement(t *testing.T) {
	eachChange(identityFromSeed(t, "billing", 1).StatementAt(testNow), func(what string, b []byte) {
		s, err := ParseStatement(b)
		if err == nil {
			err = s.Verify(testNow)
		}
		if err == nil {
			t.Fatalf("%s: accepted", what)
		}
	})
}

func TestTamperedKeyRecord(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	eachChange(p.record.Bytes(), func(what string, b []byte) {
		k, err := ParseKeyRecord(b)
		if err == nil {
			err = k.Verify(testNow, testMailboxName)
		}
		var typed *RecordError
		if !errors.As(err, &typed) {
			t.Fatalf("%s: %v, want a RecordError", what, err)
		}
	})
}

func TestTamperedSession(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	eachChange(p.open(t).Init(), func(what string, b []byte) {
		s, err := p.accept(b)
		if err == nil {
			t.Fatalf("%s: accepted as %v", what, s)
		}
		if !errors.Is(err, ErrNoKey) && !errors.Is(err, ErrBadSeal) && !errors.Is(err, ErrMalformed) &&
			!errors.Is(err, ErrUnsupported) {
			t.Fatalf("%s: %v has no class", what, err)
		}
	})
}

func TestTamperedMessage(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	for _, f := range []Form{0, FormPadded, FormSigned, FormSigned | FormPadded} {
		sealed, err := s.Seal(nil, testHeader, Message{Form: f, Body: []byte("some body"), Options: Options{Sent: testNow}})
		if err != nil {
			t.Fatal(err)
		}
		open := func(what string, header, sealed []byte) {
			if o, err := r.Open(nil, header, sealed, f); !errors.Is(err, ErrBadSeal) {
				t.Fatalf("%s, form %d: %v, %v", what, f, o, err)
			}
		}
		eachChange(sealed, func(what string, b []byte) { open(what, testHeader, b) })
		eachChange(testHeader, func(what string, b []byte) { open("header: "+what, b, sealed) })
		if o, err := r.Open(nil, testHeader, sealed, f); err != nil || string(o.Body) != "some body" {
			t.Errorf("form %d, untouched: %v, %v", f, o, err)
		}
	}
}

// A message read in another form than it was written in does not open.
func TestOtherFormDoesNotOpen(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	forms := []Form{0, FormPadded, FormSigned, FormSigned | FormPadded}
	for _, wrote := range forms {
		sealed, err := s.Seal(nil, testHeader, Message{Form: wrote, Body: bytes.Repeat([]byte{7}, 90)})
		if err != nil {
			t.Fatal(err)
		}
		for _, read := range forms {
			o, err := r.Open(nil, testHeader, sealed, read)
			if (err == nil) != (read == wrote) {
				t.Errorf("written as %d, read as %d: %v, %v", wrote, read, o, err)
			}
		}
	}
}

// A receiver's buffer holds nothing of a message that did not open.
func TestFailedOpenLeavesNoPlaintext(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	s := p.open(t)
	r := p.mustAccept(t, s.Init())
	sealed, err := s.Seal(nil, testHeader, Message{Body: bytes.Repeat([]byte("canary"), 20)})
	if err != nil {
		t.Fatal(err)
	}
	sealed[len(sealed)-1] ^= 1
	dst := make([]byte, 0, 1024)
	var o Opened
	if err := r.OpenInto(&o, dst, testHeader, sealed, 0); err == nil {
		t.Fatal("opened")
	}
	if o.Body != nil || bytes.Contains(dst[:cap(dst)], []byte("canary")) {
		t.Error("plaintext of a forged message was left behind")
	}
}
