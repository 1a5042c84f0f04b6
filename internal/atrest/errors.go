package atrest

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged means that bytes are not what was sealed: flipped, cut, moved, renamed or from another store.
	ErrDamaged = errors.New("sealed data is damaged")
	// ErrWrongKey means that the ring file is whole but was not sealed for this root key.
	ErrWrongKey = errors.New("wrong root key")
	// ErrVersion means a format, suite or key derivation that this program does not know.
	ErrVersion = errors.New("unknown sealed format version")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

func unknownVersion(what string, version byte) error {
	return fmt.Errorf("%w: %s %d", ErrVersion, what, version)
}
