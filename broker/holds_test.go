package broker

import (
	"slices"
	"testing"
)

func TestHoldsKeepTheEarliestDeadline(t *testing.T) {
	a, b := [16]byte{1}, [16]byte{2}
	h := newHolds()
	h.push(a, 100)
	h.push(a, 200) // later: what is due at 200 is found when 100 has been looked at
	h.push(b, 150)
	h.push(b, 50)

	if got := h.due(49, 10); got != nil {
		t.Fatalf("due at 49: %v", got)
	}
	if got := h.due(99, 10); !slices.Equal(got, [][16]byte{b}) {
		t.Fatalf("due at 99: %v, want b", got)
	}
	if got := h.due(1000, 10); !slices.Equal(got, [][16]byte{a}) {
		t.Fatalf("due at 1000: %v, want a once and b not again", got)
	}
	h.push(a, 300)
	h.clear()
	if got := h.due(1000, 10); got != nil {
		t.Fatalf("due after clear: %v", got)
	}
}

func TestHoldsDueIsBounded(t *testing.T) {
	h := newHolds()
	for i := range 10 {
		h.push([16]byte{byte(i)}, int64(i))
	}
	if got := h.due(100, 4); len(got) != 4 || got[0] != ([16]byte{0}) {
		t.Fatalf("first four: %v", got)
	}
	if got := h.due(100, 100); len(got) != 6 {
		t.Fatalf("the rest: %v", got)
	}
}
