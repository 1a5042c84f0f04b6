package storage

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestSpanEnds(t *testing.T) {
	long := make([]byte, 40)
	tests := []struct {
		name       string
		start, end key
	}{
		{"applied", newKey(nil, 3, tableApplied), newKey(nil, 3, tableRecord)},
		{"a state", newKey(nil, 3, tableState).u64(9), newKey(nil, 3, tableRecord)},
		{"a key record", newKey(nil, 3, tableRecord).u64(9), newKey(nil, 3, tablePage)},
		{"a page", newKey(nil, 3, tablePage).u64(9), newKey(nil, 3, tableSession)},
		{"addresses", newKey(nil, 3, tableAddress).u64(9), newKey(nil, 3, tableSession)},
		{"a session", newKey(nil, 3, tableSession).u32(7), newKey(nil, 3, tableSession+1)},
		{"after sessions", newKey(nil, 3, tableSession+1), newKey(nil, 3, tableKeyed)},
		{"a keyed id", newKey(nil, 3, tableKeyed).u8(DedupClass).u32(7).bytes(long),
			newKey(nil, 3, tableKeyed).u8(DedupClass).u32(8)},
		{"the last window", newKey(nil, 3, tableKeyed).u8(DedupClass).u32(1<<32 - 1).bytes(long), newKey(nil, 3, tableKeyed+1)},
		{"another class", newKey(nil, 3, tableKeyed).u8(255).u32(7).bytes(long), newKey(nil, 3, tableKeyed+1)},
		{"a bare window", newKey(nil, 3, tableKeyed).u8(DedupClass).u32(0), newKey(nil, 3, tableKeyed+1)},
		{"a producer", newKey(nil, 3, tableProducer).u8(DedupClass), newKey(nil, 4, tableRecord)},
		{"a grant", newKey(nil, 3, tableGrant), newKey(nil, 4, tableRecord)},
		{"the format", newKey(nil, formatGroup, 0), newKey(nil, formatGroup, tableRecord)},
		{"the last group's end", newKey(nil, formatGroup, tableGrant), nil},
		{"no key of ours", key{1}, nil},
	}
	for _, test := range tests {
		if end := spanEnd(test.start); !bytes.Equal(end, test.end) {
			t.Errorf("%s: %x ends at %x, want %x", test.name, test.start, end, test.end)
		}
	}
	// An end at or before its start would be asked for again for ever.
	for group := range 2 {
		for table := range 256 {
			start := newKey(nil, uint16(group), byte(table)).u8(DedupClass).u32(5).bytes(long)
			if end := spanEnd(start); bytes.Compare(end, start) <= 0 {
				t.Errorf("%x ends at %x", start, end)
			}
		}
	}
}

// flushed writes a batch of the group and flushes it.
func flushed(t testing.TB, s *Stores, group uint16, write func(b *Batch)) {
	t.Helper()
	b := s.NewBatch(group)
	defer b.Close()
	write(b)
	if err := b.Commit(&Marks{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.dbs[State].Flush(); err != nil {
		t.Fatal(err)
	}
}

// tables returns the numbers of the files that hold a key of the table.
func tables(t *testing.T, s *Stores, group uint16, table byte) map[string]bool {
	t.Helper()
	levels, err := s.dbs[State].SSTables(pebble.WithKeyRangeFilter(newKey(nil, group, table), newKey(nil, group, table+1)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, level := range levels {
		for _, file := range level {
			found[file.BackingSSTNum.String()] = true
		}
	}
	return found
}

// What is written all the time is compacted again and again; session headers and key records stay where they are.
func TestCompactionsLeaveWhatStaysAlone(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	const mailboxes = 200
	hot := func() {
		flushed(t, s, 1, func(b *Batch) {
			for n := range uint64(mailboxes) {
				b.PutState(n, &MailboxState{Next: 1})
				b.PutAddresses(n, 0, []Address{{Index: n}})
				b.PutKeyed([]KeyedRow{{KeyedID{7, n, [16]byte{1}, [16]byte{byte(n)}}, Keyed{Seq: n}}})
				b.PutExpiry(7, n, &Expiry{})
			}
		})
	}
	flushed(t, s, 1, func(b *Batch) {
		for n := range uint64(mailboxes) {
			b.PutKeyRecord(n, 1, bytes.Repeat([]byte{byte(n)}, 1500))
			b.PutSession(7, n, [16]byte{byte(n)}, &Session{Header: bytes.Repeat([]byte{byte(n)}, 1200)})
		}
	})
	hot()
	if err := s.dbs[State].Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	records, sessions, states := tables(t, s, 1, tableRecord), tables(t, s, 1, tableSession), tables(t, s, 1, tableState)
	before := s.dbs[State].Metrics().Compact.Count
	for range 4 * State.sizes().l0 {
		hot()
	}
	// Compactions run beside the flushes. So many files on top of each other are not left alone.
	for m := s.dbs[State].Metrics(); m.Compact.Count == before || m.Compact.NumInProgress > 0; m = s.dbs[State].Metrics() {
		runtime.Gosched()
	}
	same := func(a, b map[string]bool) bool {
		for n := range a {
			if !b[n] {
				return false
			}
		}
		return len(a) > 0
	}
	if !same(records, tables(t, s, 1, tableRecord)) || !same(sessions, tables(t, s, 1, tableSession)) {
		t.Error("key records or session headers were written again")
	}
	if same(states, tables(t, s, 1, tableState)) {
		t.Error("the states were not compacted: the test shows nothing")
	}
}

// The first deletion of windows spans millions that never were.
func TestADeletionOfWindowsIsOneFile(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	flushed(t, s, 1, func(b *Batch) {
		b.PutKeyed([]KeyedRow{{KeyedID{2_999_999, 1, [16]byte{1}, [16]byte{2}}, Keyed{Seq: 1}}})
		b.PutKeyed([]KeyedRow{{KeyedID{3_000_001, 1, [16]byte{1}, [16]byte{2}}, Keyed{Seq: 1}}})
	})
	flushed(t, s, 1, func(b *Batch) { b.DropDedup(0, 3_000_000) })
	if n := len(tables(t, s, 1, tableKeyed)); n > 5 {
		t.Errorf("%d files", n)
	}
	if err := s.dbs[State].Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	if n := len(tables(t, s, 1, tableKeyed)); n > 2 {
		t.Errorf("%d files after compaction", n)
	}
}
