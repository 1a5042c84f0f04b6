package broker

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

// noteEvery is how often one kind of line is logged that strangers or clients can cause as often as they like.
const noteEvery = time.Second

// throttle logs each kind of line at most once in noteEvery and says how many it has left out: nobody must be able to
// fill the log.
type throttle struct {
	log   *slog.Logger
	level slog.Level

	mu   sync.Mutex
	kind map[string]*noted
}

type noted struct {
	last    time.Time
	skipped int
}

func newThrottle(log *slog.Logger, level slog.Level) *throttle {
	return &throttle{log: log, level: level, kind: map[string]*noted{}}
}

// note logs a line. what is one of few constants: it says which kind of line it is.
func (t *throttle) note(what string, args ...any) {
	now := time.Now()
	t.mu.Lock()
	n := t.kind[what]
	if n == nil {
		n = &noted{}
		t.kind[what] = n
	}
	if now.Sub(n.last) < noteEvery {
		n.skipped++
		t.mu.Unlock()
		return
	}
	skipped := n.skipped
	n.last, n.skipped = now, 0
	t.mu.Unlock()
	if skipped > 0 {
		args = append(args, "skipped", skipped)
	}
	t.log.Log(context.Background(), t.level, what, args...)
}

// refusals logs connections that were refused.
type refusals struct{ lines *throttle }

func (r refusals) note(remote net.Addr, reason error) {
	r.lines.note("connection refused", "remote", remote, "reason", reason)
}
