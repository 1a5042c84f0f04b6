package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
)

const devHelp = `Runs a cluster inside this process, for trying things out: real nodes with TLS, rights and
encryption on, three identities (you, echo, and admin, who may grant), and a service that sends back
whatever comes into the mailbox "echo".

Everything is in one directory. It survives a restart; delete the directory to start over. Other
machines cannot reach it. Stop it with Ctrl-C.`

// devServices are who lives in a dev cluster. The first one is who commands act as.
var devServices = []service{
	{name: "you", role: local.Service, mailbox: true, grants: []right{{"send,peek,stat,manage,admin", ">"}}},
	{name: "echo", role: local.Service, mailbox: true, grants: []right{{"manage", "echo"}, {"send", ">"}}},
}

func newDev(a *app) *cobra.Command {
	d := &dev{app: a}
	c := &cobra.Command{
		Use: "dev", Short: "Run a cluster on this machine to try things out", Long: devHelp, Args: cobra.NoArgs,
	}
	c.Flags().IntVar(&d.nodes, "nodes", 3, "how many nodes")
	c.Flags().StringVar(&d.dir, "data", "sealmq-dev", "`DIR` that holds everything")
	c.Flags().IntVar(&d.port, "port", local.BasePort, "client port of n1, further nodes +10; 0 picks free ports")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		d.nodesGiven, d.portGiven = cmd.Flags().Changed("nodes"), cmd.Flags().Changed("port")
		return d.run(cmd.Context())
	}
	return c
}

type dev struct {
	*app
	nodes, port           int
	nodesGiven, portGiven bool
	dir                   string

	logs   []*os.File
	failed chan error
}

// readyWithin is how long a cluster on this machine may take to be ready before something is wrong with it.
const readyWithin = 30 * time.Second

func (d *dev) run(ctx context.Context) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	err := d.serve(ctx, stop)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // asked to stop while it was starting: that is how it ends
	}
	return err
}

// serve runs the cluster until ctx ends; after stop a second signal ends the program at once.
func (d *dev) serve(ctx context.Context, stop func()) error {
	began := time.Now()
	d.failed = make(chan error, 16)
	cluster, fresh, err := d.cluster()
	if err != nil {
		return err
	}
	defer d.closeLogs()
	cluster.Logger = d.logger
	cluster.Fatal = func(node string, err error) { d.failed <- fmt.Errorf("%s: %w", node, err) }
	defer cluster.Close()
	linked := d.link()
	starting, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	home, err := inhabit(starting, cluster, "dev", devServices)
	if err != nil {
		return withHint(err, "the logs are in %s", filepath.Join(d.dir, "nodes", "*", "log"))
	}
	echo, err := startEcho(ctx, home.context, d.out)
	if err != nil {
		return err
	}
	defer echo.stop()
	if err := d.out.document(d.describe(home, fresh, linked, time.Since(began))); err != nil {
		return err
	}
	select {
	case err := <-d.failed:
		return failedDisk(err)
	case <-ctx.Done():
	}
	stop()
	echo.stop()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return cluster.Stop(limited)
}

// cluster makes the tree or opens the one that is there.
func (d *dev) cluster() (c *local.Cluster, fresh bool, err error) {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		c, err = provision(
			local.Options{Dir: d.dir, Nodes: d.nodes, Port: d.port, Version: buildVersion().Version}, "data")
		return c, true, err
	}
	if err != nil {
		return nil, false, usage("--data %s: %s", d.dir, plainFileError(err))
	}
	configs, err := filepath.Glob(filepath.Join(d.dir, "nodes", "*", "config.toml"))
	if err != nil || len(configs) == 0 {
		return nil, false, fmt.Errorf("%s %w, and holds no cluster", d.dir, local.ErrExists)
	}
	if !d.made() {
		return nil, false, &failure{exit: exitConflict, code: "exists",
			message: d.dir + " holds a cluster that `sealmq dev` did not make",
			hint: "choose another directory with --data; that cluster is started with: sealmq server --config " +
				configs[0]}
	}
	if d.nodesGiven && d.nodes != len(configs) {
		return nil, false, usage("%s holds a cluster of %s: leave --nodes out, or choose another --data",
			d.dir, countNodes(len(configs)))
	}
	var nodes []broker.Options
	for _, file := range configs {
		// The environment is meant for a node of its own process; here it would reach all of them.
		config, err := loadConfig(file, nil, nil)
		if err == nil {
			err = config.check()
		}
		if err != nil {
			return nil, false, err
		}
		nodes = append(nodes, config.options())
	}
	if want := fmt.Sprintf("127.0.0.1:%d", d.port); d.portGiven && d.port != 0 && nodes[0].Client.Address != want {
		return nil, false, usage("the cluster in %s keeps its ports, %s first: leave --port out, or choose another --data",
			d.dir, nodes[0].Client.Address)
	}
	c = local.Open(d.dir, nodes)
	return c, false, d.idle(c)
}

// made reports whether this command made the tree that is there. It gives its services their identities before admin
// (see inhabit), so a tree with an admin and without them is another's: of `sealmq init`, or left by the demo.
func (d *dev) made() bool {
	there := func(name string) bool {
		_, err := os.Stat(local.IdentityDir(d.dir, name))
		return err == nil
	}
	for _, s := range devServices {
		if !there(s.name) {
			return !there(admin.name)
		}
	}
	return true
}

// idle refuses a cluster that runs already, or whose ports another program has, before anything in it is touched.
func (d *dev) idle(c *local.Cluster) error {
	err := c.CheckIdle()
	var port *local.PortError
	switch {
	case errors.Is(err, broker.ErrInUse):
		return &failure{exit: exitConflict, code: "in_use", err: err,
			message: "the cluster in " + d.dir + " is running already",
			hint: fmt.Sprintf("use it: sealmq --context %s status\nor stop that process first; another cluster takes "+
				"another --data, and --port 0", local.ContextFile(d.dir))}
	case errors.As(err, &port):
		return &failure{exit: exitUsage, code: "port_taken", err: err, message: port.Error(),
			hint: fmt.Sprintf("the cluster in %s keeps its ports: end that program, or choose another --data with --port 0",
				d.dir)}
	}
	return err
}

// logger writes a node's log into its own file.
func (d *dev) logger(node string) *slog.Logger {
	f, err := os.OpenFile(filepath.Join(local.NodeDir(d.dir, node), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.out.say("%s has no log: %v", node, err)
		return slog.New(slog.DiscardHandler)
	}
	d.logs = append(d.logs, f)
	return newLogger(f, "json", new(slog.LevelVar))
}

func (d *dev) closeLogs() {
	for _, f := range d.logs {
		f.Close()
	}
}

// devDoc says what is running and how to use it.
type devDoc struct {
	Kind       string   `json:"kind"`
	Data       string   `json:"data"`
	Fresh      bool     `json:"fresh"`
	Nodes      []string `json:"nodes"` // client addresses
	Identities []string `json:"identities"`
	Context    string   `json:"context"`
	Linked     bool     `json:"linked"` // whether commands find the context by themselves
	ReadyMS    float64  `json:"ready_ms"`

	next string
}

func (d *dev) describe(home *inhabited, fresh, linked bool, took time.Duration) devDoc {
	doc := devDoc{
		Kind: "Dev", Data: d.dir, Fresh: fresh, Identities: []string{"you", "echo", "admin"}, ReadyMS: millis(took),
		Context: absolute(home.context), Linked: linked, next: `sealmq send echo "hello" --reply`,
	}
	for _, n := range home.Nodes {
		doc.Nodes = append(doc.Nodes, n.Options.Client.Address)
	}
	if !linked {
		doc.next = `sealmq --context ` + doc.Context + ` send echo "hello" --reply`
	}
	return doc
}

// link makes the context that is about to be written the one that commands find by themselves.
func (d *dev) link() bool {
	linked, err := linkContext(absolute(local.ContextFile(d.dir)))
	if err != nil {
		d.out.say("the context could not be linked: %v", err)
	}
	return linked
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (d devDoc) render(p *page) {
	made := "opened"
	if d.Fresh {
		made = "made"
	}
	link := d.Context
	if d.Linked {
		home, _ := homeContext()
		link = home + " leads to it: commands act as you"
	}
	nodes := fmt.Sprintf("%s in this process, ready in %.1f s", countNodes(len(d.Nodes)), d.ReadyMS/1000)
	p.table(nil, [][]string{
		{"  data", fmt.Sprintf("%s (%s; encrypted; to start over: rm -r %s)", d.Data, made, d.Data)},
		{"  TLS 1.3", "private authorities in " + filepath.Join(d.Data, "ca") + ", mutual TLS on"},
		{"  identities", strings.Join(d.Identities, ", ") + " (end-to-end keys: ML-KEM-768 + X25519, Ed25519)"},
		{"  cluster", nodes + ": " + strings.Join(d.Nodes, " ")},
		{"  logs", filepath.Join(d.Data, "nodes", "*", "log")},
		{"  context", link},
	})
	p.line("In another terminal:   %s", d.next)
}

func countNodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// linkContext makes the context the one that commands use when none is named, unless there is one already. A link that
// leads nowhere is replaced: the cluster that it led to is gone.
func linkContext(context string) (linked bool, err error) {
	link, err := homeContext()
	if err != nil {
		return false, err
	}
	if target, err := os.Readlink(link); err == nil {
		if target == context {
			return true, nil
		}
		if _, err := os.Stat(link); !errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err := os.Remove(link); err != nil {
			return false, err
		}
	} else if _, err := os.Lstat(link); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return false, err
	}
	if err := os.Symlink(context, link); err != nil {
		return false, err
	}
	return true, nil
}

// echo is the service that sends back what comes in.
type echo struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (e *echo) stop() {
	e.cancel()
	e.done.Wait()
}
