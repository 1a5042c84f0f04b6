package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestHandles(t *testing.T) {
	for i := range 200 {
		g := seeded(uint64(i))
		h := Handle{
			Incarnation: g.Uint64(), Mailbox: MailboxRef{uint16(g.number(0, Slots-1)), [16]byte(g.bytes(16, 16))},
			Lease: [8]byte(g.bytes(8, 8)), Seq: g.number(1, 1<<64-1),
		}
		text := EncodeHandle(h)
		got, err := ParseHandle(text)
		if err != nil || got != h {
			t.Fatalf("%s: %+v, %v, want %+v", text, got, err, h)
		}
		if i > 5 {
			continue
		}
		// Every changed, missing or added character is found.
		for at := range len(text) {
			for _, c := range []string{"A", "b", "-", "_", "9", ".", "=", "\n", ""} {
				wrong := text[:at] + c + text[at+1:]
				if _, err := ParseHandle(wrong); wrong != text && !errors.Is(err, ErrHandle) {
					t.Fatalf("%s for %s: %v", wrong, text, err)
				}
				if _, err := ParseHandle(text[:at] + c + text[at:]); c != "" && !errors.Is(err, ErrHandle) {
					t.Fatalf("%q added at %d of %s: %v", c, at, text, err)
				}
			}
		}
	}
}

func TestNotHandles(t *testing.T) {
	for _, text := range []string{
		"", "h1.", "h1.AAAA", "h2." + EncodeHandle(Handle{Seq: 1})[3:], EncodeHandle(Handle{Seq: 0}),
		EncodeHandle(Handle{Seq: 1, Mailbox: MailboxRef{Slot: Slots}}), strings.Repeat("h1.A", 1000),
		" " + EncodeHandle(Handle{Seq: 1}),
		EncodeHandle(Handle{Seq: 1}) + "\n", "team.box",
	} {
		if _, err := ParseHandle(text); err != ErrHandle {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
