package wire

import "strconv"

// Code is the result of a request or of one of its items. Numbers and names are only ever appended.
type Code uint16

// The codes. The table in docs/PROTOCOL.md says when each is sent and what a client does then.
const (
	CodeOK                 Code = 0
	CodeInternal           Code = 1
	CodeBadRequest         Code = 2
	CodeUnsupportedVersion Code = 3
	CodeUnsupported        Code = 4
	CodeTooLarge           Code = 5
	CodeUnauthenticated    Code = 6
	CodePermissionDenied   Code = 7
	CodeNotFound           Code = 8
	CodeExists             Code = 9
	CodePreconditionFailed Code = 10
	CodeNotLeader          Code = 11
	CodeUnavailable        Code = 12
	CodeOverloaded         Code = 13
	CodeRateLimited        Code = 14
	CodeFull               Code = 15
	CodeShuttingDown       Code = 16
	CodeTimeout            Code = 17
	CodeLeadershipLost     Code = 18
	CodeClockSkew          Code = 19
	CodeSessionUnknown     Code = 20
	CodeSessionLimit       Code = 21
	CodeMailboxGone        Code = 22
	CodeIDConflict         Code = 23
	CodeIDTooOld           Code = 24
	CodeLeaseLost          Code = 25
	CodeNoKey              Code = 26
	CodePlainRefused       Code = 27
	CodeWrongCluster       Code = 28
	CodeIdle               Code = 29
	CodeExpired            Code = 30
)

// Outcome says what is known about a request that did not succeed.
type Outcome uint8

const (
	// Definite means that what was asked for certainly did not happen.
	Definite Outcome = 1
	// Unknown means that it may have happened.
	Unknown Outcome = 2
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Definite:
		return "definite"
	case Unknown:
		return "unknown"
	}
	return "outcome_" + strconv.Itoa(int(o))
}

type codeInfo struct {
	name      string
	outcome   Outcome
	retryable bool
}

var codes = [...]codeInfo{
	CodeOK:                 {"ok", Definite, false},
	CodeInternal:           {"internal", Unknown, false},
	CodeBadRequest:         {"bad_request", Definite, false},
	CodeUnsupportedVersion: {"unsupported_version", Definite, false},
	CodeUnsupported:        {"unsupported", Definite, false},
	CodeTooLarge:           {"too_large", Definite, false},
	CodeUnauthenticated:    {"unauthenticated", Definite, false},
	CodePermissionDenied:   {"permission_denied", Definite, false},
	CodeNotFound:           {"not_found", Definite, false},
	CodeExists:             {"exists", Definite, false},
	CodePreconditionFailed: {"precondition_failed", Definite, false},
	CodeNotLeader:          {"not_leader", Definite, true},
	CodeUnavailable:        {"unavailable", Definite, true},
	CodeOverloaded:         {"overloaded", Definite, true},
	CodeRateLimited:        {"rate_limited", Definite, true},
	CodeFull:               {"full", Definite, true},
	CodeShuttingDown:       {"shutting_down", Definite, true},
	CodeTimeout:            {"timeout", Unknown, true},
	CodeLeadershipLost:     {"leadership_lost", Unknown, true},
	CodeClockSkew:          {"clock_skew", Definite, false},
	CodeSessionUnknown:     {"session_unknown", Definite, true},
	CodeSessionLimit:       {"session_limit", Definite, false},
	CodeMailboxGone:        {"mailbox_gone", Definite, false},
	CodeIDConflict:         {"id_conflict", Definite, false},
	CodeIDTooOld:           {"id_too_old", Definite, false},
	CodeLeaseLost:          {"lease_lost", Definite, false},
	CodeNoKey:              {"no_key", Definite, false},
	CodePlainRefused:       {"plain_refused", Definite, false},
	CodeWrongCluster:       {"wrong_cluster", Definite, false},
	CodeIdle:               {"idle", Definite, true},
	CodeExpired:            {"expired", Definite, false},
}

// info returns the row of c. A code from a newer version has an unknown outcome and is not retried.
func (c Code) info() codeInfo {
	if int(c) < len(codes) {
		return codes[c]
	}
	return codeInfo{"code_" + strconv.Itoa(int(c)), Unknown, false}
}

// String returns the code's name in snake_case.
func (c Code) String() string { return c.info().name }

// Outcome says whether what was asked for certainly did not happen. It means nothing for [CodeOK].
func (c Code) Outcome() Outcome { return c.info().outcome }

// Retryable says whether the same request may succeed later, after the step that docs/PROTOCOL.md names for the code.
func (c Code) Retryable() bool { return c.info().retryable }

// Codes returns the number of codes: they are 0 to Codes()-1.
func Codes() int { return len(codes) }

// NackCode says why a receiver gives a message back.
type NackCode uint8

// The nack codes. Numbers are only ever appended.
const (
	NackNoKey      NackCode = 1 // no key for its epoch: released, this connection is not given that epoch again
	NackBadSeal    NackCode = 2 // the key was there and the seal did not verify: dead-lettered, a security event
	NackNoSession  NackCode = 3 // its session's header is missing: the node brings it again
	NackRetry      NackCode = 4 // deliver again at once; an attempt, no failure
	NackRetryAfter NackCode = 5 // deliver again after DelayMillis; an attempt, no failure
	NackReject     NackCode = 6 // the application failed on it: again after DelayMillis; counts as a failure
	NackRelease    NackCode = 7 // never looked at; counts as nothing
)

var nackNames = [...]string{
	NackNoKey: "no_key", NackBadSeal: "bad_seal", NackNoSession: "no_session", NackRetry: "retry",
	NackRetryAfter: "retry_after", NackReject: "reject", NackRelease: "release",
}

// String returns the nack code's name.
func (c NackCode) String() string {
	if c.valid() {
		return nackNames[c]
	}
	return "nack_" + strconv.Itoa(int(c))
}

func (c NackCode) valid() bool { return c != 0 && int(c) < len(nackNames) }
