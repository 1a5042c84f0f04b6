package journal

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound means that the log has no such entry, or one of another term.
	ErrNotFound = errors.New("no such log entry")
	// ErrEmpty means that the directory holds no journal at all.
	ErrEmpty = errors.New("no journal in this directory")
	// ErrClosed means that the journal was closed before the call was taken up: nothing was written.
	ErrClosed = errors.New("journal is closed")
	// ErrFailed means that a write or sync has failed, now or earlier. What the call asked for may or may not be durable.
	ErrFailed = errors.New("journal has failed")
	// ErrNoSpace means that no space could be reserved for the next segment. Nothing was written.
	ErrNoSpace = errors.New("no space for another journal segment")
	// ErrTooLarge means an entry, a candidate's name or a number of groups above its limit. Nothing was written.
	ErrTooLarge = errors.New("above the journal's limit")
	// ErrStale means that a call would take a term, a vote or a base back. Nothing was written.
	ErrStale = errors.New("journal state never goes back")
	// ErrVersion means a block of a format that this program does not know.
	ErrVersion = errors.New("unknown journal format version")
)

// DamagedError says that bytes which were durable are not there any more, or not as they were written.
type DamagedError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("journal is damaged: %s at offset %d: %s", e.File, e.Offset, e.Reason)
}
