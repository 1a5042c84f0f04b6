package journal

import (
	"errors"
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

// closedSegment is what is kept of a segment that takes no more records.
type closedSegment struct {
	number uint64
	end    uint32 // nothing at or behind this place counts
	index  uint32 // place of the chunk that its index begins in, 0 if it ended without one
}

// stateBlock is everything that was true before its segment: the older segments, and every group. It is what lets
// segments be dropped oldest first, and what says after a restart where the segment before ends.
//
//	u8 version = 1 | u64 number of this segment | u64 unix seconds when it was made
//	uvarint segments, rising, each:
//	    uvarint number less the one before | uvarint end/512 | uvarint place of its index/512, 0 if none
//	uvarint groups, rising, each:
//	    u16 group | u64 term | u64 vote's term | bytes8 candidate | u64 base | u64 term below base
//	    u64 installing index | u64 installing term
//	    uvarint runs, rising, each (together they are the entries that count, up to the last index):
//	        uvarint position of its segment above, less that of the run before
//	        uvarint first index less the last of the run before
//	        uvarint entries in it, at least 1
type stateBlock struct {
	number      uint64
	madeSeconds uint64
	closed      []closedSegment
	state       *logState
}

const stateBlockVersion = 1

var errBlock = errors.New("bad block")

func (b *stateBlock) encode() []byte {
	dst := []byte{stateBlockVersion}
	dst = codec.AppendU64(dst, b.number)
	dst = codec.AppendU64(dst, b.madeSeconds)
	dst = codec.AppendUvarint(dst, uint64(len(b.closed)))
	before := uint64(0)
	position := make(map[uint64]uint64, len(b.closed))
	for i, c := range b.closed {
		dst = codec.AppendUvarint(dst, c.number-before)
		dst = codec.AppendUvarint(dst, uint64(c.end/unitBytes))
		dst = codec.AppendUvarint(dst, uint64(c.index/unitBytes))
		before = c.number
		position[c.number] = uint64(i)
	}
	ids := b.state.ids()
	dst = codec.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = b.state.groups[id].encode(codec.AppendU16(dst, id), position)
	}
	return dst
}

func (g *groupState) encode(dst []byte, position map[uint64]uint64) []byte {
	dst = codec.AppendU64(dst, g.term)
	dst = codec.AppendU64(dst, g.voteTerm)
	dst = codec.AppendBytes8(dst, []byte(g.candidate))
	dst = codec.AppendU64(dst, g.base)
	dst = codec.AppendU64(dst, g.baseTerm)
	dst = codec.AppendU64(dst, g.installIndex)
	dst = codec.AppendU64(dst, g.installTerm)
	dst = codec.AppendUvarint(dst, uint64(len(g.runs)))
	pos, last := uint64(0), uint64(0)
	for _, r := range g.runs {
		dst = codec.AppendUvarint(dst, position[r.segment]-pos)
		dst = codec.AppendUvarint(dst, r.first-last)
		dst = codec.AppendUvarint(dst, r.last-r.first+1)
		pos, last = position[r.segment], r.last
	}
	return dst
}

func parseStateBlock(b []byte) (*stateBlock, error) {
	r := codec.NewReader(b)
	if v := r.U8(); r.Err() == nil && v != stateBlockVersion {
		return nil, fmt.Errorf("state block: %w %d", ErrVersion, v)
	}
	block := &stateBlock{number: r.U64(), madeSeconds: r.U64(), state: newLogState()}
	block.closed = make([]closedSegment, 0, r.Count(1<<24, 3))
	before := uint64(0)
	for range cap(block.closed) {
		c := closedSegment{number: before + r.Uvarint(), end: readPlace(&r), index: readPlace(&r)}
		if c.number <= before || c.number >= block.number || c.end < firstPlace || c.index >= c.end {
			r.Fail(fmt.Errorf("%w: segment %d of its table", errBlock, c.number))
		}
		if r.Err() != nil {
			break
		}
		block.closed = append(block.closed, c)
		before = c.number
	}
	lastID := -1
	for range r.Count(MaxGroups, 52) {
		id := r.U16()
		if int(id) <= lastID {
			r.Fail(fmt.Errorf("%w: groups do not rise", errBlock))
		}
		lastID = int(id)
		block.state.groups[id] = readGroupState(&r, block.closed)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("state block: %w", err)
	}
	return block, nil
}

func readGroupState(r *codec.Reader, closed []closedSegment) *groupState {
	g := &groupState{term: r.U64(), voteTerm: r.U64(), candidate: string(r.Bytes8()), base: r.U64(), baseTerm: r.U64(),
		installIndex: r.U64(), installTerm: r.U64()}
	if g.voteTerm > g.term || g.base == 0 {
		r.Fail(fmt.Errorf("%w: a group's term, vote or base", errBlock))
	}
	n := r.Count(1<<28, 3)
	g.runs = make([]run, 0, n)
	pos, last := uint64(0), uint64(0)
	for range n {
		pos += r.Uvarint()
		first, count := last+r.Uvarint(), r.Uvarint()
		end := first + count - 1
		// Sums that wrap are caught too: first would not be above last, or end would be below first.
		if pos >= uint64(len(closed)) || first <= last || first < g.base || count == 0 || end < first {
			r.Fail(fmt.Errorf("%w: a group's runs", errBlock))
		}
		if r.Err() != nil {
			break
		}
		g.runs = append(g.runs, run{segment: closed[pos].number, first: first, last: end})
		last = end
	}
	return g
}

// readPlace reads an offset in a segment that is written in units.
func readPlace(r *codec.Reader) uint32 {
	v := r.Uvarint()
	if v > maxSegmentEnd/unitBytes {
		r.Fail(fmt.Errorf("%w: offset beyond any segment", errBlock))
		return 0
	}
	return uint32(v) * unitBytes
}
