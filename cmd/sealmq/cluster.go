package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/internal/local"
)

// A service is an identity of a cluster on this machine, what it may do, and whether it has a mailbox of its own name.
type service struct {
	name    string
	role    local.Role
	mailbox bool
	grants  []right
}

type right struct{ actions, resource string }

// admin is the operator that every tree gets: its first grants have to come from somebody.
var admin = service{name: "admin", role: local.Operator}

// inhabited is a running cluster with its services: what is left to do is use it.
type inhabited struct {
	*local.Cluster
	context string // path of the context file
}

// provision makes a tree, and says of what cannot be which flag asked for it. where is the directory's flag.
func provision(o local.Options, where string) (*local.Cluster, error) {
	c, err := local.Provision(o)
	var option *local.OptionError
	if errors.As(err, &option) {
		flag := option.Option
		if flag == "dir" {
			flag = where
		}
		return nil, usage("--%s %v: %s", flag, option.Value, option.Reason)
	}
	return c, err
}

// inhabit starts a cluster, makes the services that are missing, gives them their rights and mailboxes, and writes the
// context last: when it exists, the cluster takes sends as the first service. It may be run again at any point; a
// context from before stays until then, and who uses it meanwhile waits for the nodes.
func inhabit(ctx context.Context, c *local.Cluster, name string, services []service) (*inhabited, error) {
	// Admin comes last: see dev.made.
	for _, s := range append(slices.Clone(services), admin) {
		if err := makeLocalIdentity(c.Dir, s.name, s.role); err != nil {
			return nil, fmt.Errorf("identity %s: %w", s.name, err)
		}
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	draft := filepath.Join(c.Dir, ".context.toml")
	if err := saveContext(draft, name, services[0].name, c); err != nil {
		return nil, err
	}
	if err := grantAll(ctx, draft, services); err != nil {
		return nil, err
	}
	for _, s := range services {
		if !s.mailbox {
			continue
		}
		if err := ensureMailbox(ctx, draft, s.name); err != nil {
			return nil, fmt.Errorf("mailbox of %s: %w", s.name, err)
		}
	}
	final := local.ContextFile(c.Dir)
	return &inhabited{c, final}, os.Rename(draft, final)
}

// saveContext writes a context for the cluster's tree, which stands in the same directory.
func saveContext(path, name, identity string, c *local.Cluster) error {
	ctx := &client.Context{
		Name: name, Cluster: hex.EncodeToString(c.Nodes[0].Options.Cluster[:]),
		CA: filepath.Join("ca", "client.crt"), Identity: filepath.Join("id", identity), Nodes: map[string]string{},
	}
	for _, m := range c.Nodes[0].Options.Members {
		ctx.Nodes[m.Node] = m.Client
	}
	return ctx.Save(path)
}

// grantAll gives the services their rights. Those that they have already are left as they are.
func grantAll(ctx context.Context, contextFile string, services []service) error {
	c, err := client.Connect(ctx, client.FromContext(contextFile).As(admin.name))
	if err != nil {
		return err
	}
	defer c.Close()
	for _, s := range services {
		for _, r := range s.grants {
			if _, _, err := c.AddGrant(ctx, s.name, r.actions, r.resource); err != nil {
				return fmt.Errorf("granting %s to %s: %w", r.actions, s.name, err)
			}
		}
	}
	return nil
}

// ensureMailbox makes the mailbox of a service's name, as that service: it is the owner and keeps the keys.
func ensureMailbox(ctx context.Context, contextFile, name string) error {
	c, err := client.Connect(ctx, client.FromContext(contextFile).As(name))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.CreateMailbox(ctx, name)
	var e *client.Error
	if errors.As(err, &e) && e.Code == client.CodeExists {
		return nil
	}
	return err
}
