package journal

import (
	"fmt"
	"math"
	"time"
)

// Create formats an empty directory, which it makes if it is not there: a first segment with nothing but a state block,
// and the mark. Only a journal that Create has returned for may be opened.
func Create(o Options) error {
	if err := o.fill(); err != nil {
		return err
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return fmt.Errorf("making the journal's directory: %w", err)
	}
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return fmt.Errorf("listing %s: %w", o.Dir, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("creating a journal: %s is not empty", o.Dir)
	}
	spare, err := reserveSpare(&o, 1, firstPlace)
	if err != nil {
		return fmt.Errorf("creating a journal: %w", err)
	}
	b := birth{o: &o, number: 1, state: newLogState(), spare: spare}
	s, err := b.make()
	if err != nil {
		return fmt.Errorf("creating a journal: %w", err)
	}
	defer s.file.Close()
	m, err := createMark(&o, mark{segment: s.number, durable: s.end}, nil)
	if err != nil {
		return fmt.Errorf("creating a journal: %w", err)
	}
	if err := m.close(); err != nil {
		return fmt.Errorf("creating a journal: %w", err)
	}
	if err := o.FS.SyncDir(parent(o.Dir)); err != nil {
		return fmt.Errorf("creating a journal: syncing the directory above %s: %w", o.Dir, err)
	}
	return nil
}

// Open recovers the journal in a directory and makes it ready for appending. It never formats: a directory without a
// journal is ErrEmpty, one that lost something durable is a *DamagedError.
func Open(o Options) (*Journal, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	files, err := list(&o)
	if err != nil {
		return nil, err
	}
	if !files.mark {
		return nil, &DamagedError{File: o.path(markName), Reason: "the mark is missing"}
	}
	j := newJournal(o)
	file, m, err := openMark(&j.o)
	if err != nil {
		return nil, err
	}
	if len(files.segments) == 0 {
		err = &DamagedError{File: o.path(segmentName(m.segment)), Reason: "the segment is missing"}
	} else {
		err = j.recover(files, file, m)
	}
	if err != nil {
		file.close()
		if j.writer != nil {
			j.writer.mark.close()
		}
		j.handles.closeAll()
		return nil, err
	}
	return j, nil
}

// recover reads the newest segment, checks the older ones, and starts a new segment with what was not yet durable.
func (j *Journal) recover(files listing, file *markFile, m *mark) error {
	last, err := openSegment(&j.o, files.segments[len(files.segments)-1])
	if err != nil {
		return err
	}
	j.handles.pin(last)
	r, err := startReplay(last, true)
	if err != nil {
		return err
	}
	if err := r.tail(); err != nil {
		return err
	}
	if err := checkMark(&j.o, m, r); err != nil {
		return err
	}
	if err := j.verify(r); err != nil {
		return err
	}
	tail := make([]record, 0, len(r.pending))
	for i := range r.pending {
		if r.pending[i].kind != recordIndex {
			tail = append(tail, r.pending[i].record)
		}
	}
	j.handles.seal(last.number, r.state.index())
	r.state.closeSegment(last.number)
	j.state = r.state
	j.closed = append(r.block.closed, closedSegment{number: last.number, end: r.settled, index: r.index})
	return j.restart(r, tail, files, file)
}

// restart writes the new segment and the mark that names it, and gives back what the one before no longer needs.
func (j *Journal) restart(r *replay, tail []record, files listing, file *markFile) error {
	last := r.segment
	state, err := j.rehearse(tail)
	if err != nil {
		return last.blame(r.settled, err)
	}
	if err := state.checkApplied(j.o.path(segmentName(last.number)), j.o.Applied); err != nil {
		return err
	}
	j.spares = newSpares(&j.o, files.spares)
	spare, err := j.spares.obtain()
	if err != nil {
		return fmt.Errorf("opening the journal: %w", err)
	}
	b := birth{o: &j.o, number: last.number + 1, prev: r.lastTag, closed: j.closed, state: j.state, tail: tail,
		spare: spare}
	s, err := b.make()
	if err != nil {
		return fmt.Errorf("opening the journal: %w", err)
	}
	j.handles.pin(s.segmentFile)
	for i := range tail {
		if err := j.state.apply(&tail[i], b.placed[i].place, b.placed[i].off); err != nil {
			return last.blame(r.settled, err)
		}
	}
	j.active = s.number
	j.stats.began(s.end, false)
	j.writer = newWriter(j, s)
	if j.writer.mark, err = file.renew(&j.o, j.writer.nextMark()); err != nil {
		return fmt.Errorf("opening the journal: %w", err)
	}
	if err := cut(&j.o, last.number, int64(r.settled)); err != nil {
		return fmt.Errorf("opening the journal: %w", err)
	}
	j.o.Logger.Info("journal is open", "segment", segmentName(s.number), "closed_segments", len(j.closed),
		"records_written_again", len(tail))
	j.start()
	return nil
}

// rehearse returns the state as it will be with the tail, so that damage is found before anything is written.
func (j *Journal) rehearse(tail []record) (*logState, error) {
	if len(tail) == 0 {
		return j.state, nil
	}
	block := stateBlock{number: math.MaxUint64, closed: j.closed, state: j.state}
	copied, err := parseStateBlock(block.encode())
	if err != nil {
		return nil, err
	}
	for i := range tail {
		if err := copied.state.apply(&tail[i], firstPlace, 0); err != nil {
			return nil, err
		}
	}
	return copied.state, nil
}

// checkApplied compares the groups' logs with what the stores have applied.
func (s *logState) checkApplied(path string, applied map[uint16]uint64) error {
	for _, id := range sortedKeys(applied) {
		index, last := applied[id], uint64(0)
		base, covered := uint64(1), false
		if g := s.groups[id]; g != nil {
			_, last = g.bounds()
			base, covered = g.base, g.covers(index+1)
		}
		if reach := max(last, base-1); reach < index {
			return &DamagedError{File: path, Reason: fmt.Sprintf(
				"the log of group %d ends at %d, but a store has applied it up to %d", id, reach, index)}
		}
		if last > index && !covered {
			return &DamagedError{File: path, Reason: fmt.Sprintf(
				"a store has applied group %d up to %d, and its log lacks the entry after that", id, index)}
		}
	}
	return nil
}

// cut gives back the space that a closed segment reserved and did not use. Nothing looks there any more.
func cut(o *Options, number uint64, end int64) error {
	f, err := o.FS.OpenWrite(o.path(segmentName(number)))
	if err != nil {
		return fmt.Errorf("cutting a closed segment: %w", err)
	}
	err = f.Truncate(end)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("cutting a closed segment: %w", err)
	}
	return nil
}

// checkMark compares what was recovered with the mark: a journal that ends before it has lost something.
func checkMark(o *Options, m *mark, r *replay) error {
	if m.segment > r.segment.number {
		return &DamagedError{File: o.path(segmentName(m.segment)), Reason: "the segment that the mark names is missing"}
	}
	if m.segment == r.segment.number && m.durable > r.settled {
		if m.durable != r.next || r.records.need > 0 {
			return r.segment.damaged(r.next, "the journal ends here, but its mark says that it was durable up to %d",
				m.durable)
		}
		if err := r.settle(); err != nil {
			return err
		}
	}
	for _, c := range r.block.closed {
		if c.number == m.segment && m.durable > c.end {
			return &DamagedError{File: o.path(segmentName(c.number)), Offset: int64(c.end),
				Reason: "the segment ends before the mark"}
		}
	}
	for _, id := range sortedKeys(m.votes) {
		v := m.votes[id]
		g := r.state.groups[id]
		if g == nil || g.term < v.term || g.voteTerm < v.voteTerm ||
			(g.voteTerm == v.voteTerm && g.candidate != v.candidate) {
			return r.segment.damaged(r.settled, "the term or vote of group %d is older than the mark's", id)
		}
	}
	return nil
}

func unixSeconds(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) }
