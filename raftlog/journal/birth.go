package journal

import (
	"fmt"
	"time"

	"github.com/sealmq/sealmq/internal/atrest"
)

// activeSegment is the segment that takes records. Only the writer touches it.
type activeSegment struct {
	*segmentFile
	born     uint32 // where it ended when it got its name
	end      uint32 // where the next flush begins; everything below is durable
	tag      tag    // of the last chunk
	made     time.Time
	entries  int  // written so far, for an estimate of the index
	flushes  int  // since it got its name
	prepared bool // it has been decided whether the next one is to be filled
}

// birth makes a segment. Everything in it is durable before the file gets its name, so whoever sees the name may rely
// on all of it, and a crash before leaves the journal as it was.
type birth struct {
	o      *Options
	number uint64
	prev   tag // of the last chunk that counts in the segment before
	closed []closedSegment
	state  *logState // all that was before; every entry of it in runs
	tail   []record  // what the segment before had above its durable point, to be written again
	spare  string    // the file that becomes the segment

	placed []placement // where each record of tail went
}

// placement is where a record lies in its segment.
type placement struct{ place, off uint32 }

func (b *birth) make() (*activeSegment, error) {
	name := segmentName(b.number)
	sealed, header, err := b.o.Ring.NewFile(atrest.ModeJournal, b.o.Store, chunkLog2, name)
	if err != nil {
		return nil, fmt.Errorf("a new journal segment: %w", err)
	}
	f, err := b.o.FS.OpenWrite(b.o.path(b.spare))
	if err != nil {
		return nil, fmt.Errorf("opening a spare segment: %w", err)
	}
	s := &activeSegment{made: time.Now()}
	err = b.write(f, sealed, header, s)
	s.born = s.end
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("writing a new journal segment: %w", err)
	}
	if err := rename(b.o, b.spare, name); err != nil {
		return nil, err
	}
	// Opened again under its name: not every system renames a file that is open.
	path := b.o.path(name)
	if f, err = b.o.FS.OpenWrite(path); err != nil {
		return nil, fmt.Errorf("opening a new journal segment: %w", err)
	}
	s.segmentFile = &segmentFile{number: b.number, path: path, file: f, sealed: sealed}
	return s, nil
}

// write writes the header with the state block, and then the tail as a flush of its own.
func (b *birth) write(f File, sealed *atrest.File, header []byte, s *activeSegment) error {
	var p packer
	block := stateBlock{number: b.number, madeSeconds: unixSeconds(s.made), closed: b.closed, state: b.state}
	body := block.encode()
	p.begin(sealed, firstPlace, b.prev, diskBound(1, len(body)))
	rec := blockRecord(recordState, body)
	p.add(&rec)
	p.close()
	front := append(header, make([]byte, firstPlace-len(header))...)
	if err := writeFull(f, append(front, p.buf...), 0); err != nil {
		return err
	}
	if err := f.SyncData(); err != nil {
		return err
	}
	s.end, s.tag = p.place(), p.prev
	if len(b.tail) == 0 {
		return nil
	}
	p.begin(sealed, s.end, s.tag, 0)
	for i := range b.tail {
		place, off := p.add(&b.tail[i])
		b.placed = append(b.placed, placement{place, off})
		if b.tail[i].kind == recordEntry {
			s.entries++
		}
	}
	p.close()
	if err := writeFull(f, p.buf, int64(s.end)); err != nil {
		return err
	}
	if err := f.SyncData(); err != nil {
		return err
	}
	s.end, s.tag = p.place(), p.prev
	return nil
}
