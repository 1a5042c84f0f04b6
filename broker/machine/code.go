package machine

import (
	"errors"
	"strconv"
)

// Code says how a command, or one item of it, ended. Every code but CodeOK is definite: what it refers to did not
// happen. Numbers are only ever added.
type Code uint8

const (
	CodeOK Code = iota
	// CodeUnsupported is an unknown entry version, command kind or command version, or a critical option that is not
	// known.
	CodeUnsupported
	// CodeMalformed is bytes that do not parse, or a value outside of what its command allows.
	CodeMalformed
	// CodeNoMailbox means that no mailbox of this group has the id: it never existed or was deleted.
	CodeNoMailbox
	// CodeExists means that the name belongs to a mailbox with another id, or the id to one with another name or owner.
	CodeExists
	// CodeSessionUnknown means that the item's session has no live row that this principal put; send the header again.
	CodeSessionUnknown
	// CodeSessionLimit means that the principal has its most live sessions on this mailbox.
	CodeSessionLimit
	// CodeIDConflict is a keyed id used again with another body tag.
	CodeIDConflict
	// CodeTooOld is a counter below the lowest one that its producer said is still unanswered.
	CodeTooOld
	// CodeProducerWindow means that the producer has too many separate runs of unanswered counters.
	CodeProducerWindow
	// CodeExpired is a message or session whose not-after has passed, or a session that would live too long.
	CodeExpired
	// CodeEpochLimit means that messages of too many different key epochs already wait.
	CodeEpochLimit
	// CodeLeaseLost means that the message is not held by the lease that was named, or by one of another principal.
	CodeLeaseLost
	// CodeLeaseConflict means that the lease id to be given is in use.
	CodeLeaseConflict
	// CodeNotOwner means that only the owner of the mailbox may do this.
	CodeNotOwner
	// CodePrecondition means that the key record to be replaced is not the current one.
	CodePrecondition
	// CodeNotFound means that what was to be removed is not there.
	CodeNotFound
	// CodeFull means that a table has its most rows.
	CodeFull
	// CodeNotDue means that a hold named by an expiry has not run out, or that nothing holds the message.
	CodeNotDue
)

var codeNames = [...]string{
	CodeOK:             "ok",
	CodeUnsupported:    "unsupported",
	CodeMalformed:      "malformed",
	CodeNoMailbox:      "no_mailbox",
	CodeExists:         "exists",
	CodeSessionUnknown: "session_unknown",
	CodeSessionLimit:   "session_limit",
	CodeIDConflict:     "id_conflict",
	CodeTooOld:         "too_old",
	CodeProducerWindow: "producer_window",
	CodeExpired:        "expired",
	CodeEpochLimit:     "epoch_limit",
	CodeLeaseLost:      "lease_lost",
	CodeLeaseConflict:  "lease_conflict",
	CodeNotOwner:       "not_owner",
	CodePrecondition:   "precondition",
	CodeNotFound:       "not_found",
	CodeFull:           "full",
	CodeNotDue:         "not_due",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code_" + strconv.Itoa(int(c))
}

// codeOf turns what a decoder found into a refusal.
func codeOf(err error) Code {
	switch {
	case err == nil:
		return CodeOK
	case errors.Is(err, errUnsupported):
		return CodeUnsupported
	default:
		return CodeMalformed
	}
}
