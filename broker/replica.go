package broker

import (
	"fmt"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
)

// replica is a machine as the log sees it.
type replica struct {
	group   *group
	applied func()          // called after every run
	entries []machine.Entry // used again by every Apply
}

// Apply applies a run of entries. Outcomes are worked out only while somebody on this node waits for some.
func (r *replica) Apply(entries []raftlog.Entry, config *raftlog.Applied) []any {
	r.entries = r.entries[:0]
	for i := range entries {
		r.entries = append(r.entries, machine.Entry(entries[i]))
	}
	outcomes, err := r.group.rules.Apply(r.entries, (*machine.Applied)(config), r.group.asked.Load() > 0)
	clear(r.entries)
	if err != nil {
		r.group.broker.fatal(fmt.Errorf("applying to group %d: %w", r.group.id, err))
		return nil
	}
	r.applied()
	results := make([]any, len(entries))
	for i := range outcomes {
		results[i] = outcomes[i]
	}
	return results
}

// Applied returns up to where the log is applied.
func (r *replica) Applied() raftlog.Applied { return raftlog.Applied(r.group.rules.Applied()) }

// DurableApplied returns up to where a power cut would leave it.
func (r *replica) DurableApplied() raftlog.Applied {
	a, err := r.group.broker.stores.DurableApplied(r.group.id)
	if err != nil {
		r.group.broker.fatal(fmt.Errorf("reading the applied index of group %d: %w", r.group.id, err))
	}
	return raftlog.Applied(a)
}
