package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDocumentsRun holds the shell blocks of the documents to scripts: every command line in a "sh" block stands as a
// line "# doc: ..." in the document's script, followed by what runs there in its place. Ports, hosts and paths may
// differ; that a command exists, takes these arguments and does what the text says is tried.
func TestDocumentsRun(t *testing.T) {
	for document, script := range map[string]string{
		"README.md":         "doc_readme.txtar",
		"docs/OPERATING.md": "doc_operating.txtar",
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(document)))
		if err != nil {
			t.Fatal(err)
		}
		ran, err := os.ReadFile(filepath.Join("testdata", "script", script))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(ran), "\n")
		said := shellLines(string(text))
		if len(said) == 0 {
			t.Errorf("%s has no sh block", document)
		}
		for _, command := range said {
			i := slices.Index(lines, "# doc: "+command)
			if i < 0 {
				t.Errorf("%s says %q, which %s does not run", document, command, script)
			} else if i+1 == len(lines) || lines[i+1] == "" || strings.HasPrefix(lines[i+1], "#") {
				t.Errorf("%s: nothing runs behind %q", script, lines[i])
			}
		}
		for _, line := range lines {
			if command, ok := strings.CutPrefix(line, "# doc: "); ok && !slices.Contains(said, command) {
				t.Errorf("%s runs %q, which %s does not say any more", script, command, document)
			}
		}
	}
}

// shellLines returns the command lines of the sh blocks of a Markdown text.
func shellLines(text string) (lines []string) {
	inside := false
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "```"):
			inside = !inside && line == "```sh"
		case inside && line != "":
			lines = append(lines, line)
		}
	}
	return lines
}
