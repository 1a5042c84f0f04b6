package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func newTestLogs() (*logs, *bytes.Buffer) {
	var b bytes.Buffer
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return newLogs(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: noTime}))), &b
}

// Repeated lines are written once in a while, with how many were not, whatever port their cause names.
func TestRepeatedLinesAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := newTestLogs()
		for i := range 100 {
			l.warn("n2", "peer not connected", "peer", "n2", "error", fmt.Errorf("port %d refused", i))
			l.info("n3", "peer connected", "peer", "n3")
			time.Sleep(quietFor / 10)
		}
		want := "level=WARN msg=\"peer not connected\" peer=n2 error=\"port 0 refused\"\n"
		if got := b.String(); !strings.HasPrefix(got, want) || strings.Count(got, "peer=n2") != 10 ||
			strings.Count(got, "peer=n3") != 10 || strings.Count(got, "suppressed=9") != 18 {
			t.Errorf("wrote\n%s", got)
		}
		for i := range 3 * quietTopics {
			l.warn(fmt.Sprint(i), "topic")
		}
		if len(l.last) > quietTopics {
			t.Errorf("%d topics are remembered", len(l.last))
		}
	})
}

func TestRaftLinesGoToSlog(t *testing.T) {
	l, b := newTestLogs()
	stop := make(chan struct{})
	r := raftLogger{logs: l, args: []any{"group", uint16(3)}, stop: stop}
	r.Debug("hidden")
	r.Trace("hidden")
	r.Info("servers", "servers", hclog.Fmt("%+v", []int{1, 2}), "took", time.Second)
	r.With("peer", "n2").Warn("warned", "error", errors.New("broken"))
	r.Named("x").Error("failed", "value", struct{ A int }{7}, "odd")
	r.StandardLogger(nil).Print("a line")
	close(stop)
	r.Error("after the end")
	want := `level=DEBUG msg=servers group=3 servers="[1 2]" took=1s
level=WARN msg=warned group=3 peer=n2 error=broken
level=ERROR msg=failed group=3 value={7}
level=DEBUG msg="a line" group=3
`
	if got := b.String(); got != want {
		t.Errorf("wrote\n%s\nwant\n%s", got, want)
	}
	if r.IsDebug() || r.IsTrace() || !r.IsInfo() || !r.IsWarn() || !r.IsError() || r.GetLevel() != hclog.Info {
		t.Error("the level is not INFO")
	}
}
