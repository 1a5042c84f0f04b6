//go:build !linux

package bench

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// What another process has used is not read on this system; reports leave it out.
func processUsage(int) (time.Duration, int64, error) { return 0, 0, errors.ErrUnsupported }

func ownCPU() time.Duration { return 0 }

func machineCPU() time.Duration { return 0 }

func allocated(info fs.FileInfo) int64 { return info.Size() }

func fdatasync(f *os.File) error { return f.Sync() }

func preallocate(f *os.File, size int64) error { return f.Truncate(size) }

func cpuName() string { return "" }
