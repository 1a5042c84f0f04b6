package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/internal/testkit"
)

func seeded(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0x5ea1))} }

// rounds is how many random messages of each type a property is tried on.
func rounds(t *testing.T) int {
	if testkit.Long(t) {
		return 20_000
	}
	return 150
}

// eachMessage runs test on random messages of every type.
func eachMessage(t *testing.T, test func(t *testing.T, g random, m Message)) {
	for _, typ := range Types() {
		t.Run(typ.String(), func(t *testing.T) {
			for i := range rounds(t) {
				g := seeded(uint64(i)<<8 | uint64(typ))
				test(t, g, g.message(typ))
				if t.Failed() {
					t.Fatalf("seed %d", i)
				}
			}
		})
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	used := map[Type]Message{}
	for _, typ := range Types() {
		used[typ] = New(typ)
	}
	eachMessage(t, func(t *testing.T, _ random, m Message) {
		payload := m.Append(nil)
		fresh, err := Decode(m.Type(), payload)
		if err != nil {
			t.Errorf("%v\n%s", err, strings.Join(dump(m), "\n"))
			return
		}
		again := used[m.Type()]
		if err := again.Decode(payload); err != nil {
			t.Errorf("into a used message: %v", err)
			return
		}
		want := dump(m)
		for _, got := range []Message{fresh, again} {
			if d := dump(got); !slices.Equal(d, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(d, "\n"), strings.Join(want, "\n"))
			}
			if again := got.Append(nil); !bytes.Equal(again, payload) {
				t.Errorf("encodes to %x, was %x", again, payload)
			}
		}
	})
}

func TestNoStrictPrefixParses(t *testing.T) {
	eachMessage(t, func(t *testing.T, g random, m Message) {
		payload := m.Append(nil)
		n := len(payload)
		step := 1 + n/200
		for cut := g.IntN(step); cut < n; cut += step {
			if err := New(m.Type()).Decode(payload[:cut]); err == nil {
				t.Errorf("%d of %d bytes parse: %x", cut, n, payload)
			}
		}
		err := New(m.Type()).Decode(append(payload, 0))
		if !errors.Is(err, codec.ErrTrailing) {
			t.Errorf("one byte more: %v, want %v", err, codec.ErrTrailing)
		}
	})
}

// Whatever parses is the one encoding of what it says.
func TestChangedBytesReencode(t *testing.T) {
	parsed := 0
	eachMessage(t, func(t *testing.T, g random, m Message) {
		payload := m.Append(nil)
		for range 20 {
			at := g.IntN(len(payload))
			old := payload[at]
			payload[at] ^= 1 << g.IntN(8)
			if got := New(m.Type()); got.Decode(payload) == nil {
				parsed++
				if again := got.Append(nil); !bytes.Equal(again, payload) {
					t.Errorf("%x\nparses and encodes to\n%x", payload, again)
				}
			}
			payload[at] = old
		}
	})
	if parsed < 1000 {
		t.Errorf("only %d changed messages parsed: the test says nothing", parsed)
	}
}

// Random bytes behind a good message's first ones must neither panic nor take much memory.
func TestGarbageIsRefused(t *testing.T) {
	eachMessage(t, func(t *testing.T, g random, m Message) {
		payload := m.Append(nil)
		garbage := append(payload[:g.IntN(len(payload)+1)], g.bytes(0, 100)...)
		err := New(m.Type()).Decode(garbage)
		var decode *DecodeError
		if err != nil && (!errors.As(err, &decode) || decode.Type != m.Type()) {
			t.Errorf("%v is not a DecodeError of %v", err, m.Type())
		}
	})
}

func TestTypesAreDescribed(t *testing.T) {
	names := map[string]bool{}
	for _, typ := range Types() {
		name := typ.String()
		if names[name] || strings.HasPrefix(name, "type_") || name != strings.ToLower(name) {
			t.Errorf("type %d has the name %q", typ, name)
		}
		names[name] = true
		if m := New(typ); m.Type() != typ {
			t.Errorf("New(%v) makes a %v", typ, m.Type())
		}
	}
	for _, typ := range []Type{0, 8, 9, 100, 255} {
		if typ.Known() || New(typ) != nil || !strings.HasPrefix(typ.String(), "type_") {
			t.Errorf("type %d is known as %v", typ, typ)
		}
		if _, err := Decode(typ, []byte{0}); !errors.Is(err, ErrUnknownType) {
			t.Errorf("type %d: %v", typ, err)
		}
	}
}

func TestWhoMaySendWhat(t *testing.T) {
	tests := []struct {
		name    string
		got     error
		want    error
		code    Code
		closing bool
	}{
		{"hello first", CheckFromClient(PhaseNew, TypeHello, 1), nil, 0, false},
		{"send first", CheckFromClient(PhaseNew, TypeSend, 1), ErrNoHello, CodeUnauthenticated, true},
		{"unknown first", CheckFromClient(PhaseNew, 200, 1), ErrNoHello, CodeUnauthenticated, true},
		{"hello twice", CheckFromClient(PhaseOpen, TypeHello, 2), ErrOutOfOrder, CodeBadRequest, true},
		{"send", CheckFromClient(PhaseOpen, TypeSend, 2), nil, 0, false},
		{"pong", CheckFromClient(PhaseOpen, TypePong, 2), nil, 0, false},
		{"send under id 0", CheckFromClient(PhaseOpen, TypeSend, 0), ErrRequestID, CodeBadRequest, true},
		{"server's message", CheckFromClient(PhaseOpen, TypeDeliver, 2), ErrOutOfOrder, CodeBadRequest, true},
		{"unknown", CheckFromClient(PhaseOpen, 200, 2), ErrUnknownType, CodeUnsupported, false},
		{"to client: delivery", CheckFromServer(TypeDeliver, 2), nil, 0, false},
		{"to client: delivery under id 0", CheckFromServer(TypeDeliver, 0), ErrRequestID, CodeBadRequest, true},
		{"to client: goaway", CheckFromServer(TypeGoAway, 0), nil, 0, false},
		{"to client: goaway under an id", CheckFromServer(TypeGoAway, 7), ErrRequestID, CodeBadRequest, true},
		{"to client: last failure", CheckFromServer(TypeFailure, 0), nil, 0, false},
		{"to client: send", CheckFromServer(TypeSend, 1), ErrOutOfOrder, CodeBadRequest, true},
		{"to client: unknown", CheckFromServer(77, 1), ErrUnknownType, CodeUnsupported, false},
	}
	for _, tt := range tests {
		if !errors.Is(tt.got, tt.want) || tt.want == nil && tt.got != nil {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
			continue
		}
		if tt.want == nil {
			continue
		}
		if code, closing := CodeOf(tt.got); code != tt.code || closing != tt.closing {
			t.Errorf("%s: code %v, closing %v", tt.name, code, closing)
		}
	}
}
