package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func policies(t *testing.T) map[uint32]int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint32]int{}
	for _, task := range tasks {
		thread, _ := strconv.Atoi(task.Name())
		if attr, err := unix.SchedGetAttr(thread, 0); err == nil {
			found[attr.Policy]++
		} else if err != unix.ESRCH {
			t.Fatal(err)
		}
	}
	return found
}

func setPolicy(thread int, policy uint32) error {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err == nil {
		attr.Policy = policy
		err = unix.SchedSetAttr(thread, attr, 0)
	}
	return err
}

func TestScheduleAsBatch(t *testing.T) {
	t.Cleanup(func() {
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			thread, _ := strconv.Atoi(task.Name())
			setPolicy(thread, unix.SCHED_NORMAL)
		}
	})
	if err := scheduleAsBatch(); err == unix.EPERM || err == unix.ENOSYS {
		t.Skip("this system does not let a process choose: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	// Threads of later are started by those that there are.
	var locked, ready sync.WaitGroup
	release := make(chan struct{})
	for range 8 {
		ready.Add(1)
		locked.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-release
		})
	}
	ready.Wait()
	found := policies(t)
	close(release)
	locked.Wait()
	if found[unix.SCHED_BATCH] < 8 || found[unix.SCHED_NORMAL] != 0 {
		t.Errorf("threads by policy: %v", found)
	}
}

func TestAChosenPolicyStays(t *testing.T) {
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		runtime.LockOSThread() // and the thread ends with the goroutine
		thread := unix.Gettid()
		if err := setPolicy(thread, unix.SCHED_IDLE); err != nil {
			if err != unix.EPERM && err != unix.ENOSYS {
				t.Error(err)
			}
			return
		}
		if err := threadAsBatch(thread); err != nil {
			t.Error(err)
		}
		if attr, err := unix.SchedGetAttr(thread, 0); err != nil || attr.Policy != unix.SCHED_IDLE {
			t.Errorf("policy %d, %v", attr.Policy, err)
		}
	}()
	<-checked
}

func TestStayOn(t *testing.T) {
	free, err := processors()
	if err != nil || len(free) != runtime.NumCPU() {
		t.Fatalf("%v of %d processors, %v", free, runtime.NumCPU(), err)
	}
	other := exec.Command("sleep", "600")
	if err := other.Start(); err != nil {
		t.Skip("no other process to try it on: ", err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	for _, processor := range free {
		if err := stayOn(other.Process.Pid, processor); err == unix.EPERM || err == unix.ENOSYS {
			t.Skip("this system does not let a process choose: ", err)
		} else if err != nil {
			t.Fatal(err)
		}
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(other.Process.Pid, &set); err != nil || set.Count() != 1 || !set.IsSet(processor) {
			t.Errorf("kept on %d: %d processors, %v", processor, set.Count(), err)
		}
	}
}
