package storage

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sealmq/sealmq/internal/codec"
)

// A keyed id is written once, hardly ever read, and gone after two windows. There are millions, and they come in no
// order: a row for each of them would be a search in a memtable, and again the better part of what is compacted. So a
// window has a number of partitions, an id belongs to one by a hash, and those of a partition that are written together
// are a bundle. A row is all bundles of its partition: writing merges one into it, and Pebble keeps them apart until a
// compaction or a read puts them together.
//
//	row     bundle, bundle, …        in any order: an id is in one of them only
//	bundle  u8 version 2, u16 ids, at least 1, and for each of them
//	        mailbox[8] sender[16] id[16] seq[8] tag[16]
//
// Which partition an id belongs to depends on a seed that each store draws for itself, so that who chooses ids cannot
// fill one. Rows of two replicas are therefore never alike, nor are two that were written in other pieces;
// [Reader.Rows] and [Reader.Digest] take ids one by one.

const (
	keyedPartitions = 1 << keyedPartitionLog2
	keyedKeyBytes   = 10
	keyedIDBytes    = 64
	maxKeyedBundle  = 1<<16 - 1
	keyedVersion    = 2 // in version 1 each id had a row
	keyedSeedWords  = 11

	// keyedPartitionLog2 makes bundles of 16 ids when 32,768 are written at once. More partitions cost more for each id
	// that is written, fewer cost more for each that is looked for.
	keyedPartitionLog2 = 11
)

// KeyedID is a keyed id of a sender (see [Hash16]) on a mailbox, in a window.
type KeyedID struct {
	Window     uint32
	Mailbox    uint64
	Sender, ID [16]byte
}

// Keyed is what is remembered of a keyed id.
type Keyed struct {
	Seq uint64
	Tag [16]byte
}

// KeyedRow is a keyed id with what is remembered of it.
type KeyedRow struct {
	KeyedID
	Keyed
}

// keyedSeed are the secret multipliers of the hash.
type keyedSeed [keyedSeedWords]uint64

func newKeyedSeed() []byte {
	row := make([]byte, 1+8*keyedSeedWords)
	row[0] = rowVersion
	rand.Read(row[1:])
	return row
}

func (s *keyedSeed) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	for i := range s {
		s[i] = r.U64()
	}
	return damaged("seed of keyed ids", r.Done())
}

// partition hashes an id: the multilinear hash of 32-bit words, of which the high bits are strongly universal (Lemire
// and Kaser, "Strongly universal string hashing is fast", 2014).
func (s *keyedSeed) partition(id *KeyedID) uint16 {
	h := s[0] + s[1]*uint64(uint32(id.Mailbox)) + s[2]*(id.Mailbox>>32)
	for i := range 4 {
		h += s[3+i]*uint64(binary.BigEndian.Uint32(id.Sender[4*i:])) + s[7+i]*uint64(binary.BigEndian.Uint32(id.ID[4*i:]))
	}
	return uint16(h >> (64 - keyedPartitionLog2))
}

func keyedKey(buf []byte, group uint16, window uint32, partition uint16) key {
	return newKey(buf, group, tableKeyed).u8(DedupClass).u32(window).u16(partition)
}

// keyedOrder is the memory of sorting ids by partition.
type keyedOrder struct {
	partitions []uint16
	ends       [keyedPartitions]uint32
	order      []uint32
}

// sort returns where the ids of each partition are in rows: those of partition n are order[ends[n-1]:ends[n]].
func (o *keyedOrder) sort(seed *keyedSeed, rows []KeyedRow) (order []uint32, ends *[keyedPartitions]uint32) {
	o.partitions, o.ends = o.partitions[:0], [keyedPartitions]uint32{}
	for i := range rows {
		partition := seed.partition(&rows[i].KeyedID)
		o.partitions = append(o.partitions, partition)
		o.ends[partition]++
	}
	sum := uint32(0)
	for i, n := range o.ends {
		o.ends[i], sum = sum, sum+n // where the partition begins, and after the next loop where it ends
	}
	if cap(o.order) < len(rows) {
		o.order = make([]uint32, len(rows))
	}
	o.order = o.order[:len(rows)]
	for i, partition := range o.partitions {
		o.order[o.ends[partition]] = uint32(i)
		o.ends[partition]++
	}
	return o.order, &o.ends
}

// PutKeyed writes keyed ids, none of which is there yet. Those of one window should stand together.
func (b *Batch) PutKeyed(rows []KeyedRow) {
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Window == rows[0].Window {
			n++
		}
		b.putKeyed(rows[:n])
		rows = rows[n:]
	}
}

func (b *Batch) putKeyed(rows []KeyedRow) {
	order, ends := b.keyed.sort(b.stores.seed, rows)
	begin := uint32(0)
	for partition, end := range ends {
		for begin < end {
			n := min(end-begin, maxKeyedBundle)
			b.v = appendKeyedBundle(b.v[:0], rows, order[begin:begin+n])
			b.note(b.state.Merge(keyedKey(b.k[:], b.group, rows[0].Window, uint16(partition)), b.v, nil))
			begin += n
		}
	}
}

func appendKeyedBundle(dst []byte, rows []KeyedRow, order []uint32) []byte {
	dst = append(dst, keyedVersion)
	dst = codec.AppendU16(dst, uint16(len(order)))
	for _, i := range order {
		r := &rows[i]
		dst = codec.AppendU64(dst, r.Mailbox)
		dst = append(dst, r.Sender[:]...)
		dst = append(dst, r.ID[:]...)
		dst = codec.AppendU64(dst, r.Seq)
		dst = append(dst, r.Tag[:]...)
	}
	return dst
}

// cutKeyedBundle takes the first bundle off a row.
func cutKeyedBundle(row []byte) (ids, rest []byte, err error) {
	r := codec.NewReader(row)
	versionIs(&r, keyedVersion)
	count := int(r.U16())
	if count == 0 {
		r.Fail(errValue)
	}
	ids = r.Take(count * keyedIDBytes)
	return ids, r.Rest(), damaged("keyed ids", r.Err())
}

// matches reports whether 64 bytes of a bundle are those of an id.
func (id *KeyedID) matches(b []byte) bool {
	return [16]byte(b[24:]) == id.ID && [16]byte(b[8:]) == id.Sender && binary.BigEndian.Uint64(b) == id.Mailbox
}

func keyedOf(b []byte) Keyed { return Keyed{binary.BigEndian.Uint64(b[40:]), [16]byte(b[48:])} }

// Keyed reads a keyed id.
func (r Reader) Keyed(id *KeyedID) (found Keyed, err error) {
	var k [maxKey]byte
	err = get(r.state, keyedKey(k[:], r.group, id.Window, r.seed.partition(id)), func(row []byte) error {
		for len(row) > 0 {
			ids, rest, err := cutKeyedBundle(row)
			if err != nil {
				return err
			}
			for ; len(ids) > 0; ids = ids[keyedIDBytes:] {
				if id.matches(ids) {
					found = keyedOf(ids)
					return nil
				}
			}
			row = rest
		}
		return ErrNotFound
	})
	return found, err
}

// KeyedIDs calls fn with every keyed id of a window, in no order.
func (r Reader) KeyedIDs(window uint32, fn func(*KeyedRow) error) error {
	prefix := r.key(nil, tableKeyed).u8(DedupClass).u32(window)
	return r.scan(prefix, after(prefix), func(k, row []byte) error { return eachKeyed(k, row, fn) })
}

// eachKeyed calls fn with the ids of a row.
func eachKeyed(k, row []byte, fn func(*KeyedRow) error) error {
	if len(k) != keyedKeyBytes || len(row) == 0 {
		return damaged("keyed ids", errValue)
	}
	one := KeyedRow{KeyedID: KeyedID{Window: binary.BigEndian.Uint32(k[4:])}}
	for len(row) > 0 {
		ids, rest, err := cutKeyedBundle(row)
		if err != nil {
			return err
		}
		for ; len(ids) > 0; ids = ids[keyedIDBytes:] {
			one.Mailbox, one.Sender, one.ID = binary.BigEndian.Uint64(ids), [16]byte(ids[8:]), [16]byte(ids[24:])
			one.Keyed = keyedOf(ids)
			if err := fn(&one); err != nil {
				return err
			}
		}
		row = rest
	}
	return nil
}

// bundles is how the bundles of a row come together. It has the name of Pebble's own merger, which every store knows
// and every tool of Pebble has: that one puts older bundles first, for which it copies all that there is each time, and
// here the order makes no difference.
var bundles = &pebble.Merger{
	Name: pebble.DefaultMerger.Name,
	Merge: func(_, bundle []byte) (pebble.ValueMerger, error) {
		m := bundleMemory.Get().(*mergedBundles)
		m.row = append(m.row[:0], bundle...)
		return m, nil
	},
}

type mergedBundles struct{ row []byte }

var bundleMemory = sync.Pool{New: func() any { return new(mergedBundles) }}

func (m *mergedBundles) MergeNewer(bundle []byte) error { m.row = append(m.row, bundle...); return nil }
func (m *mergedBundles) MergeOlder(bundle []byte) error { m.row = append(m.row, bundle...); return nil }

// Finish returns the row, which is Pebble's until it calls Close.
func (m *mergedBundles) Finish(bool) ([]byte, io.Closer, error) { return m.row, m, nil }

// maxBundleMemory is how much memory one row may leave behind.
const maxBundleMemory = 1 << 20

func (m *mergedBundles) Close() error {
	if cap(m.row) <= maxBundleMemory {
		bundleMemory.Put(m)
	}
	return nil
}
