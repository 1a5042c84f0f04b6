package testkit_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/sealmq/sealmq/internal/testkit"
)

func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	c := testkit.NewCrashFS()
	if err := c.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	if err := c.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	f, err := c.Create("/d/a", 8192)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string, off int64) {
		t.Helper()
		if n, err := f.WriteAt([]byte(s), off); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	write("synced", 0)
	if err := f.SyncData(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PowerCut(nil, 0).Open("/d/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a name that was not synced: %v", err)
	}
	if err := c.SyncDir("/d"); err != nil {
		t.Fatal(err)
	}
	write("later", 4096)

	rng := rand.New(rand.NewPCG(1, 2))
	kept, lost := 0, 0
	for range 50 {
		b, err := c.PowerCut(rng, 50).ReadFile("/d/a")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, []byte("synced")) || len(b) != 8192 {
			t.Fatalf("lost what was synced: %q", b[:6])
		}
		if bytes.HasPrefix(b[4096:], []byte("later")) {
			kept++
		} else {
			lost++
		}
	}
	if kept == 0 || lost == 0 {
		t.Errorf("of 50 cuts at 50 %% %d kept the unsynced block and %d lost it", kept, lost)
	}
}

func TestFaults(t *testing.T) {
	c := testkit.NewCrashFS()
	f, err := c.Create("/a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create("/a", 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating a file that is there: %v", err)
	}
	if _, err := c.OpenWrite("/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a file that is not there: %v", err)
	}
	var fault testkit.Fault
	c.Hook(func(op testkit.Op, name string) testkit.Fault {
		if op == testkit.OpWrite && name == "/a" {
			return fault
		}
		return testkit.Fault{}
	})
	fault = testkit.Fault{Err: syscall.EIO}
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Errorf("failed write: %d, %v", n, err)
	}
	fault = testkit.Fault{Short: true}
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 2 || err != nil {
		t.Errorf("short write: %d, %v", n, err)
	}
	if size, err := f.Size(); size != 2 || err != nil {
		t.Errorf("size after a short write: %d, %v", size, err)
	}
	fault = testkit.Fault{}
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 4 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
}

func TestKillKeepsWhatWasNotSyncedUnsynced(t *testing.T) {
	c := testkit.NewCrashFS()
	f, err := c.Create("/a", 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("abcd"), 0); err != nil {
		t.Fatal(err)
	}
	next := c.Kill()
	if err := f.SyncData(); err == nil {
		t.Error("a killed process still syncs")
	}
	if err := f.Close(); err == nil {
		t.Error("a killed process still closes")
	}
	if b, err := next.ReadFile("/a"); string(b) != "abcd" || err != nil {
		t.Errorf("the next process reads %q, %v", b, err)
	}
	if b, err := next.PowerCut(nil, 0).ReadFile("/a"); len(b) != 0 || err != nil {
		t.Errorf("after a power cut %q, %v are there", b, err)
	}
}
