package broker

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealmq/sealmq/raftlog/journal"
	"github.com/sealmq/sealmq/storage"
)

// observe registers the numbers that are read when somebody asks.
func (b *Broker) observe() {
	m := b.metrics
	gauge := func(labels prometheus.Labels, name, help string, value func() float64) {
		m.register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge(nil, "sealmq_connections", "Client connections.", func() float64 { return float64(b.clients.count()) })
	gauge(nil, "sealmq_journal_bytes", "Bytes of journal segments.",
		func() float64 { return float64(b.journal.Stats().Bytes) })
	for _, kind := range storage.Kinds() {
		gauge(nil, "sealmq_"+kind.String()+"_bytes", "Bytes on disk of the store "+kind.String()+".", func() float64 {
			for _, s := range b.stores.Metrics() {
				if s.Kind == kind {
					return float64(s.DiskBytes)
				}
			}
			return 0
		})
	}
	gauge(nil, "sealmq_memory_entries_bytes", "Log entries in memory.",
		func() float64 { return float64(b.host.CachedBytes()) })
	gauge(nil, "sealmq_memory_proposals_bytes", "Commands that are proposed and not applied.", func() float64 {
		sum := 0
		for _, g := range b.groups() {
			sum += g.proposer.held()
		}
		return float64(sum)
	})
	gauge(nil, "sealmq_memory_outboxes_bytes", "Answers and deliveries that wait to be written.",
		func() float64 { return float64(b.outboxes.used.Load()) })
	for _, id := range []*identity{b.identities.client, b.identities.peer, b.identities.operator} {
		if id == nil {
			continue // the operator listener is off
		}
		gauge(prometheus.Labels{"listener": id.section}, "sealmq_certificate_expiry_seconds",
			"When a listener's certificate expires, unix time.", func() float64 { return float64(id.NotAfter().Unix()) })
	}
	m.register(&fsyncs{b.journal,
		prometheus.NewDesc("sealmq_fsync_seconds", "Duration of the journal's fdatasync.", nil, nil)})
	for _, g := range b.groups() {
		b.observeGroup(g, gauge)
	}
}

func (b *Broker) observeGroup(g *group, gauge func(labels prometheus.Labels, name, help string, value func() float64)) {
	labels := prometheus.Labels{"group": fmt.Sprint(g.id)}
	gauge(labels, "sealmq_group_leading", "1 on the node that leads the group.", func() float64 {
		if g.log.State().Leading {
			return 1
		}
		return 0
	})
	gauge(labels, "sealmq_group_term", "Raft term.", func() float64 { return float64(g.log.Status().Term) })
	gauge(labels, "sealmq_group_commit_index", "Raft commit index.",
		func() float64 { return float64(g.log.Status().Commit) })
	gauge(labels, "sealmq_group_applied_index", "Up to where the group's log is applied.",
		func() float64 { return float64(g.log.Status().Applied) })
}

// fsyncs is the journal's histogram as the registry asks for it.
type fsyncs struct {
	journal *journal.Journal
	desc    *prometheus.Desc
}

func (f *fsyncs) Describe(to chan<- *prometheus.Desc) { to <- f.desc }

func (f *fsyncs) Collect(to chan<- prometheus.Metric) {
	stats := f.journal.Stats().Fsync
	bounds := journal.FsyncBounds()
	buckets := make(map[float64]uint64, len(bounds))
	count := uint64(0)
	for i, n := range stats.Counts {
		count += n
		if i < len(bounds) {
			buckets[bounds[i].Seconds()] = count
		}
	}
	to <- prometheus.MustNewConstHistogram(f.desc, count, stats.Sum.Seconds(), buckets)
}
