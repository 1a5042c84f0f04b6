package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sealmq/sealmq/client"
)

// contextFile is where the context comes from: the flag, the environment, the file in the home directory.
func (a *app) contextFile() (string, error) {
	path := a.context
	if path == "" {
		path = os.Getenv("SEALMQ_CONTEXT")
	}
	if path == "" {
		var err error
		if path, err = homeContext(); err != nil {
			return "", err
		}
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", &failure{
			exit: exitUsage, code: "no_context", message: "no context: " + path + " is not there",
			hint: "start a cluster with: sealmq dev\nor name its context with --context FILE or $SEALMQ_CONTEXT",
		}
	}
	return path, nil
}

// homeContext is the context that is used when none is named.
func homeContext() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", &failure{exit: exitUsage, code: "no_context", message: "no context: " + err.Error(),
				hint: "name one with --context FILE or $SEALMQ_CONTEXT", err: err}
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "sealmq", "context.toml"), nil
}

// loadContext reads the context that this invocation works in.
func (a *app) loadContext() (*client.Context, error) {
	path, err := a.contextFile()
	if err != nil {
		return nil, err
	}
	c, err := client.LoadContext(path)
	if err != nil {
		return nil, &failure{exit: exitUsage, code: "context", message: err.Error(), err: err}
	}
	return c, nil
}

// identityDir is the directory of the identity that this invocation acts as.
func (a *app) identityDir() (string, error) {
	c, err := a.loadContext()
	if err != nil {
		return "", err
	}
	if a.as != "" && (a.as != filepath.Base(a.as) || a.as[0] == '.') {
		return "", &failure{
			exit: exitUsage, code: "usage", hint: "sealmq id ls shows those that are there",
			message: fmt.Sprintf("--as %q: not the name of an identity", a.as),
		}
	}
	dir := c.IdentityDir(a.as)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", notThere("sealmq id ls shows those that are there",
			"no identity %q beside %s", filepath.Base(dir), c.Path())
	}
	return dir, nil
}

// connect opens the client that this invocation works with.
func (a *app) connect(ctx context.Context) (*client.Client, error) {
	path, err := a.contextFile()
	if err != nil {
		return nil, err
	}
	if _, err := a.identityDir(); err != nil {
		return nil, err
	}
	o := client.FromContext(path).As(a.as)
	o.Name = "sealmq/" + buildVersion().Version
	o.SessionFor = 2 * time.Minute // each invocation that sends opens its own, and a mailbox takes only so many
	if a.out.verbose {
		var level slog.LevelVar
		level.Set(slog.LevelDebug)
		o.Logger = newLogger(a.out.stderr, "auto", &level)
	}
	ctx, cancel := a.request(ctx)
	defer cancel()
	refused := refusedFor
	if a.waits {
		refused = a.timeout
	}
	return client.Connect(ctx, o, client.GiveUpRefused(refused))
}

// refusedFor is how long every node may refuse the connection before a command gives up: a few rounds. A person who
// forgot to start the cluster should not wait for the whole of --timeout.
const refusedFor = 2500 * time.Millisecond

// request bounds one request by --timeout.
func (a *app) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// with connects, runs one request and closes.
func (a *app) with(ctx context.Context, do func(context.Context, *client.Client) error) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	request, cancel := a.request(ctx)
	defer cancel()
	return do(request, c)
}
