// Command sealmq is the whole product in one program: a node, a cluster for trying things out, the demo, the command
// line, the load generator and the tools that look into files.
//
// There is a file for each group of commands, and each command turns flags into options and makes one call. Three
// files know something that no other does: output.go prints, exit.go knows exit codes, config.go reads a node's
// configuration.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	// With a listener for it, writing to a closed stdout is an error like any other instead of the end of the program:
	// `recv` must give its message back.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is one invocation.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{out: newOutput(stdout, stderr), stdin: stdin}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if !a.began {
		a.out.json = asksForJSON(args)
	}
	p := explain(err, !a.began)
	if !p.silent {
		a.out.problem(p)
	}
	return p.exit
}

// asksForJSON looks for -o json where the arguments could not be read as a whole.
func asksForJSON(args []string) bool {
	line := " " + strings.Join(args, " ") + " "
	for _, form := range []string{" -o json ", " -ojson ", " -o=json ", " --output json ", " --output=json "} {
		if strings.Contains(line, form) {
			return true
		}
	}
	return false
}
