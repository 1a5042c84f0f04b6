package journal

import "time"

// endSegment writes the open segment's index, makes it durable, and turns the segment into a closed one.
func (w *writer) endSegment() (closedSegment, error) {
	a := w.active
	index := w.j.state.index()
	body := index.encode()
	w.effects = w.effects[:0]
	w.packer.begin(a.sealed, a.end, a.tag, diskBound(1, len(body)))
	at := a.end
	rec := blockRecord(recordIndex, body)
	w.packer.add(&rec)
	w.packer.close()
	if err := w.writeOut(); err != nil {
		return closedSegment{}, err
	}
	c := closedSegment{number: a.number, end: a.end, index: at}
	// The handle first: whoever finds an entry in a closed segment looks for its index there.
	w.j.handles.seal(a.number, index)
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	w.j.state.closeSegment(a.number)
	w.j.closed = append(w.j.closed, c)
	return c, nil
}

// roll ends the open segment and begins the next one. ErrNoSpace leaves everything as it was; any other error is one of
// writing or syncing.
func (w *writer) roll() error {
	spare, err := w.j.spares.obtain()
	if err != nil {
		return err
	}
	old := w.active
	c, err := w.endSegment()
	if err != nil {
		return err
	}
	b := birth{o: &w.j.o, number: old.number + 1, prev: old.tag, closed: w.j.closed, state: w.j.state, spare: spare}
	next, err := b.make()
	if err != nil {
		return err
	}
	w.j.handles.pin(next.segmentFile)
	w.j.mu.Lock()
	w.j.active = next.number
	w.j.mu.Unlock()
	w.active = next
	w.j.stats.began(next.end, true)
	if w.mark, err = w.mark.renew(&w.j.o, w.nextMark()); err != nil {
		return err
	}
	w.markDue = time.Time{}
	w.j.stats.marked()
	// Little is lost where the segment was full, and its space may serve again as it is.
	if waste := w.j.o.SegmentBytes - int64(c.end); waste > w.j.o.SegmentBytes/8 {
		return cut(&w.j.o, c.number, int64(c.end))
	}
	return nil
}
