package raftlog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// maxEntriesPerAppend bounds by count what Raft puts into one write of the log, one AppendEntries and one run of the
// machine. Entries are large: see BenchmarkPropose.
const maxEntriesPerAppend = 8

// commitTimeout is after how long without new entries followers are told how far the last ones are committed.
const commitTimeout = 100 * time.Millisecond

// raftConfig is the configuration of every group. Snapshots never happen by themselves and never cut the log.
func (h *Host) raftConfig(won chan<- bool, group uint16, stop <-chan struct{}) *raft.Config {
	return &raft.Config{
		ProtocolVersion:          raftProtocol,
		LocalID:                  raft.ServerID(h.o.Node),
		HeartbeatTimeout:         h.o.Timeout,
		ElectionTimeout:          h.o.Timeout,
		LeaderLeaseTimeout:       h.o.Timeout,
		CommitTimeout:            min(h.o.Timeout/10, commitTimeout),
		MaxAppendEntries:         h.entriesPerAppend,
		BatchApplyCh:             true,
		SnapshotInterval:         24 * time.Hour,
		SnapshotThreshold:        math.MaxUint64,
		TrailingLogs:             math.MaxUint64,
		NotifyCh:                 won,
		NoSnapshotRestoreOnStart: true,
		NoLegacyTelemetry:        true,
		Logger:                   raftLogger{logs: h.log, args: []any{"group", group}, stop: stop},
	}
}

// checkStart refuses a log and a machine that do not belong together.
func checkStart(log Log, durable Applied) error {
	if durable.Index == 0 {
		return nil
	}
	if _, err := parseConfiguration(durable.Config); err != nil || durable.ConfigIndex == 0 {
		return fmt.Errorf("%w: the machine is at %d without a configuration", ErrDamaged, durable.Index)
	}
	if last := log.LastIndex(); last < durable.Index {
		return fmt.Errorf("%w: the log ends at %d, the machine has %d", ErrDamaged, last, durable.Index)
	}
	term, err := log.TermOf(durable.Index)
	if errors.Is(err, journal.ErrNotFound) || err == nil && term != durable.Term {
		return fmt.Errorf("%w: the log has term %d at %d, the machine %d", ErrDamaged, term, durable.Index, durable.Term)
	}
	return err
}

// bootstrap writes the first entry of a new cluster: its configuration, the same bytes on every node. It does nothing
// to a log that has ever been used. A crash may have left the term without the entry.
func (h *Host) bootstrap(log Log, durable Applied, store *logStore, stable *stableStore) error {
	voted, _ := log.Vote()
	if durable.Index > 0 || log.LastIndex() > 0 || log.Term() > 1 || voted > 0 {
		return nil
	}
	if err := stable.SetUint64([]byte(keyCurrentTerm), 1); err != nil {
		return err
	}
	return store.StoreLog(&raft.Log{
		Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configurationOf(h.o.Members)),
	})
}

// configurationOf makes the same configuration on every node, whatever the order of its members is there.
func configurationOf(members []Member) raft.Configuration {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	var c raft.Configuration
	for _, m := range members {
		suffrage := raft.Nonvoter
		if m.Voter {
			suffrage = raft.Voter
		}
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: suffrage, ID: raft.ServerID(m.Node), Address: raft.ServerAddress(m.Address),
		})
	}
	return c
}

// lead makes this node the first leader of a cluster that has never had one. It waits until enough nodes would vote
// for it: one that campaigns alone uses up the first term. Everybody else campaigns after the usual timeout, so a
// preferred node that is down costs nothing.
func (g *Group) lead() {
	pause := max(g.host.o.Timeout/50, time.Millisecond)
	for {
		if g.raft.CurrentTerm() != 1 || g.raft.LastIndex() != 1 || g.raft.State() != raft.Follower {
			return
		}
		if g.wouldWin() {
			if err := g.transport.campaignNow(); err != nil {
				return
			}
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-g.stop:
			timer.Stop()
			return
		}
	}
}

// wouldWin asks every voter whether it would vote for this node in term 2.
func (g *Group) wouldWin() bool {
	voters, granted := 0, make(chan bool, len(g.host.o.Members))
	for _, m := range g.host.o.Members {
		if !m.Voter {
			continue
		}
		voters++
		if m.Node == g.host.o.Node {
			granted <- true
			continue
		}
		g.host.work.Go(func() {
			r := g.transport.vote(raft.ServerID(m.Node), raft.ServerAddress(m.Address), framePreVote,
				vote{term: 2, lastIndex: 1, lastTerm: 1}, g.host.o.Timeout/10)
			granted <- r.granted
		})
	}
	yes := 0
	for range voters {
		if <-granted {
			yes++
		}
		if yes > voters/2 {
			return true
		}
	}
	return false
}
