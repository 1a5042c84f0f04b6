package journal

import (
	"bytes"
	"errors"
	"fmt"
)

// replay reads one segment from its front: the state block, and what its records make of it. Records count from when
// their flush is known to have been durable; those of the last flush wait in pending.
type replay struct {
	segment *segmentFile
	chunks  *chunkReader
	records assembler

	block     *stateBlock
	state     *logState
	stateEnd  uint32 // end of the state block's last chunk
	firstPrev tag    // what the first chunk says was the last tag of the segment before

	next    uint32 // place of the next chunk
	tag     tag    // of the chunk before it
	durable uint32 // where the flush that is being read began

	pending  []located
	settled  uint32 // everything below is in state, and was durable
	lastTag  tag    // of the chunk that ends at settled
	index    uint32 // place of the index, if it is below settled
	finished bool   // the index has been seen
}

// startReplay reads the state block. A segment gets its name only when that is durable: all that is wrong is damage.
func startReplay(s *segmentFile, withData bool) (*replay, error) {
	r := &replay{segment: s, chunks: newChunkReader(s), records: assembler{withData: withData}, next: firstPlace}
	for r.block == nil {
		torn, err := r.step()
		if err != nil {
			return nil, err
		}
		if torn != nil {
			return nil, s.damaged(r.next, "in the state block: %v", torn)
		}
	}
	r.stateEnd, r.settled, r.lastTag = r.next, r.next, r.tag
	r.durable = 0 // what follows the state block is another flush
	return r, nil
}

// step takes the next chunk in. It returns a tornError if there is no valid one.
func (r *replay) step() (*tornError, error) {
	c, err := r.chunks.read(r.next)
	var torn *tornError
	if errors.As(err, &torn) {
		return torn, nil
	}
	if err != nil {
		return nil, err
	}
	if c.place == firstPlace {
		r.firstPrev, r.tag, r.durable = c.prev, c.prev, firstPlace
	}
	if c.prev != r.tag {
		return nil, r.segment.damaged(c.place, "the chunk before is not the one that this was written after")
	}
	if c.durable != r.durable {
		if c.durable != c.place || r.records.need > 0 {
			return nil, r.segment.damaged(c.place, "states the durable point %d inside a flush", c.durable)
		}
		if err := r.settle(); err != nil {
			return nil, err
		}
		r.durable = c.durable
	}
	if err := r.records.take(c, r.visit); err != nil {
		return nil, r.segment.blame(c.place, err)
	}
	r.next, r.tag = c.end(), c.tag
	return nil, nil
}

func (r *replay) visit(l *located) error {
	if r.block == nil {
		return r.begin(l)
	}
	if l.kind == recordState || l.place < r.stateEnd || r.stateEnd == 0 {
		return fmt.Errorf("%w: %v beside the state block", errRecord, l.kind)
	}
	keep := *l
	if l.kind == recordEntry && !r.records.withData {
		keep.data = nil
	} else {
		keep.data = bytes.Clone(l.data)
	}
	r.pending = append(r.pending, keep)
	return nil
}

func (r *replay) begin(l *located) error {
	if l.kind != recordState {
		return fmt.Errorf("%w: %v before the state block", errRecord, l.kind)
	}
	block, err := parseStateBlock(l.data)
	if err != nil {
		return err
	}
	if block.number != r.segment.number {
		return fmt.Errorf("%w: state block of segment %d", errBlock, block.number)
	}
	r.block, r.state = block, block.state
	return nil
}

// settle makes the records read so far count: their flush was durable.
func (r *replay) settle() error {
	for i := range r.pending {
		if err := r.settleRecord(&r.pending[i]); err != nil {
			return r.segment.blame(r.pending[i].place, err)
		}
	}
	clear(r.pending)
	r.pending = r.pending[:0]
	r.settled, r.lastTag = r.next, r.tag
	return nil
}

func (r *replay) settleRecord(l *located) error {
	if r.finished {
		return fmt.Errorf("%w: %v behind the index", errRecord, l.kind)
	}
	if l.kind != recordIndex {
		return r.state.apply(&l.record, l.place, l.off)
	}
	index, err := parseIndex(l.data)
	if err != nil {
		return err
	}
	if !index.equal(r.state.index()) {
		return fmt.Errorf("%w: the index does not say where the entries are", errBlock)
	}
	r.index, r.finished = l.place, true
	return nil
}

// whole reads on to end, below which everything was durable.
func (r *replay) whole(end uint32) error {
	for r.next < end {
		torn, err := r.step()
		if err != nil {
			return err
		}
		if torn != nil {
			return r.segment.damaged(r.next, "%v", torn)
		}
	}
	if r.next != end || r.records.need > 0 {
		return r.segment.damaged(end, "the segment does not end where the next one says")
	}
	return r.settle()
}

// tail reads on to where valid chunks end, by the tail rule, and leaves the records of the last flush in pending. An
// unfinished record at the end is dropped: it was never acknowledged.
func (r *replay) tail() error {
	for {
		torn, err := r.step()
		if err != nil {
			return err
		}
		if torn != nil {
			return r.beyond(torn)
		}
	}
}

// beyond looks at everything behind the first place without a valid chunk. Valid chunks of the same flush may be there:
// a power cut leaves any part of what was being written. One that states a higher durable point proves damage.
func (r *replay) beyond(torn *tornError) error {
	size, err := r.segment.file.Size()
	if err != nil {
		return fmt.Errorf("asking for the size of %s: %w", r.segment.path, err)
	}
	var before *chunkHeader
	var beforeTag tag
	for place := int64(r.next) + unitBytes; place < min(size, maxSegmentEnd); {
		c, err := r.chunks.read(uint32(place))
		var none *tornError
		if errors.As(err, &none) {
			place += unitBytes
			continue
		}
		if err != nil {
			return err
		}
		if c.durable > r.next {
			return r.segment.damaged(r.next, "%v, but a later chunk says that this was durable", torn)
		}
		if before != nil && before.end() == c.place && c.prev != beforeTag {
			return r.segment.damaged(c.place, "the chunk before is not the one that this was written after")
		}
		before, beforeTag = &c.chunkHeader, c.tag
		place = int64(c.end())
	}
	return nil
}
