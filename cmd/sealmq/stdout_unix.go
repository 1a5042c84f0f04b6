//go:build unix

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// wasClosed reports whether a stream was closed when this program began. The Go runtime then opens the null device in
// its place, for reading and writing, so that writes would succeed and go nowhere. A shell's >/dev/null is open for
// writing only: whoever says that throws the bytes away on purpose.
func wasClosed(stream io.Writer) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return true
	}
	if flags&unix.O_ACCMODE != unix.O_RDWR {
		return false
	}
	var here, null unix.Stat_t
	if unix.Fstat(int(f.Fd()), &here) != nil || unix.Stat(os.DevNull, &null) != nil {
		return false
	}
	return here.Mode&unix.S_IFMT == unix.S_IFCHR && here.Rdev == null.Rdev
}
