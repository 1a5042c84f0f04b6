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

// refusesToStart opens a node that must not start: the error has the type, mentions what is wrong, and nothing was
// changed.
func (c *cluster) refusesToStart(t *testing.T, o broker.Options, as any, mention string) {
	t.Helper()
	before := fingerprint(t, c.dir)
	b, err := broker.Open(o)
	if err == nil {
		b.Close()
		t.Fatal("it starts")
	}
	if !errors.As(err, as) {
		t.Errorf("%T %v, not %T", err, err, as)
	}
	if !strings.Contains(err.Error(), mention) {
		t.Errorf("%v does not say %q", err, mention)
	}
	if after := fingerprint(t, c.dir); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
}

// stopped is a cluster of one node that has run, and its options.
func stopped(t *testing.T) (*cluster, broker.Options) {
	t.Helper()
	c := startCluster(t, 1, 1, nil)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	return c, c.nodes["n1"]
}

func configError() any { return new(*broker.ConfigError) }
func dataError() any   { return new(*broker.DataError) }
func keyError() any    { return new(*broker.KeyError) }

// TestOpenRefusesOptions that are wrong in themselves, or do not fit the data directory.
func TestOpenRefusesOptions(t *testing.T) {
	c, right := stopped(t)
	otherKey := filepath.Join(t.TempDir(), "root.key")
	if err := atrest.NewKeyFile(otherKey); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(right.DataDir, link); err != nil {
		t.Skip(err)
	}
	none, empty := filepath.Join(t.TempDir(), "none"), t.TempDir()
	for _, x := range []struct {
		name    string
		change  func(*broker.Options)
		as      any
		mention string
	}{
		{"another cluster", func(o *broker.Options) { o.Cluster[0]++ }, configError(), "client.cert"},
		{"another number of groups", func(o *broker.Options) { o.Groups = 2 }, dataError(), "1 groups"},
		{"another root key", func(o *broker.Options) { o.RootKey = otherKey }, keyError(), otherKey},
		{"a root key that is not there", func(o *broker.Options) { o.RootKey = none }, keyError(), none},
		{"no root key", func(o *broker.Options) { o.RootKey = "" }, configError(), "root_key"},
		{"a root key inside", func(o *broker.Options) { o.RootKey = filepath.Join(o.DataDir, "k") }, configError(),
			"root_key"},
		{"the same by a link", func(o *broker.Options) { o.RootKey = filepath.Join(link, "k") }, configError(),
			"root_key"},
		{"a directory that is not there", func(o *broker.Options) { o.DataDir = none }, dataError(), "sealmq init"},
		{"an empty directory", func(o *broker.Options) { o.DataDir = empty }, dataError(), "sealmq init"},
		{"a member twice", func(o *broker.Options) { o.Members = append(o.Members, o.Members[0]) }, configError(),
			"twice"},
		{"a member without address", func(o *broker.Options) { o.Members[0].Peer = "" }, configError(),
			"cluster.members"},
		{"other members", func(o *broker.Options) {
			o.Members = append(o.Members, broker.Member{Node: "n2", Peer: "127.0.0.1:1", Client: "127.0.0.1:2"})
		}, configError(), "cluster.members"},
		{"not a member", func(o *broker.Options) { o.Node = "n9" }, configError(), "n9"},
		{"too little memory", func(o *broker.Options) { o.MemoryBytes = 1 }, configError(), "limits.memory"},
		{"a body of nothing", func(o *broker.Options) { o.BodyBytes = -1 }, configError(), "limits.body"},
		{"a short timeout", func(o *broker.Options) { o.RaftTimeout = 1 }, configError(), "raft.timeout"},
		{"a short segment", func(o *broker.Options) { o.JournalSegmentBytes = 1 }, configError(), "journal.segment"},
		{"another listener's certificate", func(o *broker.Options) { o.Client.TLS = o.Peer.TLS }, configError(),
			"client.cert"},
		{"a port that is taken", func(o *broker.Options) { o.Client.Address = occupied(t) }, configError(),
			"is taken by another program"},
	} {
		t.Run(x.name, func(t *testing.T) {
			o := right
			o.Members = slices.Clone(o.Members)
			x.change(&o)
			c.refusesToStart(t, o, x.as, x.mention)
		})
	}
	// With the right ones it starts, and once only.
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	_, err := broker.Open(withPorts(right))
	if !errors.Is(err, broker.ErrInUse) || !strings.Contains(err.Error(), right.DataDir) {
		t.Errorf("a second process: %v", err)
	}
}

// TestOpenRefusesData that is another node's, damaged or not there.
func TestOpenRefusesData(t *testing.T) {
	c, right := stopped(t)
	data := right.DataDir
	change := func(name string, to func([]byte) []byte) func(t *testing.T) {
		return func(t *testing.T) {
			path := filepath.Join(data, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, to(append([]byte(nil), b...)))
			t.Cleanup(func() { write(t, path, b) })
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	move := func(name string) func(t *testing.T) {
		return func(t *testing.T) {
			path := filepath.Join(data, name)
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Rename(path+".away", path) })
		}
	}
	open := func(path string) func(t *testing.T) {
		return func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("modes mean nothing here")
			}
			os.Chmod(path, 0o644)
			t.Cleanup(func() { os.Chmod(path, 0o600) })
		}
	}
	other := right
	other.Node, other.Members = "n2", []broker.Member{right.Members[0]}
	other.Members[0].Node = "n2"
	for _, x := range []struct {
		name    string
		o       broker.Options
		damage  func(t *testing.T)
		as      any
		mention string
	}{
		{"another node's", other, func(t *testing.T) {
			reissue(t, c, "client", "n2", right.Client.TLS)
			reissue(t, c, "peer", "n2", right.Peer.TLS)
		}, dataError(), `node "n1"`},
		{"a root key that others may read", right, open(right.RootKey), keyError(), right.RootKey},
		{"a private key that others may read", right, open(right.Client.TLS.Key), configError(), "client"},
		{"NODE flipped", right, change("NODE", flip), dataError(), "NODE"},
		{"NODE cut", right, change("NODE", func(b []byte) []byte { return b[:len(b)-1] }), dataError(), "NODE"},
		{"NODE empty", right, change("NODE", func([]byte) []byte { return nil }), dataError(), "NODE"},
		{"no NODE", right, move("NODE"), dataError(), "NODE: is missing"},
		{"a store away", right, move("bodies"), dataError(), "bodies"},
		{"the journal away", right, move("journal"), dataError(), "journal"},
		{"RINGS of zeros", right, change("RINGS", func(b []byte) []byte { clear(b); return b }), dataError(), "RINGS"},
		{"RINGS cut", right, change("RINGS", func(b []byte) []byte { return b[:20] }), dataError(), "RINGS"},
		{"no RINGS", right, move("RINGS"), dataError(), "RINGS"},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.damage(t)
			c.refusesToStart(t, x.o, x.as, x.mention)
		})
	}
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
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
	for _, pattern := range []string{"journal/mark", "journal/*.seg", "state/MANIFEST-*", "keys/MANIFEST-*",
		"bodies/MANIFEST-*", "bodies/OPTIONS-*", "keys/OPTIONS-*", "state/marker.manifest.*", "state/*.sst", "keys/*.sst"} {
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
		c.refusesToStart(t, c.nodes["n1"], dataError(), data)
		if t.Failed() {
			t.Fatalf("%s was damaged", path)
		}
		write(t, path, b)
	}
	if err := c.start("n1"); err != nil {
		t.Error(err)
	}
}

// TestOlderJournalIsRefused: a journal that ends before what a store has applied is found out before anything is
// changed.
func TestOlderJournalIsRefused(t *testing.T) {
	c, o := stopped(t)
	dir := filepath.Join(o.DataDir, "journal")
	yesterday := filepath.Join(t.TempDir(), "journal")
	if err := os.CopyFS(yesterday, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	box := c.owned(t, "older", "older.box")
	newSender(box).put(c.leading(t, "older", "older.box"), 10)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(yesterday))); err != nil {
		t.Fatal(err)
	}
	c.refusesToStart(t, o, dataError(), "has applied")
}
