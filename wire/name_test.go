package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", NameBytes)
	good := []string{"a", "0", "team.box", "team-1.box_2.x-", "a.b.c.d", "9.9", long, "a_", "a-.b"}
	bad := []string{
		"", ".", "a.", ".a", "a..b", "A", "team.Box", "a b", "a/b", "-a", "_a", "a._dead", "a.-b", "*", ">", "a.*", "a\x00",
		"a\n", "é", "a\u202eb", "a\u200bb", "\xff", long + "a", "a:b", "a=b", "a@b",
	}
	for _, name := range good {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range bad {
		err := CheckName(name)
		if !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want %v", name, err, ErrName)
		}
		if _, err := Decode(TypeResolve, (&Resolve{Name: name}).Append(nil)); err == nil {
			t.Errorf("%q: decodes", name)
		} else if len(name) > 1 && strings.Contains(err.Error(), name) {
			t.Errorf("%q: the error holds the name", name)
		}
	}
}

func TestPatterns(t *testing.T) {
	long := strings.Repeat("a", NameBytes)
	for _, pattern := range []string{"a", "a.b", "*", ">", "a.*", "a.>", "*.b", "a.*.c.>", long} {
		if err := CheckPattern(pattern); err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	for _, pattern := range []string{"", ".", "a.", ".>", ">.a", "a*", "**", ">>", "a.>.b", "A.>", "a..>", long + "a"} {
		if err := CheckPattern(pattern); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

func TestTextForPeople(t *testing.T) {
	for _, text := range []string{"", "disk is full: 3 % left", "Grüße ✓", strings.Repeat("x", TextBytes)} {
		if err := checkText(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"a\x00b", "line\nline", "\x1b[2J", "\u202egnp.exe", "zero\u200bwidth", "\u2028", "\ufeff", "\xff\xfe", "\x7f",
	} {
		if err := checkText(text); !errors.Is(err, ErrText) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, token := range []string{"", "a b", "a\tb", "ü", "a\x00", strings.Repeat("x", NameBytes+1)} {
		if err := CheckPrincipal(token); !errors.Is(err, ErrText) {
			t.Errorf("principal %q: %v", token, err)
		}
	}
	if err := CheckPrincipal("spiffe://client.example/svc/billing"); err != nil {
		t.Error(err)
	}
}

// Computed by: printf 'sealmq/slot/v1NAME' | sha256sum, first three hex digits.
func TestSlots(t *testing.T) {
	for name, want := range map[string]uint16{"team.box": 0xf52, "you": 0x1b8, "echo": 0x94b} {
		if got := SlotOf(name); got != want {
			t.Errorf("SlotOf(%q) = %#x, want %#x", name, got, want)
		}
	}
	seen := map[uint16]bool{}
	for i := range 20_000 {
		slot := SlotOf("box." + strings.Repeat("a", i%50) + string(rune('0'+i/2000)))
		if slot >= Slots {
			t.Fatalf("slot %d", slot)
		}
		seen[slot] = true
	}
	if len(seen) < 300 {
		t.Errorf("names fall into %d slots", len(seen))
	}
}
