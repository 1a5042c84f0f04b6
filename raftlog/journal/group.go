package journal

import "fmt"

// Entry is one entry of a group's log. Kind and Data mean nothing to the journal.
type Entry struct {
	Index, Term uint64
	Kind        uint8
	Data        []byte
}

// Group is one group's log, term and vote. It is safe for concurrent use; calls that change it take effect in the order
// in which they were made, and have been made durable when they return without an error.
type Group struct {
	j  *Journal
	id uint16
}

// appendBytes is how much one request carries: a longer append is several, which share flushes as far as they fit.
const appendBytes = 4 << 20

// Append writes entries, whose indexes must rise. The first may have any index from the base on: entries at or above it
// are replaced, and gaps are allowed. After an error a first part of the entries may be there. The data must not change
// until Append returns.
func (g *Group) Append(entries []Entry) error {
	requests, err := g.appends(entries)
	if err != nil {
		return err
	}
	return g.j.queue.do(requests...)
}

// Begin starts an Append and does not wait for it: done is told its result, by the goroutine that writes, which it must
// not hold up. Calls take effect in the order in which they were made, Append's among them. Begin takes only what is
// certain to find room: if it returns false nothing was started, done is never told anything, and Append may be used.
func (g *Group) Begin(entries []Entry, done func(error)) bool {
	requests, err := g.appends(entries)
	if err != nil || len(requests) != 1 {
		return false
	}
	requests[0].done = done
	return g.j.begin(requests[0])
}

// appends checks entries and makes them requests.
func (g *Group) appends(entries []Entry) ([]*request, error) {
	for i := range entries {
		if i > 0 && entries[i].Index <= entries[i-1].Index {
			return nil, fmt.Errorf("appending: index %d follows %d", entries[i].Index, entries[i-1].Index)
		}
		if len(entries[i].Data) > MaxEntryBytes {
			return nil, fmt.Errorf("appending an entry of %d bytes: %w", len(entries[i].Data), ErrTooLarge)
		}
	}
	var requests []*request
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && (n == 0 || size+len(entries[n].Data) <= appendBytes) {
			size += len(entries[n].Data) + entryHeadBytes
			n++
		}
		r := newAppend(g.id, entries[:n], size)
		if len(requests) > 0 {
			r.prior = requests[len(requests)-1]
		}
		requests = append(requests, r)
		entries = entries[n:]
	}
	return requests, nil
}

// TruncateSuffix removes every entry at or above from.
func (g *Group) TruncateSuffix(from uint64) error {
	return g.control(record{kind: recordTruncate, index: from})
}

// SetBase removes every entry below first, and says which term the entry just below it had: after a cut, or after a
// state was installed up to first-1. The base never goes back (ErrStale).
func (g *Group) SetBase(first, prevTerm uint64) error {
	return g.control(record{kind: recordBase, index: first, term: prevTerm})
}

// SetInstalling records that the state at (index, term) is being installed, so that a crash in between is seen;
// SetInstalling(0, 0) that nothing is any more.
func (g *Group) SetInstalling(index, term uint64) error {
	return g.control(record{kind: recordInstalling, index: index, term: term})
}

// SetTerm makes the current term durable. It never goes back (ErrStale).
func (g *Group) SetTerm(term uint64) error {
	return g.control(record{kind: recordVote, term: term})
}

// SetVote makes a vote durable, in one record with the current term, which rises to the vote's if it is lower. There is
// one vote in a term and no vote in an earlier one (ErrStale).
func (g *Group) SetVote(term uint64, candidate string) error {
	if candidate == "" || len(candidate) > 255 {
		return fmt.Errorf("voting for a name of %d bytes: %w", len(candidate), ErrTooLarge)
	}
	return g.control(record{kind: recordVote, voteTerm: term, candidate: candidate})
}

func (g *Group) control(rec record) error {
	rec.group = g.id
	return g.j.queue.do(newControl(rec))
}

// FirstIndex returns the first entry's index, 0 if there is none.
func (g *Group) FirstIndex() uint64 {
	first, _ := read(g, (*groupState).bounds)
	return first
}

// LastIndex returns the last entry's index, 0 if there is none.
func (g *Group) LastIndex() uint64 {
	_, last := read(g, (*groupState).bounds)
	return last
}

// Term returns the current term.
func (g *Group) Term() uint64 {
	term, _ := read(g, func(s *groupState) (uint64, struct{}) { return s.term, struct{}{} })
	return term
}

// Vote returns the last vote's term and candidate, 0 and "" if there was none.
func (g *Group) Vote() (term uint64, candidate string) {
	return read(g, func(s *groupState) (uint64, string) { return s.voteTerm, s.candidate })
}

// Base returns the first index that is kept, 1 if there was no cut, and the term of the entry below it.
func (g *Group) Base() (first, prevTerm uint64) {
	return read(g, func(s *groupState) (uint64, uint64) { return s.base, s.baseTerm })
}

// Installing returns the state that was being installed when SetInstalling last said so, 0 and 0 if none.
func (g *Group) Installing() (index, term uint64) {
	return read(g, func(s *groupState) (uint64, uint64) { return s.installIndex, s.installTerm })
}

// read takes two values from the group's durable state.
func read[A, B any](g *Group, take func(*groupState) (A, B)) (A, B) {
	g.j.mu.RLock()
	defer g.j.mu.RUnlock()
	s := g.j.state.groups[g.id]
	if s == nil {
		s = &groupState{base: 1}
	}
	return take(s)
}
