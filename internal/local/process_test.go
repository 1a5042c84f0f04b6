//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
)

// asNode makes the test program behave as `sealmq server` when it is started as one. What it does then stands in the
// node's directory in a file "behaviour".
func init() {
	if len(os.Args) != 4 || os.Args[1] != "server" || os.Args[2] != "--config" {
		return
	}
	behaviour, _ := os.ReadFile(filepath.Join(filepath.Dir(os.Args[3]), "behaviour"))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	switch string(behaviour) {
	case "fails":
		fmt.Fprintln(os.Stderr, "the disk is on fire")
		os.Exit(7)
	case "silent":
		select {}
	case "stubborn":
		fmt.Println("ready n1")
		select {}
	default:
		fmt.Println("ready n1")
		<-stop
		fmt.Fprintln(os.Stderr, "bye")
		os.Exit(0)
	}
}

func processCluster(t *testing.T, behaviour string) *Cluster {
	t.Helper()
	dir := t.TempDir()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Open(dir, []broker.Options{{Node: "n1"}})
	c.Binary = binary
	if err := os.MkdirAll(c.Nodes[0].Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Nodes[0].Dir, "behaviour"), []byte(behaviour), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func gone(pid int) bool { return syscall.Kill(pid, 0) != nil }

func TestProcessLife(t *testing.T) {
	c := processCluster(t, "")
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := c.PIDs()["n1"]
	if gone(first) {
		t.Fatal("no process")
	}
	if err := c.Kill("n1"); err != nil || !gone(first) {
		t.Fatal(err)
	}
	if err := c.Kill("n1"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("killed twice: %v", err)
	}
	if err := c.StartNode(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	second := c.PIDs()["n1"]
	if err := c.Stop(t.Context()); err != nil || !gone(second) || second == first {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(c.Nodes[0].LogFile())
	if string(log) != "bye\n" {
		t.Errorf("log: %q", log)
	}
}

func TestProcessThatFails(t *testing.T) {
	err := processCluster(t, "fails").Start(t.Context())
	for _, want := range []string{"exit status 7", "the disk is on fire"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatal(err)
		}
	}
}

func TestProcessThatIsNeverReady(t *testing.T) {
	c := processCluster(t, "silent")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := c.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(c.PIDs()) != 0 {
		t.Fatal("left a process behind")
	}
}

func TestProcessThatDoesNotStop(t *testing.T) {
	c := processCluster(t, "stubborn")
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := c.PIDs()["n1"]
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := c.Stop(ctx); err == nil || !gone(pid) {
		t.Fatalf("%v, gone %v", err, gone(pid))
	}
}

func TestRemove(t *testing.T) {
	c := processCluster(t, "")
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := c.PIDs()["n1"]
	if err := c.Remove(); err != nil || !gone(pid) {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Dir); err == nil {
		t.Fatal("the tree is still there")
	}
}
