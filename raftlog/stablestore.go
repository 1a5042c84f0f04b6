package raftlog

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// The keys that Raft uses.
const (
	keyCurrentTerm   = "CurrentTerm"
	keyLastVoteTerm  = "LastVoteTerm"
	keyLastVoteCand  = "LastVoteCand"
	stableMissText   = "not found"
	stableUnknownKey = "raftlog: unknown stable key"
)

// errStableMiss is what Raft takes for a value that was never stored. It compares the text.
var errStableMiss = errors.New(stableMissText)

// stableStore keeps the current term and the vote. Raft stores a vote as two values, term first; they are written as
// one record when the candidate comes, so that no crash can leave one without the other. All calls come from Raft's
// main loop.
type stableStore struct {
	host     *Host
	group    uint16
	log      Log
	busy     *stopwatch
	voteTerm uint64 // stored by Raft, not written yet
}

var _ raft.StableStore = (*stableStore)(nil)

// SetUint64 writes the current term, or holds a vote's term for its candidate.
func (s *stableStore) SetUint64(key []byte, v uint64) error {
	switch string(key) {
	case keyCurrentTerm:
		if v == s.log.Term() {
			return nil
		}
		return s.write("term", func() error { return s.log.SetTerm(v) })
	case keyLastVoteTerm:
		s.voteTerm = v
		return nil
	}
	return errors.New(stableUnknownKey)
}

// Set writes the vote.
func (s *stableStore) Set(key, v []byte) error {
	if string(key) != keyLastVoteCand {
		return errors.New(stableUnknownKey)
	}
	term := s.voteTerm
	if term == 0 {
		return fmt.Errorf("group %d: a vote without a term", s.group)
	}
	s.voteTerm = 0
	return s.write("vote", func() error { return s.log.SetVote(term, string(v)) })
}

func (s *stableStore) write(what string, f func() error) error {
	s.busy.start()
	err := f()
	s.busy.done()
	if err != nil {
		return s.host.fatal(fmt.Errorf("write the %s of group %d: %w", what, s.group, err))
	}
	return nil
}

// GetUint64 reads the current term or the vote's term.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	var v uint64
	switch string(key) {
	case keyCurrentTerm:
		v = s.log.Term()
	case keyLastVoteTerm:
		v, _ = s.log.Vote()
	default:
		return 0, errors.New(stableUnknownKey)
	}
	if v == 0 {
		return 0, errStableMiss
	}
	return v, nil
}

// Get reads the vote's candidate.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) != keyLastVoteCand {
		return nil, errors.New(stableUnknownKey)
	}
	term, candidate := s.log.Vote()
	if term == 0 {
		return nil, errStableMiss
	}
	return []byte(candidate), nil
}
