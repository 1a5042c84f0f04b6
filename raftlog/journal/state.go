package journal

import (
	"fmt"
	"sort"
)

// slot says where an entry lies in its segment.
type slot struct {
	index, term uint64
	place       uint32 // of the chunk that the entry's record begins in
	off         uint32 // of the record in that chunk's plaintext
	length      uint32 // of the data
	kind        uint8
}

// run is a gapless stretch of one group's entries that live in one closed segment.
type run struct {
	segment     uint64
	first, last uint64
}

// groupState is what the journal knows of one group. Memory holds slots for the open segment only; those of closed
// segments are read from their indexes.
type groupState struct {
	term      uint64
	voteTerm  uint64
	candidate string
	base      uint64 // first index that is kept, at least 1
	baseTerm  uint64 // term of the entry below base; means nothing while base is 1
	// installIndex and installTerm are not 0 while a state is being installed.
	installIndex, installTerm uint64

	runs []run  // rising in segment and index
	open []slot // rising in index, above every run
}

// logState is all groups' state, and what a segment's state block restates.
type logState struct {
	groups map[uint16]*groupState
}

func newLogState() *logState { return &logState{groups: make(map[uint16]*groupState)} }

// group returns the group's state, made if it is not there.
func (s *logState) group(id uint16) *groupState {
	g := s.groups[id]
	if g == nil {
		g = &groupState{base: 1}
		s.groups[id] = g
	}
	return g
}

// ids returns the groups in rising order.
func (s *logState) ids() []uint16 {
	ids := make([]uint16, 0, len(s.groups))
	for id := range s.groups {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

// apply does what a record says. The writer has refused before what fails here, so a failure in a log means damage.
func (s *logState) apply(rec *record, place, off uint32) error {
	if len(s.groups) >= MaxGroups && s.groups[rec.group] == nil {
		return fmt.Errorf("%w: more than %d groups", errRecord, MaxGroups)
	}
	g := s.group(rec.group)
	switch rec.kind {
	case recordEntry:
		if rec.index < g.base {
			return fmt.Errorf("%w: entry %d below base %d", errRecord, rec.index, g.base)
		}
		g.truncate(rec.index)
		g.open = append(g.open, slot{index: rec.index, term: rec.term, place: place, off: off,
			length: uint32(rec.length), kind: rec.entryKind})
	case recordVote:
		if rec.term < g.term || rec.voteTerm < g.voteTerm {
			return fmt.Errorf("%w: term or vote goes back", errRecord)
		}
		g.term, g.voteTerm, g.candidate = rec.term, rec.voteTerm, rec.candidate
	case recordTruncate:
		g.truncate(rec.index)
	case recordBase:
		if rec.index < g.base {
			return fmt.Errorf("%w: base goes back", errRecord)
		}
		g.setBase(rec.index, rec.term)
	case recordInstalling:
		g.installIndex, g.installTerm = rec.index, rec.term
	default:
		return fmt.Errorf("%w: %v out of place", errRecord, rec.kind)
	}
	return nil
}

// truncate forgets every entry at or above from.
func (g *groupState) truncate(from uint64) {
	n := len(g.open)
	for n > 0 && g.open[n-1].index >= from {
		n--
	}
	g.open = g.open[:n]
	if n > 0 {
		return
	}
	n = len(g.runs)
	for n > 0 && g.runs[n-1].first >= from {
		n--
	}
	g.runs = g.runs[:n]
	if n > 0 && g.runs[n-1].last >= from {
		g.runs[n-1].last = from - 1
	}
}

// setBase forgets every entry below first.
func (g *groupState) setBase(first, prevTerm uint64) {
	g.base, g.baseTerm = first, prevTerm
	n := 0
	for n < len(g.runs) && g.runs[n].last < first {
		n++
	}
	g.runs = g.runs[n:]
	if len(g.runs) > 0 {
		g.runs[0].first = max(g.runs[0].first, first)
		return
	}
	g.open = g.open[sort.Search(len(g.open), func(i int) bool { return g.open[i].index >= first }):]
}

// bounds returns the first and the last index, 0 and 0 if there is none.
func (g *groupState) bounds() (first, last uint64) {
	if n := len(g.open); n > 0 {
		first, last = g.open[0].index, g.open[n-1].index
	}
	if n := len(g.runs); n > 0 {
		first = g.runs[0].first
		last = max(last, g.runs[n-1].last)
	}
	return first, last
}

// findOpen returns the slot of an entry in the open segment.
func (g *groupState) findOpen(index uint64) (slot, bool) { return findSlot(g.open, index) }

// findRun returns the closed segment that holds an entry.
func (g *groupState) findRun(index uint64) (segment uint64, ok bool) {
	i := sort.Search(len(g.runs), func(i int) bool { return g.runs[i].last >= index })
	if i < len(g.runs) && g.runs[i].first <= index {
		return g.runs[i].segment, true
	}
	return 0, false
}

// covers reports whether the log holds the entry.
func (g *groupState) covers(index uint64) bool {
	if _, ok := g.findOpen(index); ok {
		return true
	}
	_, ok := g.findRun(index)
	return ok
}

// closeSegment turns the open slots of every group into runs of that segment.
func (s *logState) closeSegment(segment uint64) {
	for _, g := range s.groups {
		for _, sl := range g.open {
			if n := len(g.runs); n > 0 && g.runs[n-1].segment == segment && g.runs[n-1].last+1 == sl.index {
				g.runs[n-1].last++
				continue
			}
			g.runs = append(g.runs, run{segment: segment, first: sl.index, last: sl.index})
		}
		g.open = nil
	}
}

// index returns the open slots of all groups as the index of the segment that they lie in.
func (s *logState) index() segmentIndex {
	x := segmentIndex{}
	for id, g := range s.groups {
		if len(g.open) > 0 {
			x[id] = g.open
		}
	}
	return x
}

// findSlot finds index in slots that rise in index; most have no gaps, so the place is tried first where it would be.
func findSlot(slots []slot, index uint64) (slot, bool) {
	if len(slots) == 0 || index < slots[0].index {
		return slot{}, false
	}
	if i := index - slots[0].index; i < uint64(len(slots)) && slots[i].index == index {
		return slots[i], true
	}
	i := sort.Search(len(slots), func(i int) bool { return slots[i].index >= index })
	if i < len(slots) && slots[i].index == index {
		return slots[i], true
	}
	return slot{}, false
}
