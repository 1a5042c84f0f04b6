package journal

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sealmq/sealmq/internal/codec"
)

// segmentIndex says where in one segment the entries lie that counted when it was closed. Slots rise in index, and so
// does the place where they lie: an entry is written after every one that it follows.
//
//	u8 version = 1
//	uvarint groups, rising, each: u16 group, uvarint entries (at least 1), each:
//	    uvarint index less the one before | uvarint term | u8 type
//	    uvarint place/512 less the one before | uvarint offset in the chunk | uvarint length
type segmentIndex map[uint16][]slot

const (
	indexVersion  = 1
	slotBytes     = 40 // in memory
	slotDiskBytes = 16 // in an index, rather more than less
)

func (x segmentIndex) encode() []byte {
	dst := []byte{indexVersion}
	dst = codec.AppendUvarint(dst, uint64(len(x)))
	for _, id := range slices.Sorted(maps.Keys(x)) {
		dst = codec.AppendU16(dst, id)
		dst = codec.AppendUvarint(dst, uint64(len(x[id])))
		var before slot
		for _, s := range x[id] {
			dst = codec.AppendUvarint(dst, s.index-before.index)
			dst = codec.AppendUvarint(dst, s.term)
			dst = append(dst, s.kind)
			dst = codec.AppendUvarint(dst, uint64((s.place-before.place)/unitBytes))
			dst = codec.AppendUvarint(dst, uint64(s.off))
			dst = codec.AppendUvarint(dst, uint64(s.length))
			before = s
		}
	}
	return dst
}

func parseIndex(b []byte) (segmentIndex, error) {
	r := codec.NewReader(b)
	if v := r.U8(); r.Err() == nil && v != indexVersion {
		return nil, fmt.Errorf("segment index: %w %d", ErrVersion, v)
	}
	x := segmentIndex{}
	lastID := -1
	for range r.Count(MaxGroups, 9) {
		id := r.U16()
		n := r.Count(1<<28, 6)
		if int(id) <= lastID || n == 0 {
			r.Fail(fmt.Errorf("%w: groups of an index", errBlock))
		}
		if r.Err() != nil {
			break
		}
		lastID = int(id)
		x[id] = readSlots(&r, n)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("segment index: %w", err)
	}
	return x, nil
}

func readSlots(r *codec.Reader, n int) []slot {
	slots := make([]slot, 0, n)
	var before slot
	for range n {
		s := slot{index: before.index + r.Uvarint(), term: r.Uvarint(), kind: r.U8()}
		step := readPlace(r)
		s.place = before.place + step
		s.off, s.length = uint32(r.Length(roomBytes-1)), uint32(r.Length(MaxEntryBytes))
		if s.index <= before.index || s.place < firstPlace || s.place > maxSegmentEnd ||
			(step == 0 && s.off <= before.off) {
			r.Fail(fmt.Errorf("%w: slots of an index", errBlock))
		}
		if r.Err() != nil {
			return nil
		}
		slots = append(slots, s)
		before = s
	}
	return slots
}

// bytes is what the index takes in memory.
func (x segmentIndex) bytes() int {
	n := 0
	for _, slots := range x {
		n += cap(slots) * slotBytes
	}
	return n
}

// equal reports whether both name the same entries at the same places.
func (x segmentIndex) equal(y segmentIndex) bool {
	return maps.EqualFunc(x, y, func(a, b []slot) bool { return slices.Equal(a, b) })
}

// holds reports whether the index has every entry of a run.
func (x segmentIndex) holds(group uint16, r run) bool {
	slots := x[group]
	first, ok := slices.BinarySearchFunc(slots, r.first, compareSlot)
	if !ok {
		return false
	}
	last, ok := slices.BinarySearchFunc(slots, r.last, compareSlot)
	return ok && uint64(last-first) == r.last-r.first
}

func compareSlot(s slot, index uint64) int {
	switch {
	case s.index < index:
		return -1
	case s.index > index:
		return 1
	}
	return 0
}
