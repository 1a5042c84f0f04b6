package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func FuzzHello(f *testing.F)              { fuzzMessage(f, TypeHello) }
func FuzzHelloReply(f *testing.F)         { fuzzMessage(f, TypeHelloReply) }
func FuzzFailure(f *testing.F)            { fuzzMessage(f, TypeFailure) }
func FuzzPing(f *testing.F)               { fuzzMessage(f, TypePing) }
func FuzzPong(f *testing.F)               { fuzzMessage(f, TypePong) }
func FuzzGoAway(f *testing.F)             { fuzzMessage(f, TypeGoAway) }
func FuzzDone(f *testing.F)               { fuzzMessage(f, TypeDone) }
func FuzzSend(f *testing.F)               { fuzzMessage(f, TypeSend) }
func FuzzSendReply(f *testing.F)          { fuzzMessage(f, TypeSendReply) }
func FuzzSessionPut(f *testing.F)         { fuzzMessage(f, TypeSessionPut) }
func FuzzSessionPutReply(f *testing.F)    { fuzzMessage(f, TypeSessionPutReply) }
func FuzzSessionGet(f *testing.F)         { fuzzMessage(f, TypeSessionGet) }
func FuzzSessionGetReply(f *testing.F)    { fuzzMessage(f, TypeSessionGetReply) }
func FuzzPull(f *testing.F)               { fuzzMessage(f, TypePull) }
func FuzzSubscribe(f *testing.F)          { fuzzMessage(f, TypeSubscribe) }
func FuzzCredit(f *testing.F)             { fuzzMessage(f, TypeCredit) }
func FuzzUnsubscribe(f *testing.F)        { fuzzMessage(f, TypeUnsubscribe) }
func FuzzSubscriptionEnd(f *testing.F)    { fuzzMessage(f, TypeSubscriptionEnd) }
func FuzzDeliver(f *testing.F)            { fuzzMessage(f, TypeDeliver) }
func FuzzAck(f *testing.F)                { fuzzMessage(f, TypeAck) }
func FuzzNack(f *testing.F)               { fuzzMessage(f, TypeNack) }
func FuzzExtend(f *testing.F)             { fuzzMessage(f, TypeExtend) }
func FuzzLeaseReply(f *testing.F)         { fuzzMessage(f, TypeLeaseReply) }
func FuzzMailboxCreate(f *testing.F)      { fuzzMessage(f, TypeMailboxCreate) }
func FuzzMailboxCreateReply(f *testing.F) { fuzzMessage(f, TypeMailboxCreateReply) }
func FuzzMailboxShow(f *testing.F)        { fuzzMessage(f, TypeMailboxShow) }
func FuzzMailboxInfo(f *testing.F)        { fuzzMessage(f, TypeMailboxInfo) }
func FuzzMailboxList(f *testing.F)        { fuzzMessage(f, TypeMailboxList) }
func FuzzMailboxListReply(f *testing.F)   { fuzzMessage(f, TypeMailboxListReply) }
func FuzzMailboxDelete(f *testing.F)      { fuzzMessage(f, TypeMailboxDelete) }
func FuzzKeyRecordPublish(f *testing.F)   { fuzzMessage(f, TypeKeyRecordPublish) }
func FuzzResolve(f *testing.F)            { fuzzMessage(f, TypeResolve) }
func FuzzResolveReply(f *testing.F)       { fuzzMessage(f, TypeResolveReply) }
func FuzzKeyLookup(f *testing.F)          { fuzzMessage(f, TypeKeyLookup) }
func FuzzKeyLookupReply(f *testing.F)     { fuzzMessage(f, TypeKeyLookupReply) }
func FuzzGrantAdd(f *testing.F)           { fuzzMessage(f, TypeGrantAdd) }
func FuzzGrantAddReply(f *testing.F)      { fuzzMessage(f, TypeGrantAddReply) }
func FuzzGrantRemove(f *testing.F)        { fuzzMessage(f, TypeGrantRemove) }
func FuzzGrantRemoveReply(f *testing.F)   { fuzzMessage(f, TypeGrantRemoveReply) }
func FuzzGrantList(f *testing.F)          { fuzzMessage(f, TypeGrantList) }
func FuzzGrantListReply(f *testing.F)     { fuzzMessage(f, TypeGrantListReply) }
func FuzzSlotMap(f *testing.F)            { fuzzMessage(f, TypeSlotMap) }
func FuzzSlotMapReply(f *testing.F)       { fuzzMessage(f, TypeSlotMapReply) }
func FuzzClusterStatus(f *testing.F)      { fuzzMessage(f, TypeClusterStatus) }
func FuzzClusterStatusReply(f *testing.F) { fuzzMessage(f, TypeClusterStatusReply) }

// fuzzMessage tries the decoder of one type on anything, from the vectors and random messages of the type.
func fuzzMessage(f *testing.F, typ Type) {
	for _, v := range vectors(f) {
		if typeByName(v.typ) == typ {
			f.Add(v.bytes)
		}
	}
	for i := range 20 {
		f.Add(seeded(uint64(i)).message(typ).Append(nil))
	}
	used := seeded(99).message(typ)
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := New(typ)
		err := m.Decode(payload)
		again := used.Decode(payload)
		if (err == nil) != (again == nil) {
			t.Fatalf("fresh: %v, used: %v", err, again)
		}
		if err != nil {
			var decode *DecodeError
			if !errors.As(err, &decode) || decode.Type != typ {
				t.Fatalf("%v is not a DecodeError of %v", err, typ)
			}
			return
		}
		if got := m.Append(nil); !bytes.Equal(got, payload) {
			t.Fatalf("%x encodes to %x", payload, got)
		}
		if got := used.Append(nil); !bytes.Equal(got, payload) {
			t.Fatalf("%x encodes to %x from a used message", payload, got)
		}
		if m.Decode(payload[:len(payload)-1]) == nil {
			t.Fatalf("%x parses without its last byte", payload)
		}
	})
}

// FuzzFrameReader reads the same bytes whole and in pieces.
func FuzzFrameReader(f *testing.F) {
	for _, v := range vectors(f) {
		if v.typ == "frames" || v.typ == "frames_open" {
			f.Add(v.bytes, v.typ == "frames_open")
		}
	}
	stream, _ := frames(seeded(3))
	f.Add(stream, true)
	f.Fuzz(func(t *testing.T, stream []byte, open bool) {
		read := func(src io.Reader) ([][]byte, error) {
			reader := NewFrameReader(src)
			if open {
				reader.SetLimit(FrameBytes)
			}
			return readAll(reader)
		}
		whole, err := read(bytes.NewReader(stream))
		pieces, errPieces := read(iotest.OneByteReader(bytes.NewReader(stream)))
		if !slices.EqualFunc(whole, pieces, bytes.Equal) || (err == io.EOF) != (errPieces == io.EOF) {
			t.Fatalf("whole: %d frames, %v; in pieces: %d frames, %v", len(whole), err, len(pieces), errPieces)
		}
		joined := slices.Concat(whole...)
		if !bytes.HasPrefix(stream, joined) || err == io.EOF && len(joined) != len(stream) {
			t.Fatalf("read %x from %x, %v", joined, stream, err)
		}
	})
}

func FuzzClearHeader(f *testing.F) {
	for _, v := range vectors(f) {
		if v.typ == "clear_header" {
			f.Add(v.bytes)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseClearHeader(b)
		cut, rest, errCut := CutClearHeader(b)
		if err == nil && (errCut != nil || len(rest) != 0) {
			t.Fatalf("parses, cuts to %x, %v", rest, errCut)
		}
		if errCut != nil {
			return
		}
		if got := append(AppendClearHeader(nil, &cut), rest...); !bytes.Equal(got, b) {
			t.Fatalf("%x encodes to %x", b, got)
		}
		if err == nil && !bytes.Equal(AppendClearHeader(nil, &h), b) {
			t.Fatalf("%x parses and cuts differently", b)
		}
		h.Needs()
		h.OrderingKey()
		h.NotBeforeMinutes()
		h.Priority()
	})
}

func FuzzHandle(f *testing.F) {
	for _, v := range vectors(f) {
		if v.typ == "handle" {
			f.Add(string(v.bytes))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHandle(text)
		if err == nil && EncodeHandle(h) != text {
			t.Fatalf("%q is %+v, which is %q", text, h, EncodeHandle(h))
		}
	})
}

var (
	nameForm    = regexp.MustCompile(`\A[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*\z`)
	patternForm = regexp.MustCompile(`\A(([a-z0-9][a-z0-9_-]*|\*)(\.([a-z0-9][a-z0-9_-]*|\*))*(\.>)?|>)\z`)
)

func FuzzNames(f *testing.F) {
	for _, v := range vectors(f) {
		if v.typ == "name" || v.typ == "pattern" {
			f.Add(string(v.bytes))
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		fits := len(s) <= NameBytes
		if got, want := CheckName(s) == nil, fits && nameForm.MatchString(s); got != want {
			t.Errorf("%q is a name: %v", s, got)
		}
		if got, want := CheckPattern(s) == nil, fits && patternForm.MatchString(s); got != want {
			t.Errorf("%q is a pattern: %v", s, got)
		}
		if SlotOf(s) >= Slots {
			t.Errorf("slot %d", SlotOf(s))
		}
	})
}

func TestEveryDecoderIsFuzzed(t *testing.T) {
	source, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range Types() {
		name := strings.ReplaceAll(typ.String(), "_", "")
		if !strings.Contains(strings.ToLower(string(source)), "fuzzmessage(f, type"+name+")") {
			t.Errorf("no fuzz target for %v", typ)
		}
	}
}
