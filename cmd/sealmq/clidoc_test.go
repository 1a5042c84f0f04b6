package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestCLIDocument keeps docs/CLI.md as the commands say. With -update it writes the page.
func TestCLIDocument(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "CLI.md")
	got := cliDocument()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("docs/CLI.md is not there; go test ./cmd/sealmq -run TestCLIDocument -update writes it")
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/CLI.md is out of date: go test ./cmd/sealmq -run TestCLIDocument -update")
	}
}

func cliDocument() []byte {
	var b bytes.Buffer
	b.WriteString("# Command line\n\nGenerated from the program; `sealmq help COMMAND` says the same.\n\n")
	root := newRoot(&app{out: newOutput(new(bytes.Buffer), new(bytes.Buffer))})
	root.InitDefaultCompletionCmd()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" {
			return
		}
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", c.CommandPath(), c.Short)
		if c.Long != "" {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", strings.TrimSpace(c.Long))
		}
		if c.Runnable() {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", c.UseLine())
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "```\n%s\n```\n\n", c.Example)
		}
		if usages := c.LocalFlags().FlagUsages(); usages != "" {
			fmt.Fprintf(&b, "```\n%s```\n\n", usages)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return append(bytes.TrimRight(b.Bytes(), "\n"), 0x0a)
}
