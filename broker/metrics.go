package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealmq/sealmq/wire"
)

// metrics are the node's numbers. Labels are node, group and code: never a mailbox, a principal or an address, of
// which there may be millions and which are nobody's business.
type metrics struct {
	registry *prometheus.Registry
	node     prometheus.Registerer // adds the node's label

	sends, duplicates, deliveries, acks, nacks prometheus.Counter
	failed                                     *prometheus.CounterVec
	failedBy                                   []prometheus.Counter // by wire.Code: counting costs no look-up
	refused, expired                           prometheus.Counter
	commit                                     prometheus.Histogram
}

func newMetrics(node string) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.node = prometheus.WrapRegistererWith(prometheus.Labels{"node": node}, m.registry)
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "sealmq_" + name, Help: help})
		m.register(c)
		return c
	}
	m.sends = counter("sends_total", "Messages stored, without duplicates.")
	m.duplicates = counter("send_duplicates_total", "Messages answered with the first answer to their id.")
	m.deliveries = counter("deliveries_total", "Messages delivered under a lease, redeliveries included.")
	m.acks = counter("acks_total", "Messages acknowledged.")
	m.nacks = counter("nacks_total", "Messages given back by receivers.")
	m.refused = counter("connections_refused_total", "Connections that were refused or did not prove an identity.")
	m.expired = counter("leases_expired_total", "Messages that came free because a lease or a delay ran out.")
	m.failed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sealmq_errors_total", Help: "Requests and items of requests that failed, by result code.",
	}, []string{"code"})
	m.register(m.failed)
	for code := range wire.Codes() {
		if wire.Code(code) == wire.CodeOK {
			// What went well is no error and has no line.
			m.failedBy = append(m.failedBy, prometheus.NewCounter(prometheus.CounterOpts{Name: "sealmq_none"}))
			continue
		}
		m.failedBy = append(m.failedBy, m.failed.WithLabelValues(wire.Code(code).String()))
	}
	m.commit = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "sealmq_commit_seconds", Help: "From an entry's proposal to its result, on the leader.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	})
	m.register(m.commit)
	return m
}

func (m *metrics) register(c prometheus.Collector) { m.node.MustRegister(c) }

func (m *metrics) failures(code wire.Code) prometheus.Counter {
	if int(code) >= len(m.failedBy) {
		code = wire.CodeInternal
	}
	return m.failedBy[code]
}
