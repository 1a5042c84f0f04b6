package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

// output is the only way out: data on stdout, as a table for people or one JSON document for machines, and everything
// else on stderr.
type output struct {
	stdout, stderr io.Writer
	stdoutTerminal bool
	stderrTerminal bool
	stdoutClosed   bool // it was when this program began

	json    bool
	quiet   bool
	verbose bool

	mu       sync.Mutex // lines of several goroutines do not mix; a leaf
	progress bool       // a progress line stands on stderr and must be wiped before the next one
}

func newOutput(stdout, stderr io.Writer) *output {
	return &output{
		stdout: stdout, stderr: stderr, stdoutTerminal: isTerminal(stdout), stderrTerminal: isTerminal(stderr),
		stdoutClosed: wasClosed(stdout),
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A document is what a command answers: its JSON form is the struct itself, whose first field is the kind; render
// writes it for people.
type document interface{ render(p *page) }

// document writes d to stdout. The error is that of writing: a closed stdout.
func (o *output) document(d document) error {
	var text []byte
	if o.json {
		text = marshal(d)
	} else {
		p := &page{verbose: o.verbose}
		d.render(p)
		text = []byte(p.b.String())
	}
	return o.body(text)
}

// received is what has to be called before a message is written that is acknowledged afterwards: a stdout that was
// closed from the start takes everything and keeps nothing.
func (o *output) received() error {
	if o.stdoutClosed {
		return syscall.EPIPE
	}
	return nil
}

// body writes bytes to stdout as they are.
func (o *output) body(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wipeLocked()
	_, err := o.stdout.Write(b)
	return err
}

// say tells the person something that is not data. With --quiet it is silent.
func (o *output) say(format string, args ...any) {
	if !o.quiet {
		o.line(fmt.Sprintf(format, args...))
	}
}

// detail says what only --verbose wants to know.
func (o *output) detail(format string, args ...any) {
	if o.verbose {
		o.line(fmt.Sprintf(format, args...))
	}
}

// step shows where a long command is: on a terminal in one line that is written over; elsewhere only --verbose wants to
// know, a line for each.
func (o *output) step(format string, args ...any) {
	if o.quiet || o.json && !o.verbose || !o.stderrTerminal {
		o.detail(format, args...)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wipeLocked()
	fmt.Fprintf(o.stderr, format, args...)
	o.progress = true
}

func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wipeLocked()
	io.WriteString(o.stderr, text+"\n")
}

func (o *output) wipeLocked() {
	if o.progress {
		io.WriteString(o.stderr, "\r\x1b[K")
		o.progress = false
	}
}

// problem reports why a command failed.
func (o *output) problem(p problem) {
	if o.json {
		o.line(strings.TrimSuffix(string(marshal(p.document())), "\n"))
		return
	}
	o.line("sealmq: " + p.message)
	if p.hint != "" {
		o.line("  " + strings.ReplaceAll(p.hint, "\n", "\n  "))
	}
}

// marshal never fails for the documents of this program: they hold strings, numbers, times and slices of them.
func marshal(d any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		panic(fmt.Sprintf("document without a JSON form: %v", err))
	}
	return []byte(b.String())
}

// A page collects what a document shows to people.
type page struct {
	b       strings.Builder
	verbose bool
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.b, format+"\n", args...)
}

// table writes columns under headings. Nothing is written for a table without rows: an empty list is silence.
func (p *page) table(heading []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	if heading != nil {
		rows = append([][]string{heading}, rows...)
	}
	p.line("%s", columns(rows))
}

// stamp is a time as every document shows it: RFC 3339 in UTC, null when there is none.
type stamp time.Time

func (s stamp) MarshalJSON() ([]byte, error) {
	if time.Time(s).IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + s.String() + `"`), nil
}

func (s stamp) String() string {
	if time.Time(s).IsZero() {
		return "-"
	}
	return time.Time(s).UTC().Format("2006-01-02T15:04:05.000Z")
}

// millis is a time span as a number with one decimal, for fields named _ms.
func millis(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}

// humanBytes writes a size for people.
func humanBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if value /= 1000; value < 1000 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// humanCount groups digits by threes.
func humanCount(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
