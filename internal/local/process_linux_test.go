package local

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
)

// A parent is this program as something that starts a node and is then killed without warning.
func init() {
	if len(os.Args) != 3 || os.Args[1] != "parent" {
		return
	}
	c := Open(os.Args[2], []broker.Options{{Node: "n1"}})
	c.Binary, _ = os.Executable()
	if err := c.launch(c.Nodes[0]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.PIDs()["n1"])
	select {}
}

func TestNodesDieWithTheirParent(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "nodes", "n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(binary, "parent", dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := out.Read(line)
	pid, bad := strconv.Atoi(string(bytes.TrimSpace(line[:n])))
	parent.Process.Kill()
	parent.Wait()
	if err != nil || bad != nil {
		t.Fatalf("%q, %v", line[:n], err)
	}
	// The system does it at its own pace: the loop ends with the child or with the test's own time limit.
	for alive(pid) {
		time.Sleep(time.Millisecond)
	}
}

// alive says no for a zombie too: who collects it is not this package's business.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}
