package journal

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// location is where one entry lies.
type location struct {
	slot
	segment uint64
	closed  closedSegment // if it is one; else its number is 0
}

// locate finds an entry by index. The slot is known at once if it is in the open segment.
func (g *Group) locate(index uint64) (location, error) {
	j := g.j
	j.mu.RLock()
	defer j.mu.RUnlock()
	s := j.state.groups[g.id]
	if s == nil {
		return location{}, ErrNotFound
	}
	if found, ok := s.findOpen(index); ok {
		return location{slot: found, segment: j.active}, nil
	}
	number, ok := s.findRun(index)
	if !ok {
		return location{}, ErrNotFound
	}
	at, ok := findClosed(j.closed, number)
	if !ok {
		return location{}, ErrNotFound
	}
	return location{segment: number, closed: at}, nil
}

func findClosed(closed []closedSegment, number uint64) (closedSegment, bool) {
	lo, hi := 0, len(closed)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if closed[mid].number < number {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(closed) || closed[lo].number != number {
		return closedSegment{}, false
	}
	return closed[lo], true
}

// find returns an entry's place with its segment, which the caller must release.
func (g *Group) find(index uint64) (*handle, slot, error) {
	h, at, err := g.acquire(index)
	if err != nil {
		return nil, slot{}, err
	}
	if at.closed.number == 0 {
		return h, at.slot, nil
	}
	found, ok := findSlot(h.index[g.id], index)
	if !ok {
		g.j.handles.release(h)
		return nil, slot{}, h.damaged(at.closed.end, "entry %d of group %d is not in the segment", index, g.id)
	}
	return h, found, nil
}

// acquire finds the segment that an entry is in, and opens it if it is closed and not in the cache.
func (g *Group) acquire(index uint64) (*handle, location, error) {
	// The open segment is always in the cache; but it may be closed and put out after it was looked up: look again.
	for range 2 {
		at, err := g.locate(index)
		if err != nil {
			return nil, at, err
		}
		if h := g.j.handles.get(at.segment); h != nil {
			return h, at, nil
		}
		if at.closed.number != 0 {
			h, err := g.j.load(at.closed)
			return h, at, err
		}
	}
	return nil, location{}, ErrClosed
}

// load opens a closed segment and its index.
func (j *Journal) load(c closedSegment) (*handle, error) {
	s, err := openSegment(&j.o, c.number)
	if err != nil {
		return nil, err
	}
	index, err := loadIndex(s, c)
	if err != nil {
		s.file.Close()
		return nil, err
	}
	return j.handles.add(s, index), nil
}

// TermOf returns an entry's term; the entry just below the base still answers.
func (g *Group) TermOf(index uint64) (uint64, error) {
	if first, prevTerm := g.Base(); first > 1 && index == first-1 {
		return prevTerm, nil
	}
	h, at, err := g.find(index)
	if err != nil {
		return 0, err
	}
	g.j.handles.release(h)
	return at.term, nil
}

// Entry returns an entry with all its data. The error is ErrNotFound if there is none, a *DamagedError if what was
// written is not there any more.
func (g *Group) Entry(index uint64) (Entry, error) {
	h, at, err := g.find(index)
	if err != nil {
		return Entry{}, err
	}
	defer g.j.handles.release(h)
	data, err := h.readData(g.id, at, 0, int(at.length))
	if err != nil {
		return Entry{}, err
	}
	return Entry{Index: at.index, Term: at.term, Kind: at.kind, Data: data}, nil
}

// ReadAt returns n bytes of an entry's data from off on, reading only the chunks that hold them. It is ErrNotFound if
// the entry there is of another term.
func (g *Group) ReadAt(index, term uint64, off, n int) ([]byte, error) {
	h, at, err := g.find(index)
	if err != nil {
		return nil, err
	}
	defer g.j.handles.release(h)
	if at.term != term {
		return nil, ErrNotFound
	}
	if off < 0 || n < 0 || n > int(at.length) || off > int(at.length)-n {
		return nil, fmt.Errorf("reading %d bytes at %d of an entry of %d", n, off, at.length)
	}
	return h.readData(g.id, at, off, n)
}

// readBuffer holds what one read needs besides its result.
type readBuffer struct{ disk, plain, aad []byte }

var readBuffers = sync.Pool{New: func() any {
	return &readBuffer{disk: make([]byte, chunkBytes), plain: make([]byte, 0, roomBytes), aad: make([]byte, 0, 128)}
}}

// readData opens the chunks that hold data[off:off+n] of an entry.
func (s *segmentFile) readData(group uint16, at slot, off, n int) ([]byte, error) {
	b := readBuffers.Get().(*readBuffer)
	defer readBuffers.Put(b)
	if int(at.off)+entryHeadBytes+int(at.length) <= roomBytes {
		plain, err := s.openAt(b, at.place, chunkRecords, b.plain)
		if err == nil {
			err = s.sameEntry(group, at, plain)
		}
		if err != nil {
			return nil, err
		}
		from := int(at.off) + entryHeadBytes + off
		return append(make([]byte, 0, n), plain[from:from+n]...), nil
	}
	return s.readLong(b, group, at, off, n)
}

// readLong is readData for an entry that has chunks of its own: all but the last are full, so each place is known.
func (s *segmentFile) readLong(b *readBuffer, group uint16, at slot, off, n int) ([]byte, error) {
	// A part that is wanted whole is opened into the result; the room for one more keeps that from growing it.
	data := make([]byte, 0, n)
	part, from := dataPart(entryHeadBytes, off)
	for len(data) < n {
		place := at.place + uint32(part*chunkBytes)
		kind := chunkPart
		if part == 0 {
			kind = chunkRecords
		}
		if want := n - len(data); from == 0 && want >= roomBytes {
			var err error
			if data, err = s.openAt(b, place, kind, data); err != nil {
				return nil, err
			}
			part++
			continue
		}
		plain, err := s.openAt(b, place, kind, b.plain)
		if err == nil && part == 0 {
			err = s.sameEntry(group, at, plain)
		}
		if err != nil {
			return nil, err
		}
		to := min(len(plain), from+n-len(data))
		if from >= to {
			return nil, s.damaged(place, "the entry's data ends in this chunk")
		}
		data = append(data, plain[from:to]...)
		part, from = part+1, 0
	}
	return data, nil
}

// sameEntry checks that the record at a slot is the entry that the index says is there.
func (s *segmentFile) sameEntry(group uint16, at slot, plain []byte) error {
	rec := record{kind: recordEntry, group: group, index: at.index, term: at.term, entryKind: at.kind,
		length: int(at.length)}
	var head [entryHeadBytes]byte
	if int(at.off)+entryHeadBytes > len(plain) ||
		string(plain[at.off:at.off+entryHeadBytes]) != string(rec.appendHead(head[:0])) {
		return s.damaged(at.place, "the record is not the entry that the index says is here")
	}
	if whole := int(at.off) + entryHeadBytes + int(at.length); whole <= roomBytes && whole > len(plain) {
		return s.damaged(at.place, "the entry's data ends in this chunk")
	}
	return nil
}

// openAt appends the plaintext of the chunk at a place to dst.
func (s *segmentFile) openAt(b *readBuffer, place uint32, kind chunkKind, dst []byte) ([]byte, error) {
	n, err := s.file.ReadAt(b.disk[:chunkBytes], int64(place))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading %s: %w", s.path, err)
	}
	h, err := parseChunkHeader(b.disk[:n])
	if err != nil {
		return nil, s.damaged(place, "%v", err)
	}
	if h.place != place || h.kind != kind || h.sealedBytes() > n {
		return nil, s.damaged(place, "another chunk is here")
	}
	plain, err := openChunk(s.sealed, &h, dst, b.disk[:n], b.aad)
	if err != nil {
		return nil, s.damaged(place, "%v", err)
	}
	return plain, nil
}
