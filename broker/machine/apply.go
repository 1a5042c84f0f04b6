package machine

import (
	"fmt"
	"sync/atomic"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Applied says up to where a group's log is in its stores.
type Applied = storage.Applied

// base is what the mail and the control machine have in common: walking over entries, replicated time, and committing
// a run's effects with the index that they stand at.
type base struct {
	stores *storage.Stores
	reader storage.Reader
	batch  *storage.Batch

	// inState and inKeys are what is applied of each store's rows, in the store or in memory. They differ only after a
	// crash; then entries are applied to the store that lacks them, and to that one only.
	inState, inKeys Applied
	now             int64 // replicated time, unix ms

	// The command that is being applied: the entry that it is in, and where its fields begin in it.
	index, term uint64
	entry       []byte
	offset      uint32
	command     codec.Reader // what is left of it

	wantOutcomes bool
	slab         slab
	names        names
	hashes       map[string][16]byte

	// toWrite is what the stores lack of what was applied.
	toWrite struct{ state, keys, config bool }

	// err is the first failure of a store in this run. After it nothing that the run did counts.
	err error

	applied    atomic.Pointer[Applied]
	timeMillis atomic.Int64
}

// rules is what a machine adds to base.
type rules interface {
	// command applies one command to one of the stores.
	command(kind Kind, r *codec.Reader, o *Outcome)
	// warm is told what is left of an entry, now and then.
	warm(commands codec.Reader, count int)
	// timeMoved is told that replicated time was another until now.
	timeMoved(from int64)
	// mayHold reports whether what was applied since the last write may stay in memory for now.
	mayHold() bool
	// write puts what was changed in memory since then into the batch; written is told that it was committed.
	write()
	written()
}

func openBase(stores *storage.Stores, group uint16) (*base, error) {
	b := &base{
		stores: stores, reader: stores.Reader(group), batch: stores.NewBatch(group),
		names: names{}, hashes: map[string][16]byte{},
	}
	var err error
	if b.inState, b.inKeys, b.now, err = stores.Applied(group); err != nil {
		return nil, fmt.Errorf("reading what group %d has applied: %w", group, err)
	}
	b.publish()
	return b, nil
}

// Applied returns up to where the group's log is in both stores, in memory. It may be called from any goroutine.
func (b *base) Applied() Applied { return *b.applied.Load() }

// TimeMillis returns the replicated time. A leader stamps no entry with less.
func (b *base) TimeMillis() int64 { return b.timeMillis.Load() }

func (b *base) publish() {
	lower := b.inState
	if b.inKeys.Index < lower.Index {
		lower = b.inKeys
	}
	b.applied.Store(&lower)
	b.timeMillis.Store(b.now)
}

// failed notes a failure of a store and reports whether there was one.
func (b *base) failed(err error) bool {
	if err != nil && b.err == nil {
		b.err = err
	}
	return err != nil
}

// hash returns how a principal stands in rows.
func (b *base) hash(principal string) [16]byte {
	h, ok := b.hashes[principal]
	if !ok {
		if len(b.hashes) >= maxNames {
			clear(b.hashes)
		}
		h = storage.Hash16(principal)
		b.hashes[principal] = h
	}
	return h
}

func (b *base) run(entries []Entry, config *Applied, outcomes bool, rules rules) ([][]Outcome, error) {
	if b.err != nil {
		return nil, b.err
	}
	b.wantOutcomes = outcomes
	var results [][]Outcome
	if outcomes {
		results = make([][]Outcome, len(entries))
	}
	var last Applied // of this run; a store may be ahead of it, and must not take the other one along
	for i := range entries {
		e := &entries[i]
		if e.Index <= last.Index {
			continue // handed over twice
		}
		out := b.applyEntry(e, rules)
		if outcomes {
			results[i] = out
		}
		if b.err != nil {
			return nil, b.err
		}
		last.Index, last.Term = e.Index, e.Term
	}
	if config != nil && config.Index > last.Index {
		last.Index, last.Term = config.Index, config.Term
	}
	b.toWrite.state = b.advance(&b.inState, last, config) || b.toWrite.state
	b.toWrite.keys = b.advance(&b.inKeys, last, config) || b.toWrite.keys
	if b.toWrite.config || !rules.mayHold() {
		if err := b.writeOut(rules); err != nil {
			return nil, err
		}
	}
	b.publish()
	return results, nil
}

// advance moves what is applied of a store's rows to the end of a run, and reports whether it was not there yet.
func (b *base) advance(have *Applied, last Applied, config *Applied) (moved bool) {
	if config != nil && config.ConfigIndex > have.ConfigIndex {
		have.ConfigIndex, have.Config = config.ConfigIndex, append([]byte(nil), config.Config...)
		b.toWrite.config, moved = true, true
	}
	if last.Index > have.Index {
		have.Index, have.Term = last.Index, last.Term
		moved = true
	}
	return moved
}

// writeOut writes what is in memory only, with marks for the stores that it moves forward. Until then it is as if the run
// in which it was applied had not ended.
func (b *base) writeOut(rules rules) error {
	if b.err != nil {
		return b.err
	}
	rules.write()
	if state, keys := b.mark(b.toWrite.state, b.inState), b.mark(b.toWrite.keys, b.inKeys); b.err == nil &&
		(state != nil || keys != nil) {
		b.err = b.batch.Commit(state, keys)
	}
	if b.err != nil {
		return b.err
	}
	b.toWrite.state, b.toWrite.keys, b.toWrite.config = false, false, false
	rules.written()
	return nil
}

func (b *base) mark(moved bool, have Applied) *storage.Marks {
	if !moved {
		return nil
	}
	return &storage.Marks{Applied: have, TimeMillis: b.now, ConfigChanged: b.toWrite.config}
}

// applyEntry applies the commands of an entry to the stores that do not have it yet.
func (b *base) applyEntry(e *Entry, rules rules) []Outcome {
	toState, toKeys := e.Index > b.inState.Index, e.Index > b.inKeys.Index
	if !toState && !toKeys || len(e.Data) == 0 {
		return nil
	}
	header, commands, count, err := readEntry(e.Data)
	if err != nil {
		return []Outcome{{Code: codeOf(err), TimeMillis: b.now}}
	}
	if toState && header.timeMillis > b.now {
		before := b.now
		b.now = header.timeMillis
		rules.timeMoved(before)
	}
	b.index, b.term, b.entry = e.Index, e.Term, e.Data
	var out []Outcome
	if b.wantOutcomes {
		out = make([]Outcome, count)
	}
	var ignored Outcome
	for i := range count {
		if i%warmCommands == 0 {
			rules.warm(commands, count-i)
		}
		o := &ignored
		if b.wantOutcomes {
			o = &out[i]
		} else {
			ignored = Outcome{}
		}
		o.TimeMillis = b.now
		r := &b.command // one for all: a new one each time would be an allocation
		*r = codec.NewReader(commands.Bytes(len(e.Data)))
		b.offset = uint32(len(e.Data) - commands.Len() - r.Len() + headBytes)
		kind, code := readHead(r)
		if code != CodeOK {
			o.Code = code
			continue
		}
		if kind.writesKeys() && toKeys || !kind.writesKeys() && toState {
			rules.command(kind, r, o)
		}
		if b.err != nil {
			return nil
		}
	}
	return out
}

// decode reads a command and notes what is wrong with it.
func (b *base) decode(c command, r *codec.Reader, o *Outcome) bool {
	c.decode(r, b.names)
	o.Code = codeOf(r.Done())
	return o.Code == CodeOK
}
