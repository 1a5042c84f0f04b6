package journal

import (
	"errors"
	"fmt"
	"time"
)

const (
	// maxFlushBytes bounds one flush, unless a single request is larger.
	maxFlushBytes = 8 << 20
	// markEvery is how long a flush may stand without the mark saying so; a second is what is promised.
	markEvery = 500 * time.Millisecond
	// maxSegmentAge is when a segment is ended even if there is room in it: its key must not live longer.
	maxSegmentAge = 24 * time.Hour
)

// writer is the one goroutine that writes segments and the mark. It takes all requests that wait, seals their records
// into chunks, writes and syncs them at once, publishes what they change, and answers.
type writer struct {
	j      *Journal
	active *activeSegment
	mark   *markFile
	packer packer
	done   chan struct{}

	// fences are the groups' limits with everything counted that has been accepted, durable or not.
	fences map[uint16]*fence

	taken    []*request
	accepted []*request
	effects  []effect

	markDue time.Time // when the mark must be written; zero: it says all there is to say
	timer   *time.Timer
}

// fence is what a group's next record is checked against.
type fence struct {
	ballot
	base uint64
}

// effect is a record of the flush with its place, to be published when it is durable.
type effect struct {
	record
	placement
}

func newWriter(j *Journal, active *activeSegment) *writer {
	w := &writer{j: j, active: active, done: make(chan struct{}), fences: make(map[uint16]*fence),
		timer: time.NewTimer(maxSegmentAge)}
	for id, g := range j.state.groups {
		w.fences[id] = &fence{ballot: ballot{g.term, g.voteTerm, g.candidate}, base: g.base}
	}
	return w
}

func (w *writer) run() {
	defer close(w.done)
	defer w.timer.Stop()
	for {
		w.sleep()
		var closed bool
		w.taken, closed = w.j.queue.take(w.taken[:0])
		for rest := w.taken; len(rest) > 0; {
			n := flushLength(rest)
			w.flush(rest[:n])
			rest = rest[n:]
		}
		clear(w.taken)
		w.keepUp(time.Now())
		if closed {
			w.finish()
			return
		}
	}
}

// sleep waits for requests or for what time asks for.
func (w *writer) sleep() {
	due := w.active.made.Add(maxSegmentAge)
	if !w.markDue.IsZero() && w.markDue.Before(due) {
		due = w.markDue
	}
	w.timer.Reset(time.Until(due))
	select {
	case <-w.j.queue.wake:
	case <-w.timer.C:
	}
}

// flushLength returns how many of the requests go into one flush, at least one.
func flushLength(rs []*request) int {
	size := 0
	for n, r := range rs {
		size += r.diskBytes()
		if n > 0 && size > maxFlushBytes {
			return n
		}
	}
	return len(rs)
}

// flush makes the requests durable and answers every one of them.
func (w *writer) flush(rs []*request) {
	if err := w.j.failure.err(); err != nil {
		refuse(rs, err)
		return
	}
	bound := 0
	for _, r := range rs {
		bound += r.diskBytes()
	}
	if !w.room(bound) {
		if err := w.roll(); errors.Is(err, ErrNoSpace) {
			rs = w.refuseEntries(rs)
		} else if err != nil {
			w.j.fail(err)
			refuse(rs, w.j.failure.err())
			return
		}
	}
	if err := w.pack(rs, bound); err != nil {
		w.j.fail(err)
		refuse(w.accepted, w.j.failure.err())
		return
	}
	w.publish()
	w.answer()
}

func refuse(rs []*request, err error) {
	for _, r := range rs {
		r.answer(err)
	}
}

// room reports whether a flush of at most that many bytes and the index that they add to fit in the open segment.
// A new segment takes any flush: there is no other that would have more room.
func (w *writer) room(bound int) bool {
	index := w.active.entries * slotDiskBytes
	return w.active.end == w.active.born || int64(w.active.end)+int64(bound+index) <= w.j.o.SegmentBytes-controlBytes
}

// controlBytes at a segment's end are kept for terms, votes and truncations while no further segment can be reserved.
const controlBytes = 16 << 10

// refuseEntries refuses what needs more room than there is, and returns the rest: terms, votes and truncations.
func (w *writer) refuseEntries(rs []*request) []*request {
	left := w.j.o.SegmentBytes - int64(w.active.end) - int64(w.active.entries*slotDiskBytes)
	kept := make([]*request, 0, len(rs))
	for _, r := range rs {
		if left -= int64(r.diskBytes()); r.entries != nil || left < 0 {
			r.answer(ErrNoSpace)
			left += int64(r.diskBytes())
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// pack refuses what must be, and writes and syncs the records of the rest, which it leaves in accepted.
func (w *writer) pack(rs []*request, bound int) error {
	w.accepted, w.effects = w.accepted[:0], w.effects[:0]
	w.packer.begin(w.active.sealed, w.active.end, w.active.tag, bound)
	for _, r := range rs {
		if err := w.accept(r); err != nil {
			r.answer(err)
			continue
		}
		w.accepted = append(w.accepted, r)
		for i := range r.entries {
			w.add(entryRecord(r.group, &r.entries[i]))
		}
		if r.control.kind != 0 {
			w.add(r.control)
		}
	}
	w.packer.close()
	if len(w.packer.buf) == 0 {
		return nil
	}
	return w.writeOut()
}

func (w *writer) add(rec record) {
	place, off := w.packer.add(&rec)
	rec.data = nil
	w.effects = append(w.effects, effect{rec, placement{place, off}})
}

// writeOut writes and syncs the packed flush.
func (w *writer) writeOut() error {
	if err := writeFull(w.active.file, w.packer.buf, int64(w.active.end)); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	start := time.Now()
	if err := w.active.file.SyncData(); err != nil {
		return fmt.Errorf("syncing the journal: %w", err)
	}
	took := time.Since(start)
	w.active.end, w.active.tag = w.packer.place(), w.packer.prev
	w.j.stats.flushed(len(w.packer.buf), len(w.effects), w.active.end, took)
	if w.markDue.IsZero() {
		w.markDue = start.Add(markEvery)
	}
	w.active.flushes++
	if !w.active.prepared && int64(w.active.end) > w.j.o.SegmentBytes/4 {
		w.active.prepared = true
		if w.active.worthFilling() {
			w.j.spares.wantFilled()
		}
	}
	return nil
}

// fillBelowBytes is how long flushes are on average for which zeros are worth writing ahead: committing the metadata of
// new space costs about as much as 100 KiB of data. Zeros under flushes of a megabyte take a third of what the disk
// can do (docs/decisions/0012).
const fillBelowBytes = 128 << 10

// worthFilling reports whether the flushes of this segment were so short that the next one had better be filled.
func (a *activeSegment) worthFilling() bool {
	return int64(a.end-a.born) < int64(a.flushes)*fillBelowBytes
}

// publish shows readers what the flush has changed.
func (w *writer) publish() {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	for i := range w.effects {
		e := &w.effects[i]
		if e.kind == recordEntry {
			w.active.entries++
		}
		if err := w.j.state.apply(&e.record, e.place, e.off); err != nil {
			panic(fmt.Sprintf("journal: a record that was accepted does not apply: %v", err))
		}
	}
	clear(w.effects)
}

// answer answers the accepted requests; terms and votes only after the mark has them, too.
func (w *writer) answer() {
	voted := false
	for _, r := range w.accepted {
		if r.voted {
			voted = true
		} else {
			r.answer(nil)
		}
	}
	if voted {
		err := w.writeMark()
		for _, r := range w.accepted {
			if r.voted {
				r.answer(err)
			}
		}
	}
	clear(w.accepted)
}

// keepUp writes the mark and ends the segment when their time has come.
func (w *writer) keepUp(now time.Time) {
	if w.j.failure.err() != nil {
		w.markDue = time.Time{}
		w.active.made = now
		return
	}
	if now.Sub(w.active.made) >= maxSegmentAge {
		if err := w.roll(); errors.Is(err, ErrNoSpace) {
			w.active.made = now.Add(time.Minute - maxSegmentAge) // again in a minute
		} else if err != nil {
			w.j.fail(err)
			return
		}
	}
	if !w.markDue.IsZero() && !now.Before(w.markDue) {
		w.writeMark()
	}
}

// nextMark is what the mark has to say now.
func (w *writer) nextMark() mark {
	m := mark{segment: w.active.number, durable: w.active.end, votes: make(map[uint16]ballot)}
	for id, g := range w.j.state.groups {
		if g.term > 0 {
			m.votes[id] = ballot{g.term, g.voteTerm, g.candidate}
		}
	}
	return m
}

// writeMark makes the mark say what is durable. A failure poisons the journal.
func (w *writer) writeMark() error {
	if err := w.mark.write(w.nextMark()); err != nil {
		w.j.fail(err)
		return w.j.failure.err()
	}
	w.markDue = time.Time{}
	w.j.stats.marked()
	return nil
}

// finish ends the open segment in good order and closes the writer's files.
func (w *writer) finish() {
	if w.j.failure.err() == nil {
		if _, err := w.endSegment(); err != nil {
			w.j.fail(err)
		} else {
			w.writeMark()
		}
	}
	w.mark.close()
}
