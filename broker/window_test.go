package broker

import (
	"encoding/binary"
	"testing"

	"github.com/sealmq/sealmq/wire"
)

func TestSessionWindowForgetsTheOldest(t *testing.T) {
	id := func(i int) (s [16]byte) {
		binary.BigEndian.PutUint64(s[:], uint64(i))
		return s
	}
	var w sessionWindow
	for i := range wire.SessionWindow {
		w.brought(id(i))
	}
	w.brought(id(0)) // known: keeps its place
	if !w.knows(id(0)) || w.knows(id(wire.SessionWindow)) {
		t.Fatal("the window does not hold what was brought")
	}
	w.brought(id(wire.SessionWindow))
	if w.knows(id(0)) || !w.knows(id(1)) || !w.knows(id(wire.SessionWindow)) {
		t.Error("not the oldest was forgotten")
	}
	for i := range 10 * wire.SessionWindow {
		w.brought(id(i))
	}
	if len(w.known) != wire.SessionWindow || len(w.order) != wire.SessionWindow {
		t.Errorf("%d are known, %d in order", len(w.known), len(w.order))
	}
	w.clear()
	if w.knows(id(10*wire.SessionWindow - 1)) {
		t.Error("it is known after clear")
	}
}
