package journal

import "fmt"

// accept checks a request against what has been accepted before, and counts it in. A refused request leaves nothing
// behind. It may leave a term or vote with nothing to write: that is so already.
func (w *writer) accept(r *request) error {
	if r.prior != nil && r.prior.refused != nil {
		return r.prior.refused
	}
	f := w.fences[r.group]
	if f == nil {
		if len(w.fences) >= MaxGroups {
			return fmt.Errorf("group %d is one more than %d: %w", r.group, MaxGroups, ErrTooLarge)
		}
		f = &fence{base: 1}
	}
	var err error
	switch r.control.kind {
	case recordVote:
		err = w.acceptVote(f, r)
	case recordBase:
		err = f.acceptBase(r)
	case recordTruncate, recordInstalling:
	default:
		if first := r.entries[0].Index; first < f.base {
			err = fmt.Errorf("appending index %d below the base %d: %w", first, f.base, ErrStale)
		}
	}
	if err == nil {
		w.fences[r.group] = f
	}
	return err
}

func (f *fence) acceptBase(r *request) error {
	if r.control.index < f.base {
		return fmt.Errorf("setting the base to %d below %d: %w", r.control.index, f.base, ErrStale)
	}
	f.base = r.control.index
	return nil
}

// acceptVote completes the record: a new term keeps the vote there was, a vote brings its term along.
func (w *writer) acceptVote(f *fence, r *request) error {
	rec, now := &r.control, f.ballot
	next := now
	r.voted = true
	if rec.candidate == "" {
		if rec.term < now.term {
			return fmt.Errorf("setting term %d after %d: %w", rec.term, now.term, ErrStale)
		}
		next.term = rec.term
	} else {
		if rec.voteTerm < now.voteTerm || (rec.voteTerm == now.voteTerm && rec.candidate != now.candidate) {
			return fmt.Errorf("a second vote in term %d, or one after it: %w", rec.voteTerm, ErrStale)
		}
		next = ballot{term: max(now.term, rec.voteTerm), voteTerm: rec.voteTerm, candidate: rec.candidate}
	}
	if next == now {
		*rec = record{}
		return nil
	}
	if err := w.votesFit(r.group, next); err != nil {
		return err
	}
	f.ballot = next
	*rec = record{kind: recordVote, group: r.group, term: next.term, voteTerm: next.voteTerm, candidate: next.candidate}
	return nil
}

// votesFit refuses what the mark could not hold.
func (w *writer) votesFit(group uint16, next ballot) error {
	m := mark{votes: map[uint16]ballot{group: next}}
	for id, f := range w.fences {
		if id != group && f.term > 0 {
			m.votes[id] = f.ballot
		}
	}
	_, err := m.encode()
	return err
}
