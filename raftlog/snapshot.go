package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// Flusher is a [Machine] that can be asked to make what it has applied durable. Without it a snapshot waits until the
// machine does so by itself.
type Flusher interface {
	Flush(ctx context.Context) error
}

// durablePoll is how often a snapshot looks whether a machine that is no Flusher has become durable.
const durablePoll = 250 * time.Millisecond

// snapshots is the store of a state that is its own snapshot: there is one, it is as far as the machine's durable
// state, and nothing is ever copied.
type snapshots struct{ machine Machine }

var _ raft.SnapshotStore = snapshots{}

// List returns the one snapshot, or none before the machine has anything.
func (s snapshots) List() ([]*raft.SnapshotMeta, error) {
	a := s.machine.DurableApplied()
	if a.Index == 0 {
		return nil, nil
	}
	c, err := parseConfiguration(a.Config)
	if err != nil {
		return nil, fmt.Errorf("%w: configuration of the applied state: %w", ErrDamaged, err)
	}
	return []*raft.SnapshotMeta{{
		Version: raft.SnapshotVersionMax, ID: snapshotID(a.Index, a.Term),
		Index: a.Index, Term: a.Term, Configuration: c, ConfigurationIndex: a.ConfigIndex,
	}}, nil
}

func snapshotID(index, term uint64) string { return fmt.Sprintf("%d-%d", term, index) }

// Open refuses: followers get entries from the log, which is never cut.
func (s snapshots) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return nil, nil, errNoSnapshot
}

// Create returns a sink that takes nothing.
func (s snapshots) Create(_ raft.SnapshotVersion, index, term uint64, _ raft.Configuration, _ uint64,
	_ raft.Transport) (raft.SnapshotSink, error) {
	return sink(snapshotID(index, term)), nil
}

type sink string

func (s sink) ID() string    { return string(s) }
func (s sink) Close() error  { return nil }
func (s sink) Cancel() error { return nil }
func (s sink) Write([]byte) (int, error) {
	return 0, errors.New("a snapshot has no bytes")
}

// flushBarrier is a snapshot: persisting it means waiting until the machine is durable up to where it was.
type flushBarrier struct {
	machine Machine
	index   uint64
	stop    <-chan struct{}
}

// Persist returns when the state is durable.
func (b *flushBarrier) Persist(s raft.SnapshotSink) error {
	if f, ok := b.machine.(Flusher); ok {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-b.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		if err := f.Flush(ctx); err != nil {
			return fmt.Errorf("flush the machine: %w", err)
		}
		if durable := b.machine.DurableApplied().Index; durable < b.index {
			return fmt.Errorf("machine is durable to %d after a flush at %d", durable, b.index)
		}
		return s.Close()
	}
	tick := time.NewTicker(durablePoll)
	defer tick.Stop()
	for b.machine.DurableApplied().Index < b.index {
		select {
		case <-tick.C:
		case <-b.stop:
			return errStopped
		}
	}
	return s.Close()
}

// Release does nothing: a barrier holds nothing.
func (b *flushBarrier) Release() {}
