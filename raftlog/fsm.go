package raftlog

import (
	"errors"
	"io"
	"slices"

	"github.com/hashicorp/raft"
)

// Entry is a committed entry on its way to the machine. Data must not be changed.
type Entry struct {
	Index, Term uint64
	Data        []byte
}

// Applied says how far a machine is. Config is the group's configuration as of ConfigIndex, opaque to the machine.
type Applied struct {
	Index, Term, ConfigIndex uint64
	Config                   []byte
}

// Machine is what a group's entries are applied to. Its state survives restarts by itself; after one, it is given
// again what came after DurableApplied, and skips what it has.
type Machine interface {
	// Apply applies a run of entries, in order, and returns one result for each; a nil slice stands for nil results. It
	// is called from one goroutine per group. config is not nil when the run holds a configuration: it must be stored
	// in the same batch as the run's effects. Its Index and Term are those of the whole run's last entry, which may be
	// the configuration itself, so entries may be empty.
	Apply(entries []Entry, config *Applied) []any
	// Applied is how far the machine is in memory.
	Applied() Applied
	// DurableApplied is how far it would be after a crash. Raft is told this at the start.
	DurableApplied() Applied
}

// fsm gives Raft's committed entries to the machine.
type fsm struct {
	machine Machine
	logs    *logStore
	stop    <-chan struct{}
	// ended is set once entries were left out: the machine is given none that come after them.
	ended bool
}

var _ raft.BatchingFSM = (*fsm)(nil)

// outcome is what Raft's futures carry back.
type outcome struct {
	result any
	term   uint64
	// left says that the machine was not given the entry: the group stopped before the entry was durable here.
	left bool
}

// Apply applies one entry.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies a run of entries, once they are durable here. Raft sends commands and configurations.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	if f.ended || !f.logs.begun.await(logs[len(logs)-1].Index, f.stop) {
		f.ended = true
		return slices.Repeat([]any{outcome{left: true}}, len(logs))
	}
	entries := make([]Entry, 0, len(logs))
	var config *Applied
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			entries = append(entries, Entry{Index: l.Index, Term: l.Term, Data: l.Data})
		} else {
			config = &Applied{ConfigIndex: l.Index, Config: l.Data}
		}
	}
	last := logs[len(logs)-1]
	if config != nil {
		config.Index, config.Term = last.Index, last.Term
	}
	results := f.machine.Apply(entries, config)
	if results != nil && len(results) != len(entries) {
		panic("raftlog: the machine returned another number of results than it was given entries")
	}
	f.logs.applied(last.Index)

	outcomes, n := make([]any, len(logs)), 0
	for i, l := range logs {
		o := outcome{term: l.Term}
		if l.Type == raft.LogCommand {
			if results != nil {
				o.result = results[n]
			}
			n++
		}
		outcomes[i] = o
	}
	return outcomes
}

// Snapshot notes how far the machine is; Persist waits until that is durable.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	return &flushBarrier{machine: f.machine, index: f.machine.Applied().Index, stop: f.stop}, nil
}

// Restore refuses: state comes to a node beside Raft, never through it.
func (f *fsm) Restore(io.ReadCloser) error {
	return errors.New("a machine's state is not restored through Raft")
}
