package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// scheduleAsBatch has the threads of this process, and those that they start, scheduled as SCHED_BATCH: when one wakes
// up, it does not take a processor from one that works. Nodes and clients that share a machine then work through what
// has come in while it is in the caches, instead of handing every piece on at once (docs/decisions/0013). A policy that
// somebody chose stays as it is.
func scheduleAsBatch() error {
	seen := map[int]bool{}
	for {
		tasks, err := os.ReadDir("/proc/self/task")
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
			if err := threadAsBatch(thread); err != nil && err != unix.ESRCH {
				return err
			}
		}
		if len(seen) == before { // nor did a thread start another one before its turn came
			return nil
		}
	}
}

func threadAsBatch(thread int) error {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return err
	}
	attr.Policy, attr.Runtime = unix.SCHED_BATCH, 0 // of the system's time slice, whatever it becomes
	return unix.SchedSetAttr(thread, attr, 0)
}
