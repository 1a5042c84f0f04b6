package broker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		l := newThrottle(slog.New(slog.NewTextHandler(&text, nil)), slog.LevelWarn)
		for range 1000 {
			l.note("one", "a", 1)
			l.note("two")
		}
		time.Sleep(noteEvery)
		l.note("one", "a", 2)
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[2], "skipped=999") || !strings.Contains(lines[0], "WARN") {
			t.Errorf("%d lines: %s", len(lines), text.String())
		}
	})
}
