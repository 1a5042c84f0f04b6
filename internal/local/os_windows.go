package local

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// interrupt: a process cannot be asked to stop from outside here; the caller ends it.
func interrupt(*os.Process) error { return errors.ErrUnsupported }

func addressInUse(err error) bool { return errors.Is(err, windows.WSAEADDRINUSE) }
