package journal

import (
	"errors"
	"fmt"
	"slices"
)

// Item is one thing that Walk found. Bodies are never in it, only their lengths.
type Item struct {
	File   string // base name
	Offset int64
	What   string // mark, segment, chunk, end, or a record's kind

	// Of records: see the package comment.
	Group       uint16
	Index, Term uint64
	Kind        uint8
	VoteTerm    uint64
	Candidate   string
	Bytes       int
	// Durable is where a chunk's flush begins.
	Durable int64

	Note string // for people
}

// Walk shows what a journal's files hold, without changing anything: the mark, then every segment from its front to its
// last valid chunk. Damage does not end it, but is an item of its own with a note. A journal that is being written may
// be walked; its last item is then wherever the writer was.
func Walk(o Options, visit func(Item) error) error {
	if err := o.fill(); err != nil {
		return err
	}
	files, err := list(&o)
	if err != nil {
		return err
	}
	if err := visit(walkMark(&o, files.mark)); err != nil {
		return err
	}
	for _, number := range files.segments {
		if err := walkSegment(&o, number, visit); err != nil {
			return err
		}
	}
	return nil
}

func walkMark(o *Options, there bool) Item {
	item := Item{File: markName, What: "mark"}
	if !there {
		item.Note = "missing"
		return item
	}
	path := o.path(markName)
	f, err := o.FS.Open(path)
	if err != nil {
		item.Note = err.Error()
		return item
	}
	defer f.Close()
	m, _, err := readMark(o, path, f)
	if err != nil {
		item.Note = err.Error()
		return item
	}
	item.Note = fmt.Sprintf("generation %d: durable to %s offset %d", m.generation, segmentName(m.segment), m.durable)
	for _, id := range sortedKeys(m.votes) {
		v := m.votes[id]
		item.Note += fmt.Sprintf("; group %d term %d", id, v.term)
		if v.voteTerm > 0 {
			item.Note += fmt.Sprintf(" vote %d for %s", v.voteTerm, v.candidate)
		}
	}
	return item
}

func walkSegment(o *Options, number uint64, visit func(Item) error) error {
	name := segmentName(number)
	s, err := openSegment(o, number)
	if err != nil {
		return visit(Item{File: name, What: "end", Note: err.Error()})
	}
	defer s.file.Close()
	if err := visit(Item{File: name, What: "segment", Note: s.sealed.Key().String()}); err != nil {
		return err
	}
	chunks := newChunkReader(s)
	var records assembler
	for place := uint32(firstPlace); ; {
		c, err := chunks.read(place)
		var failed *readError
		if errors.As(err, &failed) {
			return s.blame(place, err)
		}
		if err != nil {
			return visit(Item{File: name, Offset: int64(place), What: "end", Note: err.Error()})
		}
		item := Item{File: name, Offset: int64(place), What: "chunk", Bytes: int(c.length), Durable: int64(c.durable)}
		if err := visit(item); err != nil {
			return err
		}
		var stop error
		err = records.take(c, func(l *located) error {
			stop = visit(walkRecord(name, l))
			return stop
		})
		if stop != nil {
			return stop
		}
		if err != nil {
			return visit(Item{File: name, Offset: int64(place), What: "end", Note: err.Error()})
		}
		place = c.end()
	}
}

func walkRecord(name string, l *located) Item {
	item := Item{File: name, Offset: int64(l.place), What: l.kind.String(), Group: l.group, Index: l.index, Term: l.term,
		Kind: l.entryKind, VoteTerm: l.voteTerm, Candidate: l.candidate, Bytes: l.length}
	if l.kind == recordState {
		item.Note = walkState(l.data)
	}
	return item
}

func walkState(body []byte) string {
	block, err := parseStateBlock(body)
	if err != nil {
		return err.Error()
	}
	note := fmt.Sprintf("made at %d", block.madeSeconds)
	if n := len(block.closed); n > 0 {
		c := block.closed[n-1]
		note += fmt.Sprintf(", after %s to offset %d", segmentName(c.number), c.end)
	}
	for _, id := range slices.Sorted(slices.Values(block.state.ids())) {
		g := block.state.groups[id]
		first, last := g.bounds()
		note += fmt.Sprintf("; group %d term %d base %d entries %d to %d", id, g.term, g.base, first, last)
	}
	return note
}
