package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// newLogger writes a node's log: text for a person at a terminal, JSON lines for everything else. The level may be
// changed while it is in use.
func newLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	if format == "text" || format == "auto" && isTerminal(w) {
		o := &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)}
		return slog.New(tint.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// logLevel reads log.level, which is known to be one of the four words.
func logLevel(text string) slog.Level {
	var l slog.Level
	l.UnmarshalText([]byte(text))
	return l
}
