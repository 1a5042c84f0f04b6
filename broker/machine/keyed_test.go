package machine

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/sealmq/sealmq/storage"
)

// keyedAt makes the nth id of a small space, so that mailboxes, senders and windows meet.
func keyedAt(n uint32) keyedID {
	k := keyedID{window: n % 2, mailbox: uint64(n % 3)}
	k.sender[0] = byte(n % 5)
	binary.BigEndian.PutUint32(k.id[12:], n/30)
	return k
}

// The rows are a map, whatever the hashes are: good ones, ones that meet in a few places, all the same.
func TestKeyedRowsAreAMap(t *testing.T) {
	hashes := map[string]func(id keyedID) uint64{
		"good": func(id keyedID) uint64 { return idHash(id.mailbox, id.sender, id.id) },
		"few":  func(id keyedID) uint64 { return uint64(id.id[15]) << 61 },
		"one":  func(keyedID) uint64 { return ^uint64(0) },
	}
	for name, hash := range hashes {
		rng := rand.New(rand.NewPCG(1, 2))
		var rows keyedRows
		for round := range 3 {
			want := map[keyedID]storage.Keyed{}
			for range 2_000 {
				id := keyedAt(rng.Uint32N(2_000))
				k, ok := want[id]
				if r := rows.find(&id, hash(id)); (r != nil) != ok || (ok && r.Keyed != k) {
					t.Fatalf("%s, round %d: found %v, want %v, %v", name, round, r, k, ok)
				}
				if !ok {
					want[id] = storage.Keyed{Seq: rng.Uint64()}
					rows.add(keyedRow{id, want[id]}, hash(id))
				}
			}
			if rows.waiting() != len(want) {
				t.Errorf("%s: %d wait, want %d", name, rows.waiting(), len(want))
			}
			rows.reset()
		}
	}
}

// One long run of Apply may bring any number of them.
func TestKeyedRowsGrow(t *testing.T) {
	var rows keyedRows
	hash := func(id keyedID) uint64 { return idHash(id.mailbox, id.sender, id.id) }
	const many = keyedTableSize
	for n := range uint32(many) {
		id := keyedAt(n)
		rows.add(keyedRow{id, storage.Keyed{Seq: uint64(n)}}, hash(id))
	}
	for n := range uint32(many + 100) {
		id := keyedAt(n)
		if r := rows.find(&id, hash(id)); (r != nil) != (n < many) || (r != nil && r.Seq != uint64(n)) {
			t.Fatalf("id %d is %v", n, r)
		}
	}
	if len(rows.table) < 2*many {
		t.Errorf("%d places for %d rows", len(rows.table), many)
	}
	rows.reset()
	if rows.table != nil || rows.rows != nil {
		t.Error("the memory of a large run is kept")
	}
}
