package journal

import "fmt"

// verify checks the older segments that still hold entries which count, newest first: they are there, they belong to
// this journal, each ends with the chunk that the next one was written after, and they hold the entries that the newest
// state block says. The newest VerifyBytes of them are read whole; in the others damage shows when it is read.
func (j *Journal) verify(last *replay) error {
	needed := make(map[uint64]map[uint16][]run)
	for id, g := range last.state.groups {
		for _, r := range g.runs {
			if needed[r.segment] == nil {
				needed[r.segment] = make(map[uint16][]run)
			}
			needed[r.segment][id] = append(needed[r.segment][id], r)
		}
	}
	left := j.o.VerifyBytes
	next := link{number: last.segment.number, prev: last.firstPrev, known: true}
	closed := last.block.closed
	for i := len(closed) - 1; i >= 0; i-- {
		c := closed[i]
		if len(needed[c.number]) == 0 {
			next = link{}
			continue
		}
		var err error
		if next, err = j.verifySegment(c, next, needed[c.number], left > 0); err != nil {
			return err
		}
		left -= int64(c.end)
	}
	return nil
}

// link is what a segment's first chunk says of the segment before it, if that was looked at.
type link struct {
	number uint64
	prev   tag
	known  bool
}

func (j *Journal) verifySegment(c closedSegment, next link, runs map[uint16][]run, whole bool) (link, error) {
	s, err := openSegment(&j.o, c.number)
	if err != nil {
		return link{}, err
	}
	seen, index, err := inspect(s, c, whole)
	if err == nil {
		err = seen.check(s, c, next)
	}
	if err == nil && index != nil {
		err = holdsRuns(s, c, index, runs)
	}
	if err != nil || index == nil {
		s.file.Close()
		return link{number: c.number, prev: seen.first, known: seen.front}, err
	}
	j.handles.put(s, index)
	return link{number: c.number, prev: seen.first, known: seen.front}, nil
}

// inspection is what was seen of a closed segment's two ends.
type inspection struct {
	first, last tag
	front, back bool // which of them was seen
}

// check compares the segment's last tag with what the next segment was written after.
func (i inspection) check(s *segmentFile, c closedSegment, next link) error {
	if next.known && i.back && next.prev != i.last {
		return s.damaged(c.end, "segment %s was not written after this one", segmentName(next.number))
	}
	return nil
}

// inspect reads a closed segment: all of it, or only its size, its first chunk and its index.
func inspect(s *segmentFile, c closedSegment, whole bool) (inspection, segmentIndex, error) {
	size, err := s.file.Size()
	if err != nil {
		return inspection{}, nil, fmt.Errorf("asking for the size of %s: %w", s.path, err)
	}
	if size < int64(c.end) {
		return inspection{}, nil, s.damaged(uint32(size), "the segment is cut; it was %d bytes long", c.end)
	}
	if whole {
		index, seen, err := rebuildIndex(s, c)
		return seen, index, err
	}
	first, err := newChunkReader(s).read(firstPlace)
	if err != nil {
		return inspection{}, nil, s.blame(firstPlace, err)
	}
	seen := inspection{first: first.prev, front: true}
	if c.index == 0 {
		return seen, nil, nil
	}
	index, last, err := readIndex(s, c)
	seen.last, seen.back = last, true
	return seen, index, err
}

func holdsRuns(s *segmentFile, c closedSegment, index segmentIndex, runs map[uint16][]run) error {
	for id, rs := range runs {
		for _, r := range rs {
			if !index.holds(id, r) {
				return s.damaged(c.end, "entries %d to %d of group %d are not in the segment", r.first, r.last, id)
			}
		}
	}
	return nil
}

// loadIndex returns where the entries of a closed segment lie, from its index or, if it ended without one, by reading
// it through.
func loadIndex(s *segmentFile, c closedSegment) (segmentIndex, error) {
	if c.index == 0 {
		index, _, err := rebuildIndex(s, c)
		return index, err
	}
	index, _, err := readIndex(s, c)
	return index, err
}

func rebuildIndex(s *segmentFile, c closedSegment) (segmentIndex, inspection, error) {
	r, err := startReplay(s, false)
	if err != nil {
		return nil, inspection{}, err
	}
	if err := r.whole(c.end); err != nil {
		return nil, inspection{}, err
	}
	return r.state.index(), inspection{first: r.firstPrev, front: true, last: r.lastTag, back: true}, nil
}

// readIndex reads the index at a closed segment's end, and returns the tag of the segment's last chunk with it.
func readIndex(s *segmentFile, c closedSegment) (index segmentIndex, last tag, err error) {
	chunks, records := newChunkReader(s), assembler{}
	for place := c.index; place < c.end; {
		found, err := chunks.read(place)
		if err == nil {
			err = records.take(found, func(l *located) (err error) {
				if l.kind != recordIndex || index != nil {
					return fmt.Errorf("%w: %v beside the index", errRecord, l.kind)
				}
				index, err = parseIndex(l.data)
				return err
			})
		}
		if err != nil {
			return nil, last, s.blame(place, err)
		}
		place, last = found.end(), found.tag
	}
	if index == nil {
		return nil, last, s.damaged(c.index, "the segment's index is not where it should be")
	}
	return index, last, nil
}
