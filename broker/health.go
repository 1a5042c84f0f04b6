package broker

import (
	"bytes"
	"crypto/tls"
	"log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// operatorHandler serves the operator listener: two probes and the metrics, all of them reads.
func (b *Broker) operatorHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("ok\n"))
	})
	// A follower is ready: it answers with a hint to the leader, which is all that a balancer needs to know.
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !b.Ready() {
			http.Error(w, "no leader is known of a group, or the node is stopping", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{}))
	return http.MaxBytesHandler(mux, 0)
}

func (b *Broker) operatorServer() *http.Server {
	return &http.Server{
		Handler: b.operatorHandler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		TLSConfig:    b.identities.operator.Server(admitOperator(&b.o)),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only
		ErrorLog:     log.New(operatorLines{b.warnings}, "", 0),
	}
}

// operatorLines takes what the server of the operator listener has to say.
type operatorLines struct{ to *throttle }

func (l operatorLines) Write(line []byte) (int, error) {
	l.to.note("operator listener", "said", string(bytes.TrimSpace(line)))
	return len(line), nil
}
