package bench

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for everything that it shows to programs.
const ticksPerSecond = 100

// processUsage reads /proc/PID/stat: fields 14 and 15 are the ticks in user and system mode, 24 the resident pages.
// The second field is the program's name and may hold anything, so counting begins behind its closing parenthesis.
func processUsage(pid int) (cpu time.Duration, rssBytes int64, err error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	field := func(n int) int64 { // numbered as in proc(5)
		if err != nil || n-3 >= len(fields) {
			err = fmt.Errorf("%s has too few fields", path)
			return 0
		}
		var v int64
		v, err = strconv.ParseInt(fields[n-3], 10, 64)
		return v
	}
	ticks := field(14) + field(15)
	pages := field(24)
	return time.Duration(ticks) * time.Second / ticksPerSecond, pages * int64(os.Getpagesize()), err
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// machineCPU reads the first line of /proc/stat: ticks of all processors in user, nice, system, idle, iowait, irq,
// softirq and steal; what follows is counted in the first two already.
func machineCPU() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var busy int64
	for i, field := range strings.Fields(string(line)) {
		const idle, iowait, steal = 4, 5, 8
		if i == 0 || i == idle || i == iowait || i > steal {
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		busy += n
	}
	return time.Duration(busy) * time.Second / ticksPerSecond
}

// allocated is what a file takes on disk, which preallocation and holes set apart from its length.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

func fdatasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

func preallocate(f *os.File, size int64) error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) }

func cpuName() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return ""
}
