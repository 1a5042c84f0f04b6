package local

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// process is a node as `BINARY server --config FILE`. It says on stdout, with one line, that it is ready.
type process struct {
	command *exec.Cmd
	log     string // path of its log, to quote from when it ends early
	isReady chan struct{}
	done    chan struct{}
	err     error // how it ended; read after done
}

func startProcess(binary string, n *Node) (instance, error) {
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	ready, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	command := exec.Command(binary, "server", "--config", n.ConfigFile())
	command.Stdout, command.Stderr = stdout, log
	command.Env = nodeEnvironment(os.Environ())
	dieWithParent(command)
	p := &process{command: command, log: n.LogFile(), isReady: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		ready.Close()
		return nil, err
	}
	go p.listen(ready)
	return p, nil
}

// nodeEnvironment takes this product's own variables out: a setting meant for the command that starts a cluster must
// not reach its nodes, where it would mean another thing.
func nodeEnvironment(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "SEALMQ_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// run owns the child from birth to death on one thread of its own: the system ties "dies with its parent" to the
// thread that started it, and ends the child when that thread ends, so the thread must live as long.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	err := p.command.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.command.Wait()
	close(p.done)
}

// listen waits for the line that says ready, and drops whatever else comes on stdout.
func (p *process) listen(stdout *os.File) {
	defer stdout.Close()
	r := bufio.NewReader(stdout)
	line, _ := r.ReadString('\n')
	if strings.HasPrefix(line, "ready ") {
		close(p.isReady)
	}
	io.Copy(io.Discard, r)
}

func (p *process) ready(ctx context.Context) error {
	select {
	case <-p.isReady:
		return nil
	case <-p.done:
		return fmt.Errorf("it ended (%v); the end of %s:\n%s", p.exit(), p.log, tail(p.log))
	case <-ctx.Done():
		return fmt.Errorf("%w; the end of %s:\n%s", context.Cause(ctx), p.log, tail(p.log))
	}
}

func (p *process) exit() string {
	if p.err != nil {
		return p.err.Error()
	}
	return "exit status 0"
}

func (p *process) stop(ctx context.Context) error {
	if err := interrupt(p.command.Process); err != nil {
		p.kill()
		return nil
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *process) kill() {
	p.command.Process.Kill() // it may have ended already
	<-p.done
}

func (p *process) ended() <-chan struct{} { return p.done }

func (p *process) pid() int { return p.command.Process.Pid }

// tail is the last few lines of a log.
func tail(path string) string {
	const lines, size = 5, 4096
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > size {
		f.Seek(-size, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	all := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
