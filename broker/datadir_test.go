package broker_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/local"
)

// fingerprint says what is in a directory: names, modes and contents.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(b))
		}
		all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), sum))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// TestOpenRefuses what is not this node's, or not whole, with an error of the right type that names the thing, and
// changes nothing.
func TestOpenRefuses(t *testing.T) {
	c := startCluster(t, 1, 1, nil)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	o := c.nodes["n1"]
	data := o.DataDir
	otherKey := filepath.Join(t.TempDir(), "root.key")
	if err := atrest.NewKeyFile(otherKey); err != nil {
		t.Fatal(err)
	}
	open := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	flipped := func(name string) func(t *testing.T) {
		return func(t *testing.T) {
			path := filepath.Join(data, name)
			b := open(path)
			changed := append([]byte(nil), b...)
			changed[len(changed)/2] ^= 1
			write(t, path, changed)
			t.Cleanup(func() { write(t, path, b) })
		}
	}
	moved := func(name string) func(t *testing.T) {
		return func(t *testing.T) {
			path := filepath.Join(data, name)
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Rename(path+".away", path) })
		}
	}
	for _, x := range []struct {
		name    string
		change  func(*broker.Options)
		damage  func(t *testing.T)
		as      any
		mention string
	}{
		{"another node", func(o *broker.Options) { o.Node, o.Members[0].Node = "n2", "n2" }, renameNode(t, c), new(*broker.DataError), `node "n1"`},
		{"another cluster", func(o *broker.Options) { o.Cluster[0]++ }, nil, new(*broker.ConfigError), "client.cert"},
		{"another number of groups", func(o *broker.Options) { o.Groups = 2 }, nil, new(*broker.DataError), "1 groups"},
		{"another root key", func(o *broker.Options) { o.RootKey = otherKey }, nil, new(*broker.KeyError), otherKey},
		{"no root key", func(o *broker.Options) { o.RootKey = filepath.Join(t.TempDir(), "none") }, nil, new(*broker.KeyError), "none"},
		{"no root key named", func(o *broker.Options) { o.RootKey = "" }, nil, new(*broker.ConfigError), "root_key"},
		{"a root key that others may read", nil, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("modes mean nothing here")
			}
			os.Chmod(o.RootKey, 0o644)
			t.Cleanup(func() { os.Chmod(o.RootKey, 0o600) })
		}, new(*broker.KeyError), o.RootKey},
		{"a root key inside", func(o *broker.Options) { o.RootKey = filepath.Join(data, "root.key") }, nil, new(*broker.ConfigError), "root_key"},
		{"a root key inside, by a link", func(o *broker.Options) {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(data, link); err != nil {
				t.Skip(err)
			}
			o.RootKey = filepath.Join(link, "root.key")
		}, nil, new(*broker.ConfigError), "root_key"},
		{"a damaged NODE", nil, flipped("NODE"), new(*broker.DataError), "NODE"},
		{"a short NODE", nil, func(t *testing.T) {
			path := filepath.Join(data, "NODE")
			b := open(path)
			write(t, path, b[:len(b)-1])
			t.Cleanup(func() { write(t, path, b) })
		}, new(*broker.DataError), "NODE"},
		{"no NODE", nil, moved("NODE"), new(*broker.DataError), "sealmq init"},
		{"damaged RINGS", nil, flipped("RINGS"), nil, ""},
		{"no RINGS", nil, moved("RINGS"), new(*broker.DataError), "RINGS"},
		{"no directory", func(o *broker.Options) { o.DataDir = filepath.Join(t.TempDir(), "none") }, nil, new(*broker.DataError), "sealmq init"},
		{"an empty directory", func(o *broker.Options) { o.DataDir = t.TempDir() }, nil, new(*broker.DataError), "sealmq init"},
		{"a member that stands twice", func(o *broker.Options) { o.Members = append(o.Members, o.Members[0]) }, nil, new(*broker.ConfigError), "twice"},
		{"not a member", func(o *broker.Options) { o.Node = "n9" }, nil, new(*broker.ConfigError), "n9"},
		{"too little memory", func(o *broker.Options) { o.MemoryBytes = 1 }, nil, new(*broker.ConfigError), "limits.memory"},
		{"a raft timeout of nothing", func(o *broker.Options) { o.RaftTimeout = 1 }, nil, new(*broker.ConfigError), "raft.timeout"},
		{"a key that others may read", nil, func(t *testing.T) {
			os.Chmod(o.Client.TLS.Key, 0o640)
			t.Cleanup(func() { os.Chmod(o.Client.TLS.Key, 0o600) })
		}, new(*broker.ConfigError), "client"},
		{"another listener's certificate", func(o *broker.Options) { o.Client.TLS.Cert, o.Client.TLS.Key = o.Peer.TLS.Cert, o.Peer.TLS.Key }, nil, new(*broker.ConfigError), "client.cert"},
		{"a port that is taken", func(o *broker.Options) { o.Client.Address = occupied(t) }, nil, new(*broker.ConfigError), "client.listen"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.damage != nil {
				x.damage(t)
			}
			before := fingerprint(t, c.dir)
			o := o
			o.Members = slices.Clone(o.Members)
			if x.change != nil {
				x.change(&o)
			}
			b, err := broker.Open(o)
			if err == nil {
				b.Close()
				t.Fatal("it starts")
			}
			if x.as != nil && !errors.As(err, x.as) {
				t.Errorf("%T %v, not %T", err, err, x.as)
			}
			var key *broker.KeyError
			var damaged *broker.DataError
			if x.as == nil && !errors.As(err, &key) && !errors.As(err, &damaged) {
				t.Errorf("%T %v", err, err)
			}
			if !strings.Contains(err.Error(), x.mention) {
				t.Errorf("%v does not say %q", err, x.mention)
			}
			if after := fingerprint(t, c.dir); after != before {
				t.Errorf("something was changed:\n%s\n%s", before, after)
			}
		})
	}
	// After all of that it starts.
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Open(withPorts(o)); !errors.As(err, new(*broker.DataError)) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second process: %v", err)
	}
}

// withPorts lets the system choose the ports.
func withPorts(o broker.Options) broker.Options {
	o.Client.Address, o.Peer.Address = "127.0.0.1:0", "127.0.0.1:0"
	return o
}

func occupied(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// renameNode gives the tree certificates for a node n2, so that only the data directory is another's.
func renameNode(t *testing.T, c *cluster) func(t *testing.T) {
	return func(t *testing.T) {
		o := c.nodes["n1"]
		for _, l := range []struct {
			kind  string
			files broker.TLSFiles
		}{{"client", o.Client.TLS}, {"peer", o.Peer.TLS}} {
			reissue(t, c, l.kind, "n2", l.files)
		}
	}
}

func TestFormatRefusesWhatIsThere(t *testing.T) {
	tree, err := local.Provision(local.Options{Dir: filepath.Join(t.TempDir(), "tree"), Nodes: 1, Groups: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := tree.Nodes[0].Options
	before := fingerprint(t, tree.Dir)
	if err := broker.Format(o); !errors.As(err, new(*broker.DataError)) {
		t.Errorf("a formatted directory: %v", err)
	}
	if after := fingerprint(t, tree.Dir); after != before {
		t.Error("something was changed")
	}
	o.DataDir = t.TempDir()
	write(t, filepath.Join(o.DataDir, "something"), nil)
	if err := broker.Format(o); !errors.As(err, new(*broker.DataError)) {
		t.Errorf("a directory with something in it: %v", err)
	}
	// What cannot be finished leaves nothing.
	o.DataDir, o.RootKey = filepath.Join(t.TempDir(), "data"), "/none"
	if err := broker.Format(o); !errors.As(err, new(*broker.KeyError)) {
		t.Errorf("without a root key: %v", err)
	}
	if _, err := os.Stat(o.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}

// TestDamagedStoreIsRefused: a flipped bit in any file of a store, or of the journal's marked part, stops the node.
func TestDamagedStoreIsRefused(t *testing.T) {
	c := startCluster(t, 1, 1, nil)
	box := c.owned(t, "damage", "damage.box")
	newSender(box).put(c.leading(t, "damage", "damage.box"), 100)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	data := c.nodes["n1"].DataDir
	for _, pattern := range []string{"journal/mark", "state/MANIFEST-*", "keys/MANIFEST-*", "bodies/OPTIONS-*", "state/marker.manifest.*"} {
		paths, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		path := paths[len(paths)-1]
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := append([]byte(nil), b...)
		for i := range changed {
			changed[i] ^= 0x55 // all of it: the mark has two slots
		}
		write(t, path, changed)
		started, err := broker.Open(c.nodes["n1"])
		if err == nil {
			started.Close()
		}
		if !errors.As(err, new(*broker.DataError)) {
			t.Errorf("%s is damaged: %v", path, err)
		}
		write(t, path, b)
	}
	if err := c.start("n1"); err != nil {
		t.Error(err)
	}
}
