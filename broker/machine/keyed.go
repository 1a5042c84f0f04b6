package machine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"

	"github.com/sealmq/sealmq/storage"
)

type keyedID struct {
	window     uint32
	mailbox    uint64
	sender, id [16]byte
}

// keyedRow is a keyed id with what is remembered of it.
type keyedRow struct {
	keyedID
	storage.Keyed
}

// keyedRows are the keyed ids that no read of the store sees yet, in the order in which they came. A message adds one,
// and nearly none is ever looked for, since the filters come first: so they stand in a slice, and the places in it in a
// hash table of numbers, which takes a fifth less time for a message than a map (BenchmarkApply, keyed).
type keyedRows struct {
	rows    []keyedRow
	inBatch int      // so many of them are in the batch
	table   []uint32 // by hash, then the next free place: 1 + where in rows, 0 for none; a power of two, at most half full
	order   []keyedPlace
}

// keyedPlace is a row by the beginning of its key.
type keyedPlace struct {
	mailbox, sender, id uint64
	row                 uint32
}

// keyedSeed is this process's own: who chooses ids cannot know which of them meet.
var keyedSeed = maphash.MakeSeed()

const leastKeyedTable = 1 << 10

// find returns the row of an id, nil if there is none.
func (k *keyedRows) find(id *keyedID) *keyedRow {
	if len(k.rows) == 0 {
		return nil
	}
	for at := k.place(id); k.table[at] != 0; at = (at + 1) % len(k.table) {
		if r := &k.rows[k.table[at]-1]; r.keyedID == *id {
			return r
		}
	}
	return nil
}

// add adds an id that find does not find.
func (k *keyedRows) add(r keyedRow) {
	if 2*len(k.rows) >= len(k.table) {
		k.grow()
	}
	k.rows = append(k.rows, r)
	k.enter(&r.keyedID, len(k.rows))
}

// place is where the search for an id begins. One id in many mailboxes begins in as many places.
func (k *keyedRows) place(id *keyedID) int {
	return int(maphash.Bytes(keyedSeed, id.id[:])+id.mailbox*0x9E3779B97F4A7C15) & (len(k.table) - 1)
}

func (k *keyedRows) enter(id *keyedID, number int) {
	at := k.place(id)
	for k.table[at] != 0 {
		at = (at + 1) % len(k.table)
	}
	k.table[at] = uint32(number)
}

func (k *keyedRows) grow() {
	k.table = make([]uint32, max(leastKeyedTable, 2*len(k.table)))
	for i := range k.rows {
		k.enter(&k.rows[i].keyedID, i+1)
	}
}

// waiting returns how many are not in the batch.
func (k *keyedRows) waiting() int { return len(k.rows) - k.inBatch }

// write puts what is not in the batch into it, nearly in the order of the keys: ids come in no order, and each by itself
// would look for its place in all of a memtable.
func (k *keyedRows) write(b *storage.Batch) {
	k.order = k.order[:0]
	for i := k.inBatch; i < len(k.rows); i++ {
		r := &k.rows[i]
		k.order = append(k.order, keyedPlace{
			r.mailbox, binary.BigEndian.Uint64(r.sender[:]), binary.BigEndian.Uint64(r.id[:]), uint32(i),
		})
	}
	slices.SortFunc(k.order, func(a, b keyedPlace) int {
		if a.mailbox != b.mailbox {
			return cmp.Compare(a.mailbox, b.mailbox)
		}
		if a.sender != b.sender {
			return cmp.Compare(a.sender, b.sender)
		}
		return cmp.Compare(a.id, b.id)
	})
	for _, o := range k.order {
		r := &k.rows[o.row]
		b.PutKeyed(r.window, r.mailbox, r.sender, r.id, &r.Keyed)
	}
	k.inBatch = len(k.rows)
}

// reset forgets all of them: the store has them. A table that one large run made is not kept.
func (k *keyedRows) reset() {
	k.rows, k.inBatch = k.rows[:0], 0
	if len(k.table) > 4*maxPendingRows {
		*k = keyedRows{}
	}
	clear(k.table)
}

// findKeyed returns what is remembered of a keyed id.
func (m *Mail) findKeyed(mb *mailbox, sender, id [16]byte) (storage.Keyed, bool) {
	h := idHash(mb.row.Number, sender, id)
	for i := range m.filters {
		window := m.window - uint32(i)
		if m.window < uint32(i) || !m.filters[i].perhaps(h) {
			continue
		}
		if r := m.keyed.find(&keyedID{window, mb.row.Number, sender, id}); r != nil {
			return r.Keyed, true
		}
		k, err := m.reader.Keyed(window, mb.row.Number, sender, id)
		if err == nil {
			return k, true
		}
		if !errors.Is(err, storage.ErrNotFound) {
			m.failed(err)
			break
		}
	}
	return storage.Keyed{}, false
}

func (m *Mail) addKeyed(mb *mailbox, sender, id [16]byte, k storage.Keyed) {
	h := idHash(mb.row.Number, sender, id)
	m.keyed.add(keyedRow{keyedID{m.window, mb.row.Number, sender, id}, k})
	m.filters[0].add(h)
}
