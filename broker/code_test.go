package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
	"github.com/sealmq/sealmq/wire"
)

// TestEveryCodeHasOne: every refusal of the machine is definite, and so must be what the client is told.
func TestEveryCodeHasOne(t *testing.T) {
	known := 0
	for c := machine.Code(0); !strings.HasPrefix(c.String(), "code_"); c++ {
		known++
		code := wireCode(c)
		if (code == wire.CodeOK) != (c == machine.CodeOK) || code == wire.CodeInternal ||
			code.Outcome() != wire.Definite {
			t.Errorf("%v becomes %v", c, code)
		}
	}
	if known != len(wireCodes) {
		t.Errorf("the machine has %d codes, the table %d", known, len(wireCodes))
	}
	if got := wireCode(200); got != wire.CodeInternal {
		t.Errorf("an unknown code becomes %v", got)
	}
}

func TestFailuresSayWhatIsKnown(t *testing.T) {
	b := &Broker{failures: newThrottle(slog.New(slog.DiscardHandler), slog.LevelError)}
	for _, x := range []struct {
		err     error
		code    wire.Code
		outcome wire.Outcome
	}{
		{raftlog.ErrShutdown, wire.CodeShuttingDown, wire.Definite},
		{raftlog.ErrUnavailable, wire.CodeOverloaded, wire.Definite},
		{raftlog.ErrTooLarge, wire.CodeTooLarge, wire.Definite},
		{errStale, wire.CodeUnavailable, wire.Definite},
		{fmt.Errorf("wrapped: %w", errNoMailbox), wire.CodeMailboxGone, wire.Definite},
		{codeError(machine.CodeIDConflict), wire.CodeIDConflict, wire.Definite},
		{errors.New("anything"), wire.CodeInternal, wire.Unknown},
	} {
		f := b.failure(nil, x.err)
		if f.Code != x.code || f.Code.Outcome() != x.outcome {
			t.Errorf("%v becomes %v, %v", x.err, f.Code, f.Code.Outcome())
		}
		if (f.RetryAfterMillis != 0) != waitHelps(f.Code) {
			t.Errorf("%v: wait %d ms", x.err, f.RetryAfterMillis)
		}
		if strings.Contains(f.Detail, "anything") {
			t.Errorf("an inner error is told: %q", f.Detail)
		}
	}
	for code := range wire.Codes() {
		if c := wire.Code(code); waitHelps(c) && !c.Retryable() {
			t.Errorf("waiting helps %v, which is not retried", c)
		}
	}
}

func TestClipKeepsTextWhole(t *testing.T) {
	long := strings.Repeat("é", wire.TextBytes)
	got := clip(long)
	if len(got) > wire.TextBytes || len(got) < wire.TextBytes-1 || !strings.HasPrefix(long, got) {
		t.Errorf("%d bytes, %q", len(got), got[len(got)-4:])
	}
	f := wire.Failure{Code: wire.CodeInternal, Detail: got}
	if err := new(wire.Failure).Decode(f.Append(nil)); err != nil {
		t.Error(err)
	}
}
