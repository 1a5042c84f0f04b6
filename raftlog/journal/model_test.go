package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// model is one group's log as dumb as it can be: what the journal must hold.
type model struct {
	entries            []journal.Entry
	term, voteTerm     uint64
	candidate          string
	base, baseTerm     uint64
	installI, installT uint64
}

func newModel() model { return model{base: 1} }

func (m *model) clone() model {
	c := *m
	c.entries = append([]journal.Entry(nil), m.entries...)
	return c
}

func (m *model) last() uint64 {
	if len(m.entries) == 0 {
		return m.base - 1
	}
	return m.entries[len(m.entries)-1].Index
}

func (m *model) truncate(from uint64) {
	n := sort.Search(len(m.entries), func(i int) bool { return m.entries[i].Index >= from })
	m.entries = m.entries[:n:n]
}

// step is one call on a group. A crash may leave a first part of an append; everything else is all or nothing.
type step struct {
	name   string
	append []journal.Entry
	do     func(*journal.Group) error
	apply  func(*model)
}

func (s *step) run(g *journal.Group) error {
	if s.append != nil {
		return g.Append(s.append)
	}
	return s.do(g)
}

func (s *step) on(m *model) {
	if s.append == nil {
		s.apply(m)
		return
	}
	m.truncate(s.append[0].Index)
	m.entries = append(m.entries, s.append...)
}

// outcomes are the states that a crash during the step may leave.
func (s *step) outcomes(m *model) []model {
	states := []model{m.clone()}
	for n := 1; n <= len(s.append); n++ {
		c := m.clone()
		(&step{append: s.append[:n]}).on(&c)
		states = append(states, c)
	}
	if s.append == nil {
		c := m.clone()
		s.on(&c)
		states = append(states, c)
	}
	return states
}

// randomStep draws a call that the journal must accept.
func randomStep(rng *rand.Rand, m *model) step {
	switch rng.IntN(12) {
	case 0:
		from := m.base + rng.Uint64N(m.last()-m.base+3)
		return step{name: fmt.Sprintf("truncate %d", from),
			do:    func(g *journal.Group) error { return g.TruncateSuffix(from) },
			apply: func(m *model) { m.truncate(from) }}
	case 1:
		first, term := m.base+rng.Uint64N(m.last()-m.base+4), m.term
		return step{name: fmt.Sprintf("base %d", first),
			do: func(g *journal.Group) error { return g.SetBase(first, term) },
			apply: func(m *model) {
				n := sort.Search(len(m.entries), func(i int) bool { return m.entries[i].Index >= first })
				m.entries, m.base, m.baseTerm = m.entries[n:], first, term
			}}
	case 2:
		term := m.term + rng.Uint64N(3)
		return step{name: fmt.Sprintf("term %d", term),
			do:    func(g *journal.Group) error { return g.SetTerm(term) },
			apply: func(m *model) { m.term = term }}
	case 3:
		term, name := m.voteTerm+1+rng.Uint64N(3), fmt.Sprintf("n%d", rng.IntN(3))
		return step{name: fmt.Sprintf("vote %d %s", term, name),
			do:    func(g *journal.Group) error { return g.SetVote(term, name) },
			apply: func(m *model) { m.term, m.voteTerm, m.candidate = max(m.term, term), term, name }}
	case 4:
		index, term := rng.Uint64N(2)*m.last(), m.term
		return step{name: fmt.Sprintf("installing %d", index),
			do:    func(g *journal.Group) error { return g.SetInstalling(index, term) },
			apply: func(m *model) { m.installI, m.installT = index, term }}
	}
	index := m.last() + 1
	switch rng.IntN(8) {
	case 0: // replaces
		index = m.base + rng.Uint64N(index-m.base+1)
	case 1: // leaves a gap
		index += rng.Uint64N(5)
	}
	var entries []journal.Entry
	for range 1 + rng.IntN(4) {
		size := rng.IntN(600)
		if rng.IntN(12) == 0 {
			size = rng.IntN(100_000)
		}
		entries = append(entries, journal.Entry{Index: index, Term: m.term, Kind: uint8(rng.IntN(4)),
			Data: randomData(rng, size)})
		index++
	}
	return step{name: fmt.Sprintf("append %d from %d", len(entries), entries[0].Index), append: entries}
}

func randomData(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// differs says where a group is not what the model says.
func (m *model) differs(g *journal.Group) error {
	var first, last uint64
	if len(m.entries) > 0 {
		first, last = m.entries[0].Index, m.last()
	}
	if g.FirstIndex() != first || g.LastIndex() != last {
		return fmt.Errorf("entries %d to %d, want %d to %d", g.FirstIndex(), g.LastIndex(), first, last)
	}
	if g.Term() != m.term {
		return fmt.Errorf("term %d, want %d", g.Term(), m.term)
	}
	if term, name := g.Vote(); term != m.voteTerm || name != m.candidate {
		return fmt.Errorf("vote %d for %q, want %d for %q", term, name, m.voteTerm, m.candidate)
	}
	if i, term := g.Installing(); i != m.installI || term != m.installT {
		return fmt.Errorf("installing %d, %d, want %d, %d", i, term, m.installI, m.installT)
	}
	base, baseTerm := g.Base()
	if base != m.base || baseTerm != m.baseTerm {
		return fmt.Errorf("base %d, %d, want %d, %d", base, baseTerm, m.base, m.baseTerm)
	}
	if base > 1 {
		if term, err := g.TermOf(base - 1); err != nil || term != m.baseTerm {
			return fmt.Errorf("term below the base: %d, %w, want %d", term, err, m.baseTerm)
		}
	}
	want := m.entries
	for i := m.base; i <= m.last()+1; i++ {
		e, err := g.Entry(i)
		if len(want) == 0 || want[0].Index != i {
			if !errors.Is(err, journal.ErrNotFound) {
				return fmt.Errorf("entry %d in a gap: %w", i, err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if e.Term != want[0].Term || e.Kind != want[0].Kind || !bytes.Equal(e.Data, want[0].Data) {
			return fmt.Errorf("entry %d is another one", i)
		}
		want = want[1:]
	}
	return nil
}
