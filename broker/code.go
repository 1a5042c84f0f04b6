package broker

import (
	"errors"
	"fmt"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/raftlog"
	"github.com/sealmq/sealmq/wire"
)

// wireCodes translates what the machine says into what clients are told: the only place where one becomes the other.
var wireCodes = [...]wire.Code{
	machine.CodeOK:             wire.CodeOK,
	machine.CodeUnsupported:    wire.CodeUnsupported,
	machine.CodeMalformed:      wire.CodeBadRequest,
	machine.CodeNoMailbox:      wire.CodeMailboxGone,
	machine.CodeExists:         wire.CodeExists,
	machine.CodeSessionUnknown: wire.CodeSessionUnknown,
	machine.CodeSessionLimit:   wire.CodeSessionLimit,
	machine.CodeIDConflict:     wire.CodeIDConflict,
	machine.CodeTooOld:         wire.CodeIDTooOld,
	machine.CodeProducerWindow: wire.CodeOverloaded,
	machine.CodeExpired:        wire.CodeExpired,
	machine.CodeEpochLimit:     wire.CodeFull,
	machine.CodeLeaseLost:      wire.CodeLeaseLost,
	machine.CodeLeaseConflict:  wire.CodeUnavailable,
	machine.CodeNotOwner:       wire.CodePermissionDenied,
	machine.CodePrecondition:   wire.CodePreconditionFailed,
	machine.CodeNotFound:       wire.CodeNotFound,
	machine.CodeFull:           wire.CodeFull,
	machine.CodeNotDue:         wire.CodeLeaseLost,
}

func wireCode(c machine.Code) wire.Code {
	if int(c) < len(wireCodes) {
		return wireCodes[c]
	}
	return wire.CodeInternal
}

// requestError is a refusal with the code that the client is told.
type requestError struct {
	code   wire.Code
	detail string
}

func (e *requestError) Error() string { return e.code.String() + ": " + e.detail }

func refusal(code wire.Code, format string, args ...any) error {
	return &requestError{code, fmt.Sprintf(format, args...)}
}

// codeError is the refusal of a whole command by the machine.
func codeError(c machine.Code) error { return &requestError{wireCode(c), c.String()} }

// retryAfterMillis is what clients are told to wait where waiting is what helps.
const retryAfterMillis = 100

// waitHelps reports whether a request that failed with the code may succeed without anybody doing anything.
func waitHelps(code wire.Code) bool {
	switch code {
	case wire.CodeUnavailable, wire.CodeOverloaded, wire.CodeRateLimited, wire.CodeFull:
		return true
	}
	return false
}

// failure says what a client is told about an error.
func (b *Broker) failure(g *group, err error) *wire.Failure {
	var r *requestError
	switch {
	case errors.As(err, &r):
		f := &wire.Failure{Code: r.code, Detail: clip(r.detail)}
		if waitHelps(r.code) {
			f.RetryAfterMillis = retryAfterMillis
		}
		return f
	case errors.Is(err, raftlog.ErrNotLeader):
		leader := g.leader()
		if leader.Node == b.o.Node {
			return b.failure(g, errNotYet)
		}
		return &wire.Failure{Code: wire.CodeNotLeader, Leader: leader}
	case errors.Is(err, raftlog.ErrLeadershipLost), errors.Is(err, errOutcomeLost):
		return &wire.Failure{Code: wire.CodeLeadershipLost, Leader: g.leader()}
	case errors.Is(err, raftlog.ErrShutdown):
		return &wire.Failure{Code: wire.CodeShuttingDown}
	case errors.Is(err, raftlog.ErrUnavailable):
		return &wire.Failure{Code: wire.CodeOverloaded, RetryAfterMillis: retryAfterMillis}
	case errors.Is(err, raftlog.ErrTooLarge):
		return &wire.Failure{Code: wire.CodeTooLarge}
	}
	b.failures.note("request failed", "err", err)
	return &wire.Failure{Code: wire.CodeInternal}
}
