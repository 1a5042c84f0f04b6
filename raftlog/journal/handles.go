package journal

import "sync"

const (
	// maxHandles and maxIndexBytes bound what is kept open and in memory of closed segments.
	maxHandles    = 64
	maxIndexBytes = 16 << 20
)

// handle is a segment's open file, with its index once it is closed. Users hold references: it is closed when it has
// been put out of the cache and the last one lets go.
type handle struct {
	*segmentFile
	index  segmentIndex // of a closed segment; nil for the open one
	refs   int
	pinned bool // the open segment: stays
	gone   bool // put out of the cache
	used   uint64
	bytes  int
}

// handles is a cache of segments, least recently used out first.
type handles struct {
	mu    sync.Mutex
	open  map[uint64]*handle
	bytes int
	clock uint64
	shut  bool // the journal is closed: nothing is kept any more
}

// get returns the segment if it is in the cache.
func (h *handles) get(number uint64) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := h.open[number]
	if found != nil {
		h.clock++
		found.used = h.clock
		found.refs++
	}
	return found
}

// pin puts the open segment in; it stays until put replaces it.
func (h *handles) pin(s *segmentFile) {
	h.insert(&handle{segmentFile: s, pinned: true})
}

// put adds a closed segment that was read, unless somebody else was faster, and closes what there is no room for.
func (h *handles) put(s *segmentFile, index segmentIndex) {
	h.release(h.add(s, index))
}

// add is put, and returns the segment for use.
func (h *handles) add(s *segmentFile, index segmentIndex) *handle {
	return h.insert(&handle{segmentFile: s, index: index, bytes: index.bytes()})
}

func (h *handles) insert(n *handle) *handle {
	h.mu.Lock()
	var close []*handle
	switch there := h.open[n.number]; {
	case there != nil:
		close = append(close, n)
		n = there
	case h.shut:
		n.gone = true
	default:
		h.open[n.number] = n
		h.bytes += n.bytes
	}
	h.clock++
	n.used = h.clock
	n.refs++
	close = append(close, h.evict()...)
	h.mu.Unlock()
	closeHandles(close)
	return n
}

// seal turns the pinned segment into a closed one with that index.
func (h *handles) seal(number uint64, index segmentIndex) {
	h.mu.Lock()
	n := h.open[number]
	n.index, n.bytes, n.pinned = index, index.bytes(), false
	n.refs-- // that of pin
	h.bytes += n.bytes
	closed := h.evict()
	h.mu.Unlock()
	closeHandles(closed)
}

// evict takes out what is over the bounds, and returns what nobody uses.
func (h *handles) evict() []*handle {
	var closed []*handle
	for len(h.open) > maxHandles || h.bytes > maxIndexBytes {
		var oldest *handle
		for _, n := range h.open {
			if !n.pinned && (oldest == nil || n.used < oldest.used) {
				oldest = n
			}
		}
		// The one used last stays whatever its size, or a large index would be read again for every entry.
		if oldest == nil || oldest.used == h.clock {
			break
		}
		delete(h.open, oldest.number)
		h.bytes -= oldest.bytes
		oldest.gone = true
		if oldest.refs == 0 {
			closed = append(closed, oldest)
		}
	}
	return closed
}

// release ends the use of a segment.
func (h *handles) release(n *handle) {
	h.mu.Lock()
	n.refs--
	last := n.gone && n.refs == 0
	h.mu.Unlock()
	if last {
		closeHandles([]*handle{n})
	}
}

// closeAll empties the cache. Segments in use are closed by whoever uses them.
func (h *handles) closeAll() {
	h.mu.Lock()
	var closed []*handle
	for number, n := range h.open {
		if n.pinned {
			n.pinned = false
			n.refs--
		}
		n.gone = true
		if n.refs == 0 {
			closed = append(closed, n)
		}
		delete(h.open, number)
	}
	h.bytes, h.shut = 0, true
	h.mu.Unlock()
	closeHandles(closed)
}

// closeHandles closes files that were only read, or whose writes were synced: there is nothing to learn from an error.
func closeHandles(closed []*handle) {
	for _, n := range closed {
		n.file.Close()
	}
}
