package main

import (
	"fmt"
	"strings"
)

// tally is how the items of one request went: handles, or the names of mailboxes.
type tally struct {
	done   int
	failed []itemFailure
}

type itemFailure struct {
	name string
	err  error
}

// note counts one item in.
func (t *tally) note(name string, err error) {
	if err == nil {
		t.done++
		return
	}
	t.failed = append(t.failed, itemFailure{name, err})
}

// failuresTold is how many failures an error names: the list on stdout has them all.
const failuresTold = 10

// err is nil if everything was done. If some items were done and some were not, the exit code says so; if none was, it
// is that of the first failure.
func (t *tally) err() error {
	if len(t.failed) == 0 {
		return nil
	}
	first := t.failed[0].err
	if t.done == 0 && len(t.failed) == 1 {
		return first
	}
	var lines []string
	for i, f := range t.failed {
		if i == failuresTold {
			lines = append(lines, fmt.Sprintf("and %d more", len(t.failed)-i))
			break
		}
		lines = append(lines, f.name+": "+explain(f.err, false).message)
	}
	if t.done == 0 {
		p := explain(first, false)
		return &failure{exit: p.exit, code: p.code, message: strings.Join(lines, "\n"), hint: p.hint, err: first}
	}
	return &failure{
		exit: exitPartial, code: "partial", hint: "the list on stdout says which were done; the others may be tried again",
		message: fmt.Sprintf("%d of %d failed\n%s", len(t.failed), len(t.failed)+t.done, strings.Join(lines, "\n")),
	}
}
