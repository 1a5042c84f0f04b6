package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/broker"
)

const serverHelp = `Runs one node until SIGTERM or SIGINT: it then takes no new connections, hands its leaderships over,
answers what is in flight, and exits with 0 within ten seconds. A second signal ends it at once.
SIGHUP reads certificates and log.level again; if what it finds is not in order, nothing changes and
the log says so.

Every setting of the file has a variable (client.listen: SEALMQ_CLIENT_LISTEN) and a flag
(--client-listen). The flag comes before the variable, the variable before the file. A variable
that looks like a setting and is none is refused. The data directory is made by "sealmq init",
never here.

When the node is ready it prints one line, "ready NODE ADDRESS".`

// stopWithin is how long a node has for an orderly end.
const stopWithin = 9 * time.Second

func newServer(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "server --config FILE", Short: "Run a node", Long: serverHelp, Args: cobra.NoArgs}
	c.Flags().StringVar(&file, "config", "", "configuration `FILE`")
	for _, k := range keys {
		c.Flags().String(k.flag(), "", k.help)
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if file == "" {
			return usage("say which node: --config FILE")
		}
		given := map[string]string{}
		for _, k := range keys {
			if f := cmd.Flags().Lookup(k.flag()); f.Changed {
				given[k.name] = f.Value.String()
			}
		}
		s := &server{app: a, load: func() (*config, error) { return loadConfig(file, os.Environ(), given) }}
		return s.run(cmd.Context())
	}
	return c
}

// server is a node as this whole process.
type server struct {
	*app
	load   func() (*config, error)
	level  slog.LevelVar
	log    *slog.Logger
	broker *broker.Broker
}

func (s *server) run(ctx context.Context) error {
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(stop)
	defer signal.Stop(hangup)

	c, err := s.load()
	if err != nil {
		return err
	}
	s.level.Set(logLevel(c.text("log.level")))
	s.log = newLogger(s.out.stderr, c.text("log.format"), &s.level)
	for _, note := range c.notes() {
		s.log.Warn(note)
	}
	if err := scheduleAsBatch(); err != nil {
		s.log.Info("the system does not let this node be scheduled as a batch process; it works all the same", "error", err)
	}
	failed := make(chan error, 1)
	o := c.options()
	o.Logger = s.log
	o.Fatal = func(err error) { failed <- err }
	// Before its ports are: whoever starts a node twice is told so.
	if broker.InUse(o.DataDir) {
		return fmt.Errorf("%s: %w", o.DataDir, broker.ErrInUse)
	}
	if s.broker, err = broker.Open(o); err != nil {
		return c.place(err)
	}
	ready := s.announceReady(ctx, o)
	for {
		select {
		case <-hangup:
			s.reload()
		case <-ready:
			ready = nil
			if err := s.out.document(readyDoc{Kind: "Ready", Node: o.Node, Client: o.Client.Address}); err != nil {
				s.log.Warn("nobody reads stdout", "error", err)
			}
		case err := <-failed:
			// Nothing after a failed write or fsync can be trusted: no orderly end.
			return failedDisk(err)
		case <-stop:
			return s.stop(ctx, stop)
		case <-ctx.Done():
			return s.stop(context.WithoutCancel(ctx), stop)
		}
	}
}

// announceReady returns a channel that closes when the node first takes requests.
func (s *server) announceReady(ctx context.Context, o broker.Options) chan struct{} {
	ready := make(chan struct{})
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !s.broker.Ready() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		close(ready)
	}()
	return ready
}

func (s *server) stop(ctx context.Context, again <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.broker.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			s.log.Warn("stopped before everything was handed over", "error", err)
		}
		return nil
	case <-again:
		s.log.Warn("second signal: ended at once")
		return errAtOnce
	case <-ctx.Done():
		s.log.Warn("stopped before everything was handed over", "error", ctx.Err())
		return nil
	}
}

// reload reads again what may change while the node runs: certificates and the log level.
func (s *server) reload() {
	c, err := s.load()
	if err == nil {
		err = c.place(s.broker.Reload())
	}
	if err != nil {
		s.log.Error("reload refused; nothing was changed", "error", err)
		return
	}
	s.level.Set(logLevel(c.text("log.level")))
	s.log.Info("reloaded certificates and log level", "level", s.level.Level())
}

type readyDoc struct {
	Kind   string `json:"kind"`
	Node   string `json:"node"`
	Client string `json:"client"`
}

func (d readyDoc) render(p *page) { p.line("ready %s %s", d.Node, d.Client) }
