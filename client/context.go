package client

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const contextVersion = 1

// Context is a file that says how to reach a cluster and as whom: context.toml. Paths in it are relative to it.
type Context struct {
	Name     string
	Cluster  string            // the cluster's id in 32 hexadecimal digits
	CA       string            // path of the authority that signs the nodes' certificates
	Identity string            // path of the identity's directory: identity.key client.crt client.key keyring/ pins.toml
	Nodes    map[string]string // addresses by node id

	path string
}

// LoadContext reads a context file.
func LoadContext(path string) (*Context, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	c, err := parseContext(path, b)
	if err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	return c, nil
}

func parseContext(path string, b []byte) (*Context, error) {
	tables, err := parseTOML(path, b)
	if err != nil {
		return nil, err
	}
	root := tables[0]
	version, err := root.number("version")
	if err != nil {
		return nil, err
	}
	if version != contextVersion {
		return nil, root.fail(root.line, "version %d is not known to this program", version)
	}
	c := &Context{Nodes: map[string]string{}, path: path}
	for key, value := range map[string]*string{
		"name": &c.Name, "cluster": &c.Cluster, "ca": &c.CA, "identity": &c.Identity,
	} {
		if *value, err = root.text(key); err != nil {
			return nil, err
		}
	}
	if err := root.done(); err != nil {
		return nil, err
	}
	for _, t := range tables[1:] {
		if len(t.path) != 1 || t.path[0] != "nodes" {
			return nil, t.fail(t.line, "unknown table %s", strings.Join(t.path, "."))
		}
		for node := range maps.Clone(t.keys) {
			if c.Nodes[node], err = t.text(node); err != nil {
				return nil, err
			}
		}
	}
	if err := c.check(); err != nil {
		return nil, root.fail(root.line, "%v", err)
	}
	return c, nil
}

func (c *Context) check() error {
	if b, err := hex.DecodeString(c.Cluster); err != nil || len(b) != 16 || c.Cluster != strings.ToLower(c.Cluster) {
		return fmt.Errorf("cluster must be an id of 32 lower-case hexadecimal digits")
	}
	if c.CA == "" || c.Identity == "" {
		return fmt.Errorf("ca and identity must be paths")
	}
	return checkNodes(c.Nodes)
}

func checkNodes(nodes map[string]string) error {
	if len(nodes) == 0 {
		return fmt.Errorf("no node is named")
	}
	for node, address := range nodes {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" || node == "" {
			return fmt.Errorf("node %q needs an address of the form host:port", node)
		}
	}
	return nil
}

// Save writes the context to path, as a whole or not at all.
func (c *Context) Save(path string) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("context: %w", err)
	}
	if err := writeFile(path, c.marshal()); err != nil {
		return fmt.Errorf("context: %w", err)
	}
	c.path = path
	return nil
}

func (c *Context) marshal() []byte {
	var b strings.Builder
	b.WriteString("# How to reach a SealMQ cluster, and as whom. Paths are relative to this file.\n")
	fmt.Fprintf(&b, "version = %d\nname = %s\ncluster = %s\nca = %s\nidentity = %s\n\n[nodes]\n", contextVersion,
		quoteTOML(c.Name), quoteTOML(c.Cluster), quoteTOML(filepath.ToSlash(c.CA)), quoteTOML(filepath.ToSlash(c.Identity)))
	for _, node := range slices.Sorted(maps.Keys(c.Nodes)) {
		fmt.Fprintf(&b, "%s = %s\n", quoteTOML(node), quoteTOML(c.Nodes[node]))
	}
	return []byte(b.String())
}

// Path returns the file that the context was read from or saved to.
func (c *Context) Path() string { return c.path }

// CAFile returns the path of the authority's certificates.
func (c *Context) CAFile() string { return c.resolve(c.CA) }

// IdentityDir returns the directory of the identity; with a name, of that identity beside it.
func (c *Context) IdentityDir(as string) string {
	dir := c.resolve(c.Identity)
	if as != "" {
		dir = filepath.Join(filepath.Dir(dir), as)
	}
	return dir
}

func (c *Context) resolve(path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return path
	}
	file := c.path
	// dev puts a link to its context where the command line looks; what it names lies beside the file itself.
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	return filepath.Join(filepath.Dir(file), path)
}
