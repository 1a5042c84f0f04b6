//go:build unix

package local

import (
	"errors"
	"os"
	"syscall"
)

// interrupt asks a process to finish what it has begun.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

func addressInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
