package machine

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/sealmq/sealmq/storage"
)

// keyedAt makes the nth id of a small space, so that mailboxes, senders and windows meet.
func keyedAt(n uint32) storage.KeyedID {
	k := storage.KeyedID{Window: n % 2, Mailbox: uint64(n % 3)}
	k.Sender[0] = byte(n % 5)
	binary.BigEndian.PutUint32(k.ID[12:], n/30)
	return k
}

// The rows are a map, and stay one when they are written, forgotten and come again.
func TestKeyedRowsAreAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	stores := newStores(t)
	var rows keyedRows
	for round := range 3 {
		want := map[storage.KeyedID]storage.Keyed{}
		batch := stores.NewBatch(1)
		written := 0
		for i := range 5_000 {
			id := keyedAt(rng.Uint32N(4_000))
			k, ok := want[id]
			if r := rows.find(&id); (r != nil) != ok || (ok && r.Keyed != k) {
				t.Fatalf("round %d: found %v, want %v, %v", round, r, k, ok)
			}
			if !ok {
				want[id] = storage.Keyed{Seq: rng.Uint64()}
				rows.add(storage.KeyedRow{KeyedID: id, Keyed: want[id]})
			}
			if i == 2_500 { // a window ends; what is in the batch is found as before
				rows.write(batch)
				written = len(want)
				if batch.Len() == 0 || rows.inBatch != written {
					t.Fatalf("round %d: %d ids are %d rows of the batch", round, rows.inBatch, batch.Len())
				}
			}
			if len(rows.rows) != len(want) || rows.inBatch != written {
				t.Fatalf("round %d: %d ids of %d, %d of %d in the batch", round, len(rows.rows), len(want), rows.inBatch, written)
			}
		}
		if err := batch.Close(); err != nil {
			t.Fatal(err)
		}
		rows.reset()
	}
}

// One long run of Apply may bring any number of them. That memory is not kept.
func TestKeyedRowsGrow(t *testing.T) {
	var rows keyedRows
	const many = 3 * maxPendingRows
	for n := range uint32(many) {
		rows.add(storage.KeyedRow{KeyedID: keyedAt(n), Keyed: storage.Keyed{Seq: uint64(n)}})
	}
	for n := range uint32(many + 100) {
		id := keyedAt(n)
		if r := rows.find(&id); (r != nil) != (n < many) || (r != nil && r.Seq != uint64(n)) {
			t.Fatalf("id %d is %v", n, r)
		}
	}
	rows.reset()
	if rows.table != nil || rows.rows != nil {
		t.Error("the memory of a large run is kept")
	}
}

// What waits is bounded by the machine's share of the node's memory.
func TestPendingRowsAreAsMuchAsTheCache(t *testing.T) {
	for cacheBytes, want := range map[int]int{1: leastPendingRows, 1 << 20: 4 << 10, 8 << 20: maxPendingRows, 1 << 30: maxPendingRows} {
		if got := pendingRows(cacheBytes); got != want {
			t.Errorf("with a cache of %d bytes: %d rows, want %d", cacheBytes, got, want)
		}
	}
}
