package raftlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// quietFor is how long a repeated warning stays silent. An unreachable peer makes Raft warn several times a second.
	quietFor    = 10 * time.Second
	quietTopics = 256
)

// logs writes lines, of each topic one in quietFor.
type logs struct {
	out *slog.Logger

	mu   sync.Mutex
	last map[string]*topic
}

type topic struct {
	at         time.Time
	suppressed int
}

func newLogs(out *slog.Logger) *logs {
	if out == nil {
		out = slog.New(slog.DiscardHandler)
	}
	return &logs{out: out, last: make(map[string]*topic)}
}

// info and warn write a line unless one of the same topic was written a moment ago. A topic is what the line is about,
// without the cause: causes name ports and are never the same twice.
func (l *logs) info(topic, msg string, args ...any) { l.write(slog.LevelInfo, msg+topic, msg, args) }
func (l *logs) warn(topic, msg string, args ...any) { l.write(slog.LevelWarn, msg+topic, msg, args) }

func (l *logs) write(level slog.Level, key, msg string, args []any) {
	suppressed, ok := l.allow(key)
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	l.out.Log(context.Background(), level, msg, args...)
}

// allow reports whether a topic may be written now, and how many of its lines were not written since the last one.
func (l *logs) allow(key string) (suppressed int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.last[key]
	if t == nil {
		if len(l.last) >= quietTopics {
			clear(l.last)
		}
		l.last[key] = &topic{at: now}
		return 0, true
	}
	if now.Sub(t.at) < quietFor {
		t.suppressed++
		return 0, false
	}
	suppressed = t.suppressed
	*t = topic{at: now}
	return suppressed, true
}

// raftLogger gives Raft's own lines to slog: INFO as debug, for a group without a majority campaigns several times a
// second for ever and who leads is said elsewhere; warnings and errors throttled by their text; the rest not.
type raftLogger struct {
	logs *logs
	name string
	args []any // alternating key and value, in front of a line's own
	// stop is closed when the group stops: what Raft complains of from then on is what stopping does to it.
	stop <-chan struct{}
}

var _ hclog.Logger = raftLogger{}

// Log writes a line of Raft's.
func (l raftLogger) Log(level hclog.Level, msg string, args ...any) {
	if level < hclog.Info {
		return
	}
	select {
	case <-l.stop:
		return
	default:
	}
	all := make([]any, 0, len(l.args)+len(args))
	all = append(all, l.args...)
	for i := 0; i+1 < len(args); i += 2 {
		all = append(all, fmt.Sprint(args[i]), plain(args[i+1]))
	}
	switch level {
	case hclog.Warn:
		l.logs.write(slog.LevelWarn, l.key(msg), msg, all)
	case hclog.Error:
		l.logs.write(slog.LevelError, l.key(msg), msg, all)
	default:
		l.logs.out.Debug(msg, all...)
	}
}

func (l raftLogger) key(msg string) string { return fmt.Sprint(msg, l.args) }

// plain turns a value into one that any slog handler prints without looking inside: Raft passes itself.
func plain(v any) any {
	switch v := v.(type) {
	case string, bool, int, uint16, uint64, time.Duration:
		return v
	case hclog.Format:
		if len(v) > 0 {
			if format, ok := v[0].(string); ok {
				return fmt.Sprintf(format, v[1:]...)
			}
		}
	}
	return fmt.Sprint(v)
}

// Trace, Debug, Info, Warn and Error write at their level.
func (l raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug writes nothing.
func (l raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info writes at DEBUG.
func (l raftLogger) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn writes at WARN.
func (l raftLogger) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error writes at ERROR.
func (l raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

// IsTrace reports that trace lines are dropped; IsDebug likewise; the other levels are written.
func (l raftLogger) IsTrace() bool { return false }

// IsDebug reports that debug lines are dropped.
func (l raftLogger) IsDebug() bool { return false }

// IsInfo reports that info lines are written.
func (l raftLogger) IsInfo() bool { return true }

// IsWarn reports that warnings are written.
func (l raftLogger) IsWarn() bool { return true }

// IsError reports that errors are written.
func (l raftLogger) IsError() bool { return true }

// ImpliedArgs returns what stands in front of every line's values.
func (l raftLogger) ImpliedArgs() []any { return l.args }

// With returns a logger with more values in front.
func (l raftLogger) With(args ...any) hclog.Logger {
	l.args = append(append([]any(nil), l.args...), args...)
	return l
}

// Name returns the logger's name.
func (l raftLogger) Name() string { return l.name }

// Named returns a logger of that name.
func (l raftLogger) Named(name string) hclog.Logger { return l.ResetNamed(name) }

// ResetNamed returns a logger of that name.
func (l raftLogger) ResetNamed(name string) hclog.Logger {
	l.name = name
	return l
}

// SetLevel does nothing: the level belongs to slog.
func (l raftLogger) SetLevel(hclog.Level) {}

// GetLevel returns INFO.
func (l raftLogger) GetLevel() hclog.Level { return hclog.Info }

// StandardLogger returns a logger of the standard library that writes here.
func (l raftLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

// StandardWriter returns a writer whose every write is a line.
func (l raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{l} }

type lineWriter struct{ l raftLogger }

func (w lineWriter) Write(b []byte) (int, error) {
	w.l.Info(string(bytes.TrimSpace(b)))
	return len(b), nil
}
