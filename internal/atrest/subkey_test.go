package atrest

import (
	"bytes"
	"errors"
	"testing"
)

func TestSubKey(t *testing.T) {
	from, salt := [32]byte{1}, [16]byte{2}
	open := func(from [32]byte, salt [16]byte, purpose string) *SubKey {
		t.Helper()
		k, err := NewSubKey(from, salt, purpose)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	plaintext, aad := []byte("a session header"), []byte("its place")
	sealed := open(from, salt, "header").Seal(nil, plaintext, aad)
	if bytes.Contains(sealed, plaintext) {
		t.Fatal("sealed bytes hold the plaintext")
	}
	if got, err := open(from, salt, "header").Open(nil, sealed, aad); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("opened %q, %v", got, err)
	}
	others := map[string]*SubKey{
		"another secret":  open([32]byte{9}, salt, "header"),
		"another salt":    open(from, [16]byte{9}, "header"),
		"another purpose": open(from, salt, "body"),
	}
	for name, k := range others {
		if _, err := k.Open(nil, sealed, aad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	if _, err := open(from, salt, "header").Open(nil, sealed, []byte("elsewhere")); !errors.Is(err, ErrDamaged) {
		t.Errorf("another place: %v, want ErrDamaged", err)
	}
	for i := range sealed {
		flipped := bytes.Clone(sealed)
		flipped[i] ^= 1
		if _, err := open(from, salt, "header").Open(nil, flipped, aad); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d flipped: %v, want ErrDamaged", i, err)
		}
	}
	if _, err := NewSubKey([32]byte{}, salt, "header"); err == nil {
		t.Error("a zero secret was accepted")
	}
}
