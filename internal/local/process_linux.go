package local

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the system kill the child when this process ends in any way.
func dieWithParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
