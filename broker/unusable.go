package broker

import (
	"errors"
	"io/fs"
	"syscall"
)

// SystemError says that the system refused what a node needs of its files. Nothing is wrong with what they hold, as
// far as this node could see. The command line exits with 1.
type SystemError struct {
	Path   string
	Advice string // what to do
	Err    error
}

func (e *SystemError) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *SystemError) Unwrap() error { return e.Err }

// advice is what helps against an error of the system.
var advice = []struct {
	err  error
	does string
}{
	{syscall.ENOSPC, "make room on that disk and start the node again"},
	{syscall.EDQUOT, "raise the quota, or make room, and start the node again"},
	{syscall.EMFILE, "raise the limit of open files (ulimit -n; LimitNOFILE= in a unit) to 4096 or more"},
	{syscall.ENFILE, "raise the system's limit of open files"},
	{syscall.EROFS, "mount that file system for writing"},
	{syscall.ENOMEM, "give the node more memory, or lower limits.memory"},
	{syscall.EIO, "the disk fails: look into the system's log; the other nodes have what this one held"},
	{fs.ErrPermission, "give the directory and all in it to the user that the node runs as: chown -R"},
}

// unusable says why a node's files cannot be used, and what to do about it. begun is whether writing to them has begun.
func unusable(path string, err error, begun bool) error {
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return &SystemError{Path: path, Advice: a.does, Err: err}
		}
	}
	return &DataError{
		Path: path, Err: err, Begun: begun, Reason: "cannot be used; the other nodes have what it held. Keep it aside",
	}
}
