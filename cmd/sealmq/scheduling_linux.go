package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// scheduleAsBatch has the threads of this process, and those that they start, scheduled as SCHED_BATCH: when one wakes
// up, it does not take a processor from one that works. Nodes and clients that share a machine then work through what
// has come in while it is in the caches, instead of handing every piece on at once (docs/decisions/0013). A policy that
// somebody chose stays as it is.
func scheduleAsBatch() error { return eachThread(os.Getpid(), threadAsBatch) }

func threadAsBatch(thread int) error {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return err
	}
	attr.Policy, attr.Runtime = unix.SCHED_BATCH, 0 // of the system's time slice, whatever it becomes
	return unix.SchedSetAttr(thread, attr, 0)
}

// processors are those that this process may use.
func processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var found []int
	for i := 0; len(found) < set.Count(); i++ {
		if set.IsSet(i) {
			found = append(found, i)
		}
	}
	return found, nil
}

// stayOn keeps the threads of a process, and those that they start, on one processor.
func stayOn(pid, processor int) error {
	var set unix.CPUSet
	set.Set(processor)
	return eachThread(pid, func(thread int) error { return unix.SchedSetaffinity(thread, &set) })
}

// eachThread calls do for every thread of a process, also for those that start before their starter's turn comes. What
// do sets must be what a thread hands on to those that it starts.
func eachThread(pid int, do func(thread int) error) error {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	if pid == os.Getpid() {
		dir = "/proc/self/task" // which is right where /proc shows the processes of another name space, too
	}
	seen := map[int]bool{}
	for {
		tasks, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		before := len(seen)
		for _, task := range tasks {
			thread, err := strconv.Atoi(task.Name())
			if err != nil || seen[thread] {
				continue
			}
			seen[thread] = true
			if err := do(thread); err != nil && err != unix.ESRCH {
				return err
			}
		}
		if len(seen) == before {
			return nil
		}
	}
}
