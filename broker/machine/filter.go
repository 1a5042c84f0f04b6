package machine

import (
	"encoding/binary"
	"math/bits"

	"github.com/sealmq/sealmq/storage"
)

const (
	filterBitsPerID   = 16
	filterProbes      = 6
	filterFirstIDs    = 1 << 15 // ids of the first part; each further part takes twice as many
	filterMaxIDs      = 1 << 23
	filterBlockUint64 = 8 // a block is a cache line
)

// filter knows, of the keyed ids of one window, which certainly were not stored in it: nearly every message of a sender
// that does not retry, which then costs no lookup in the store. It only saves work, and says "perhaps" when it does not
// know: when there were too many ids, also in a window that began before the machine was opened.
type filter struct {
	window uint32
	whole  bool // has every id of its window
	parts  [][]uint64
	room   int // ids that still fit in the last part
	ids    int
}

// begin empties the filter for a window. It is whole if the machine saw, or will see, all of that window.
func (f *filter) begin(window uint32, whole bool) {
	*f = filter{window: window, whole: whole}
}

// filterReadIDs is how many ids of a window are read when a machine is opened: a quarter of a second for each window and
// group, and more from a slow disk. With more ids, every message with a key is looked for in the store until the window
// is over, which takes 13 us and more (storage, BenchmarkKeyed).
const filterReadIDs = 1 << 21

// readFilters fills the filters with what the store has of the current window and of the one before.
func (m *Mail) readFilters(limit int) error {
	for i := range m.filters {
		f := &m.filters[i]
		f.begin(m.window-uint32(i), m.window >= uint32(i))
		err := m.reader.KeyedIDs(f.window, func(id *storage.KeyedRow) error {
			if f.ids >= limit {
				f.begin(f.window, false)
				return storage.ErrStop
			}
			f.add(idHash(id.Mailbox, id.Sender, id.ID))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *filter) add(h uint64) {
	if !f.whole {
		return
	}
	if f.room == 0 {
		n := filterFirstIDs << len(f.parts)
		if f.ids+n > filterMaxIDs {
			f.whole, f.parts = false, nil
			return
		}
		f.parts = append(f.parts, make([]uint64, n*filterBitsPerID/64/filterBlockUint64*filterBlockUint64))
		f.room = n
	}
	f.room--
	f.ids++
	block, probes := probe(f.parts[len(f.parts)-1], h)
	for range filterProbes {
		block[probes>>6&7] |= 1 << (probes & 63)
		probes >>= 9
	}
}

// perhaps reports whether an id may have been stored in the filter's window.
func (f *filter) perhaps(h uint64) bool {
	if !f.whole {
		return true
	}
	for _, part := range f.parts {
		if inPart(part, h) {
			return true
		}
	}
	return false
}

func inPart(part []uint64, h uint64) bool {
	block, probes := probe(part, h)
	for range filterProbes {
		if block[probes>>6&7]&(1<<(probes&63)) == 0 {
			return false
		}
		probes >>= 9
	}
	return true
}

// probe returns the block of a part that an id belongs to, and 54 bits that choose six places in it.
func probe(part []uint64, h uint64) (block []uint64, probes uint64) {
	at, _ := bits.Mul64(h, uint64(len(part)/filterBlockUint64))
	at *= filterBlockUint64
	return part[at : at+filterBlockUint64 : at+filterBlockUint64], h * 0x9E3779B97F4A7C15 >> 10
}

// idHash spreads keyed ids over the filter. Who chooses ids so that they meet there only makes lookups slower.
func idHash(mailbox uint64, sender, id [16]byte) uint64 {
	h := binary.BigEndian.Uint64(id[:8]) ^ bits.RotateLeft64(binary.BigEndian.Uint64(id[8:]), 29)
	h ^= binary.BigEndian.Uint64(sender[:8]) + mailbox*0xBF58476D1CE4E5B9
	h = (h ^ h>>31) * 0x94D049BB133111EB
	return h ^ h>>29
}
