package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write golden files instead of comparing with them")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sealmq": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			// Nothing of the person who runs the tests: neither home nor context.
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_CONFIG_HOME", "")
			e.Setenv("SEALMQ_CONTEXT", "")
			return os.MkdirAll(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "field": field, "noprocess": noProcess, "until": until, "signal": signalTo,
		},
	})
}

// exits CODE COMMAND...: runs a command and compares its exit code. stdout and stderr can be looked at afterwards.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, not %s", got, args[0])
	}
}

// await FILE: waits until it, or one that a pattern names, is there. The test's own time limit ends the wait.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for path := ts.MkAbs(args[0]); ; time.Sleep(5 * time.Millisecond) {
		if found, err := filepath.Glob(path); err != nil || len(found) > 0 {
			ts.Check(err)
			return
		}
	}
}

// signal NAME WORD: signals the background commands that have WORD among their arguments.
func signalTo(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if neg || len(args) != 2 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal INT|TERM|HUP WORD")
	}
	sent := false
	for _, c := range ts.BackgroundCmds() {
		if slices.Contains(c.Args, args[1]) {
			ts.Check(c.Process.Signal(signals[args[0]]))
			sent = true
		}
	}
	if !sent {
		ts.Fatalf("no background command has the argument %s", args[1])
	}
}

// noprocess DIR: no process has DIR in its arguments.
func noProcess(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: noprocess DIR")
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && bytes.Contains(line, []byte(args[0])) {
			ts.Fatalf("still running: %q", line)
		}
	}
}

// until PATTERN COMMAND...: runs the command again and again, until its stdout has the pattern: on a machine with other
// work a cluster may be between two leaders.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND...")
	}
	for pattern := regexp.MustCompile(args[0]); ; time.Sleep(20 * time.Millisecond) {
		ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
}

// field VARIABLE NAME: takes a field of the JSON document on stdout into an environment variable.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field VARIABLE NAME")
	}
	var d map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &d))
	text, ok := d[args[1]].(string)
	if !ok {
		ts.Fatalf("no text field %s in %v", args[1], d)
	}
	ts.Setenv(args[0], text)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed; if that is meant to be: go test ./cmd/sealmq -update\ngot:\n%s", path, got)
	}
}

// TestCommands holds the names of all commands, arguments and flags: scripts of other people stand on them.
func TestCommands(t *testing.T) {
	var b strings.Builder
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		b.WriteString(c.CommandPath() + strings.TrimPrefix(c.Use, c.Name()) + "\n")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			line := "    --" + f.Name
			if f.Shorthand != "" {
				line += " -" + f.Shorthand
			}
			b.WriteString(line + " " + f.Value.Type() + " " + f.DefValue + "\n")
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	root := newRoot(&app{out: newOutput(new(bytes.Buffer), new(bytes.Buffer))})
	root.InitDefaultCompletionCmd()
	walk(root)
	golden(t, "commands.golden", []byte(b.String()))
}

// TestHelp looks at every command: a person who asks gets an answer.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no help", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&app{out: newOutput(new(bytes.Buffer), new(bytes.Buffer))}))
}
