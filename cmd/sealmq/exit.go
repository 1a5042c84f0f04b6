package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/internal/local"
)

// Exit codes. They are part of the interface and never used for anything else.
const (
	exitDone        = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnreachable = 5
	exitConflict    = 6
	exitIntegrity   = 7
	exitLocked      = 8
	exitPartial     = 9
	exitEmpty       = 10
	exitUnknown     = 12
)

// exitCodes is what people are told about them.
var exitCodes = []struct {
	code           int
	meaning, again string
}{
	{exitDone, "done; also when nothing was there", ""},
	{exitFailure, "unexpected failure; for a node: a failed write or fsync", "no"},
	{exitUsage, "wrong use or configuration; nothing was sent", "no"},
	{exitNotFound, "no such mailbox, identity or grant", "no"},
	{exitDenied, "not authenticated or not allowed; the message says who lacks which right", "no"},
	{exitUnreachable, "nobody answered, no leader, or out of time before anything was done", "yes"},
	{exitConflict, "exists already, was changed meanwhile, or the lease was lost", "no"},
	{exitIntegrity, "a seal, a signature or stored bytes did not verify; for a node: damaged or foreign data", "no"},
	{exitLocked, "the key for the data is not there", "when it is"},
	{exitPartial, "some items were done, the list on stdout says which; send --reply: stored, and no answer came",
		"those that were not"},
	{exitEmpty, "recv --exit-empty found nothing", "later"},
	{exitUnknown, "sent, and the answer was lost: it may have happened", "with the same --dedup-key"},
}

// problem is an error as it is told: how the program exits, and what stands on stderr.
type problem struct {
	exit      int
	code      string
	message   string
	hint      string
	outcome   string
	retryable bool
	silent    bool
}

func (p problem) document() errorDoc {
	return errorDoc{
		Kind: "Error", Code: p.code, Message: p.message, Hint: p.hint, Outcome: p.outcome, Retryable: p.retryable,
	}
}

// failure is an error of this program's own.
type failure struct {
	exit    int
	code    string
	message string
	hint    string
	silent  bool
	again   bool // the same may work later; an error of the client's inside says so itself
	err     error
}

func (f *failure) Error() string { return f.message }

func (f *failure) Unwrap() error { return f.err }

// usage is an error in how the program was called.
func usage(format string, args ...any) error {
	return &failure{exit: exitUsage, code: "usage", message: fmt.Sprintf(format, args...)}
}

// failedDisk ends a node whose disk can no longer be trusted.
func failedDisk(err error) error {
	return &failure{
		exit: exitFailure, code: "disk_failed", message: "a write or fsync failed: " + err.Error(), err: err,
		hint: "nothing acknowledged is lost: the other nodes have it. Look at the disk before starting this node again",
	}
}

// keyHint is what to do when there is no key for the data.
const keyHint = "nothing was changed; the key file that `sealmq init` made opens this data, no other does"

// notThere is an error about a name that does not exist here.
func notThere(hint, format string, args ...any) error {
	return &failure{exit: exitNotFound, code: "not_found", message: fmt.Sprintf(format, args...), hint: hint}
}

var (
	errEmpty  = &failure{exit: exitEmpty, silent: true, message: "nothing there"}
	errAtOnce = &failure{exit: exitFailure, silent: true, message: "ended at once"}
)

// withHint says what to do next about an error that has no better advice of its own.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	p := explain(err, false)
	if p.hint != "" {
		return err
	}
	return &failure{exit: p.exit, code: p.code, message: p.message, hint: fmt.Sprintf(format, args...), err: err}
}

// advise says what to do next, in the place of what is said everywhere.
func advise(err error, format string, args ...any) error {
	p := explain(err, false)
	return &failure{exit: p.exit, code: p.code, message: p.message, hint: fmt.Sprintf(format, args...), err: err}
}

// hintOn says what to do next about one code, in the place of the advice that fits the code everywhere.
func hintOn(code client.Code, err error, format string, args ...any) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Code != code {
		return err
	}
	return advise(err, format, args...)
}

// explain turns an error into what is told about it. early means that no command had begun, so that the error is
// about how the program was called.
func explain(err error, early bool) problem {
	p := problem{exit: exitFailure, code: "failure", message: err.Error(), outcome: "definite"}
	var (
		own     *failure
		config  configErrors
		option  *broker.ConfigError
		data    *broker.DataError
		rootKey *broker.KeyError
		port    *local.PortError
		remote  *client.Error
		changed *client.KeyChangedError
	)
	switch {
	case errors.As(err, &own):
		p.exit, p.code, p.hint, p.silent, p.retryable = own.exit, own.code, own.hint, own.silent, own.again
		if errors.As(err, &remote) {
			p.outcome, p.retryable = remote.Outcome.String(), remote.Retryable
		}
	case errors.As(err, &config) && config.locked():
		p.exit, p.code, p.hint = exitLocked, "no_key", keyHint
	case errors.As(err, &config):
		p.exit, p.code, p.hint = exitUsage, "config", "nothing was started"
	case errors.As(err, &option):
		p.exit, p.code = exitUsage, "config"
	case errors.Is(err, broker.ErrInUse):
		p.exit, p.code = exitConflict, "in_use"
		p.hint = "another sealmq server runs on it: stop that one first. Nothing was changed"
	case errors.As(err, &data):
		p.exit, p.code, p.hint = exitIntegrity, "data", "nothing was changed"
	case errors.As(err, &rootKey):
		p.exit, p.code, p.hint = exitLocked, "no_key", keyHint
	case errors.As(err, &port):
		p.exit, p.code, p.hint = exitUsage, "port_taken", "choose another base with --port, or free ones with --port 0"
	case errors.Is(err, local.ErrExists):
		p.exit, p.code = exitConflict, "exists"
		p.hint = "choose another directory, or delete that one if you are done with it"
	case errors.Is(err, local.ErrNotLoopback):
		p.exit, p.code = exitUsage, "not_loopback"
		p.hint = "a cluster for other machines is made with: sealmq init"
	case errors.As(err, &changed):
		p.exit, p.code, p.hint = exitIntegrity, "key_changed", changed.Advice()
		p.message = fmt.Sprintf("the identity key of %q has changed: pinned %s, now %s",
			changed.Name, changed.Pinned, changed.Offered)
	case errors.As(err, &remote):
		p = explainRemote(remote)
		if errors.Is(err, context.Canceled) && p.exit != exitUnknown {
			p.exit, p.code, p.message, p.hint = exitFailure, "interrupted", "interrupted", ""
		}
	case errors.Is(err, context.Canceled):
		p.code, p.message = "interrupted", "interrupted"
	case errors.Is(err, syscall.EPIPE):
		p.code, p.message = "closed_stdout", "stdout was closed before everything was written"
	case errors.Is(err, fs.ErrNotExist):
		p.exit, p.code = exitNotFound, "not_found"
	case early:
		p.exit, p.code, p.hint = exitUsage, "usage", "sealmq help shows how it is used"
	}
	return p
}

// exitOf is the exit code for what a node or the client answered. What is not listed is unexpected.
var exitOf = map[client.Code]int{
	client.CodeNotFound:           exitNotFound,
	client.CodeMailboxGone:        exitNotFound,
	client.CodePermissionDenied:   exitDenied,
	client.CodeUnauthenticated:    exitDenied,
	"wrong_cluster":               exitDenied,
	client.CodeUnreachable:        exitUnreachable,
	client.CodeTimeout:            exitUnreachable,
	"unavailable":                 exitUnreachable,
	"not_leader":                  exitUnreachable,
	"overloaded":                  exitUnreachable,
	"rate_limited":                exitUnreachable,
	"shutting_down":               exitUnreachable,
	"idle":                        exitUnreachable,
	client.CodeFull:               exitUnreachable,
	client.CodeExists:             exitConflict,
	client.CodePreconditionFailed: exitConflict,
	client.CodeIDConflict:         exitConflict,
	client.CodeIDTooOld:           exitConflict,
	client.CodeLeaseLost:          exitConflict,
	client.CodeNoKey:              exitConflict,
	client.CodeClockSkew:          exitConflict,
	"session_limit":               exitConflict,
	"expired":                     exitConflict,
	client.CodeKeyChanged:         exitIntegrity,
	client.CodeBadSeal:            exitIntegrity,
	client.CodeTooLarge:           exitUsage,
	client.CodeBadRequest:         exitUsage,
	client.CodeConfig:             exitUsage,
}

func explainRemote(e *client.Error) problem {
	p := problem{
		exit: exitFailure, code: string(e.Code), hint: e.Hint, outcome: e.Outcome.String(), retryable: e.Retryable,
	}
	if exit, known := exitOf[e.Code]; known {
		p.exit = exit
	}
	plain := *e
	plain.Hint = ""
	p.message = plain.Error()
	switch {
	case e.Outcome == client.Unknown:
		p.exit = exitUnknown
		p.hint = strings.TrimSuffix("it may have happened: look before you do it again\n"+p.hint, "\n")
	case p.hint != "":
	case e.Code == client.CodeUnreachable, e.Code == client.CodeTimeout:
		p.hint = "is the cluster running? A cluster on this machine is started with: sealmq dev"
	case p.exit == exitUnreachable:
		p.hint = "the cluster is there and cannot do it now: see sealmq status, then try again"
	case e.Code == client.CodeConfig:
		p.hint = "nothing was sent: put right what is named there, and try again"
	}
	return p
}
