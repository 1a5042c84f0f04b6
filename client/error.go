package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealmq/sealmq/wire"
)

// Code names what went wrong. Codes of the protocol have the names that docs/PROTOCOL.md lists; the constants are
// those that programs branch on, and those that the client itself adds.
type Code string

// Codes that nodes answer with.
const (
	CodePermissionDenied   Code = "permission_denied"
	CodeUnauthenticated    Code = "unauthenticated"
	CodeNotFound           Code = "not_found"
	CodeExists             Code = "exists"
	CodePreconditionFailed Code = "precondition_failed"
	CodeTooLarge           Code = "too_large"
	CodeFull               Code = "full"
	CodeIDConflict         Code = "id_conflict"
	CodeIDTooOld           Code = "id_too_old"
	CodeLeaseLost          Code = "lease_lost"
	CodeClockSkew          Code = "clock_skew"
	CodeMailboxGone        Code = "mailbox_gone"
	CodeNoKey              Code = "no_key"
	CodeBadRequest         Code = "bad_request"
	CodeInternal           Code = "internal"
)

// Codes that only the client gives.
const (
	// CodeUnreachable means that no node, or not the one that leads, could be reached.
	CodeUnreachable Code = "unreachable"
	// CodeTimeout means that the context ended first, and the error unwraps to the context's; or that a message could
	// not be sent again safely: see [Sender.Send].
	CodeTimeout Code = "timeout"
	// CodeKeyChanged means that a name came with another identity key than the pinned one, or a mailbox with another
	// owner: see [KeyChangedError] and [OwnerChangedError].
	CodeKeyChanged Code = "key_changed"
	// CodeBadSeal means that a message or key record did not verify.
	CodeBadSeal Code = "bad_seal"
	// CodeClosed means that the client was closed.
	CodeClosed Code = "closed"
	// CodePanic means that a handler panicked.
	CodePanic Code = "panic"
	// CodeConfig means that the client was set up in a way that cannot work.
	CodeConfig Code = "config"
)

// Outcome says what is known about a request that did not succeed.
type Outcome = wire.Outcome

// The outcomes.
const (
	// Definite means that what was asked for certainly did not happen.
	Definite = wire.Definite
	// Unknown means that it may have happened: the same message id, or the same request, is safe to use again.
	Unknown = wire.Unknown
)

// Error is what every call of this package fails with.
type Error struct {
	Code       Code
	Outcome    Outcome
	Retryable  bool          // the same call may succeed later
	RetryAfter time.Duration // how long a node asked to wait, 0 if it did not
	Detail     string        // what happened, for people
	Hint       string        // what to do about it, for people; may be empty
	Err        error         // the cause, if there is one

	failure *wire.Failure // what the node said, if it said anything
	ranOut  bool          // the call's time was up
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Code))
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Outcome == Unknown {
		b.WriteString(" (it may have happened)")
	}
	if e.Hint != "" {
		b.WriteString(". ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// errConnLost marks the loss of a connection that a request had been given to.
var errConnLost = errors.New("the connection was lost before the answer")

// errNotSent marks a connection that ended before a request was written to it.
var errNotSent = errors.New("the connection ended")

// errClosed ends connections and calls when the client is closed.
var errClosed = errors.New("the client was closed")

// definite returns an error about something that certainly did not happen.
func definite(code Code, err error, detail string, args ...any) *Error {
	return &Error{Code: code, Outcome: Definite, Detail: fmt.Sprintf(detail, args...), Err: err}
}

// unreachable returns the error of a node that cannot be talked to. It may be another time.
func unreachable(err error, detail string, args ...any) *Error {
	e := definite(CodeUnreachable, err, detail, args...)
	e.Retryable = true
	return e
}

// hints say what to do about a code, where it is always the same.
var hints = map[wire.Code]string{
	wire.CodePermissionDenied: "An operator may grant it: sealmq grant add SUBJECT ACTION RESOURCE",
	wire.CodeNotLeader:        "Too few nodes may be there: sealmq status shows which are missing",
	wire.CodeUnavailable:      "Too few nodes may be there: sealmq status shows which are missing",
	wire.CodeExists:           "Choose another name, or use the one that is there: sealmq mailbox show NAME",
	wire.CodeUnauthenticated:  "Check that the client certificate is in date and from the cluster's client authority",
	wire.CodeNotFound:         "Check the name with: sealmq mailbox ls",
	wire.CodeFull:             "Receivers have to catch up, or an operator gives the cluster more room",
	wire.CodeIDConflict:       "This key was used for another body: use a new one",
	wire.CodeLeaseLost: "Its lease ran out, or it was given back or acked under another one. It comes again unless it " +
		"was acked; where the work takes long, take a longer lease or extend it in time",
	wire.CodeSessionLimit:       "Too many processes of this identity send to one mailbox: wait for old sessions to end",
	wire.CodeUnsupportedVersion: "Update the older side",
	wire.CodeWrongCluster:       "The context belongs to another cluster than the one at this address",
}

// fromCode turns a code of the protocol into an error.
func fromCode(code wire.Code, retryAfterMillis uint32, detail string) *Error {
	return &Error{
		Code:       Code(code.String()),
		Outcome:    code.Outcome(),
		Retryable:  code.Retryable(),
		RetryAfter: time.Duration(retryAfterMillis) * time.Millisecond,
		Detail:     detail,
		Hint:       hints[code],
	}
}

// fromFailure turns a failure into an error.
func fromFailure(f *wire.Failure) *Error { return fromCode(f.Code, f.RetryAfterMillis, f.Detail) }

// lacks makes a refusal say which right the call itself takes. What a call asks for on its way may be open to several,
// and a node names the first of them.
func (c *Client) lacks(action wire.Actions, err error) error {
	if !isCode(err, CodePermissionDenied) {
		return err
	}
	e := *asError(err)
	e.Detail = fmt.Sprintf("%s has no grant for %s", c.Principal(), action)
	e.Hint = fmt.Sprintf("An operator may grant it: sealmq grant add %s %s RESOURCE", shellWord(c.Principal()), action)
	return &e
}

// isCode reports whether err is an *Error with a code.
func isCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// asError returns err as an *Error, wrapping what is none as a definite failure on this side.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Outcome: Definite, Err: err}
}

// ended returns the error of a call that ran out of time for cause. last is why it had not succeeded by then, nil if
// nothing had failed; unknown says that an attempt may have got through.
func ended(cause error, last *Error, unknown bool) *Error {
	e := &Error{Code: CodeTimeout, Outcome: Definite, Retryable: true, Err: cause, ranOut: true}
	if unknown {
		e.Outcome = Unknown
	}
	switch {
	case last == nil:
	case last.ranOut:
		// It says already how the attempts went.
		e.Code, e.RetryAfter, e.Detail, e.Hint = last.Code, last.RetryAfter, last.Detail, last.Hint
	case last.failure != nil && last.failure.Code == wire.CodeNotLeader && last.failure.Leader.Node == "":
		e.Code, e.RetryAfter, e.Hint = last.Code, last.RetryAfter, "See which nodes are missing with: sealmq status"
		e.Detail = "no leader: a majority of nodes is missing"
	case last.Code != CodeTimeout:
		e.RetryAfter, e.Hint = last.RetryAfter, last.Hint
		e.Detail = "the last attempt ended with " + string(last.Code)
		if last.Detail != "" {
			e.Detail += " (" + last.Detail + ")"
		}
		// The reason says more than the deadline does, where the cluster gave one.
		if last.Code != CodeUnreachable {
			e.Code = last.Code
		}
	}
	return e
}
