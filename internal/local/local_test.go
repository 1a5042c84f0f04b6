package local

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func provision(t *testing.T, o Options) *Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "tree")
	}
	c, err := Provision(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProvisionTree(t *testing.T) {
	c := provision(t, Options{Nodes: 3})
	for _, name := range []string{
		"ca/client.crt", "ca/client.key", "ca/peer.crt", "ca/peer.key", "ca/operator.crt", "ca/operator.key",
		"nodes/n1/config.toml", "nodes/n2/root.key", "nodes/n3/tls/client.crt", "nodes/n3/tls/client-ca.crt",
		"nodes/n3/tls/peer.key", "nodes/n1/tls/operator-ca.crt", "nodes/n1/data",
	} {
		if _, err := os.Stat(filepath.Join(c.Dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(ContextFile(c.Dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the context stands before the cluster takes sends")
	}
	data := filepath.Join(c.Dir, "nodes", "n2", "data")
	if len(c.Nodes) != 3 || c.Nodes[1].Name != "n2" || c.Nodes[1].Options.DataDir != data {
		t.Errorf("nodes: %+v", c.Nodes)
	}
}

// TestProvisionKeepsSecretsApart looks at every file: keys are for their owner only, and none lies under data/.
func TestProvisionKeepsSecretsApart(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	c := provision(t, Options{Nodes: 2})
	keys := 0
	err := filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			if mode := info.Mode().Perm(); mode != 0o700 {
				t.Errorf("%s can be entered by others: %v", path, mode)
			}
			return nil
		}
		if strings.HasSuffix(path, ".key") {
			keys++
			if mode := info.Mode().Perm(); mode != 0o600 {
				t.Errorf("%s can be read by others: %v", path, mode)
			}
			if strings.Contains(path, string(filepath.Separator)+"data"+string(filepath.Separator)) {
				t.Errorf("%s lies under the data directory", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 + 2*(1+3); keys != want {
		t.Errorf("%d private keys, not %d", keys, want)
	}
}

// TestProvisionCertificates lets every node's files prove and admit each other, as the listeners will.
func TestProvisionCertificates(t *testing.T) {
	c := provision(t, Options{Nodes: 2})
	for _, n := range c.Nodes {
		for kind, l := range map[pki.Kind]broker.Listen{
			pki.Client: n.Options.Client, pki.Peer: n.Options.Peer, pki.Operator: n.Options.Operator,
		} {
			creds, err := pki.LoadCredentials(pki.Files{Cert: l.TLS.Cert, Key: l.TLS.Key, CAs: []string{l.TLS.CA}})
			if err != nil {
				t.Fatal(err)
			}
			want := pki.Name{Kind: kind, Cluster: n.Options.Cluster, Role: pki.Node, ID: n.Name}
			if creds.Name() != want {
				t.Errorf("%s of %s is %v", kind, n.Name, creds.Name())
			}
		}
	}
	dir := IdentityDir(c.Dir, "you")
	if err := Issue(CADir(c.Dir), dir, "you", Service); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"client.crt", "client.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s of an identity: %v, %v", name, info.Mode(), err)
		}
	}
	creds, err := pki.LoadCredentials(pki.Files{
		Cert: filepath.Join(dir, "client.crt"), Key: filepath.Join(dir, "client.key"),
	})
	if err != nil || creds.Name().Role != pki.Service || creds.Name().Kind != pki.Client {
		t.Errorf("%v, %v", creds, err)
	}
}

func TestProvisionRefusesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Provision(Options{Dir: dir, Nodes: 1}); !errors.Is(err, ErrExists) {
		t.Errorf("provisioned over a file: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "thesis.txt")); err != nil || string(b) != "mine" {
		t.Error("the file is gone")
	}
	provision(t, Options{Dir: filepath.Join(t.TempDir(), "not", "there", "yet"), Nodes: 1})
	provision(t, Options{Dir: t.TempDir(), Nodes: 1})
}

// TestProvisionLeavesNothingHalf fails in the middle of making a tree.
func TestProvisionLeavesNothingHalf(t *testing.T) {
	parent := t.TempDir()
	_, err := Provision(Options{Dir: filepath.Join(parent, "tree"), Members: []broker.Member{
		{Node: "n1", Client: "127.0.0.1:1", Peer: "127.0.0.1:2"},
		{Node: "Not A Name", Client: "127.0.0.1:3", Peer: "127.0.0.1:4"},
	}})
	if err == nil {
		t.Fatal("made a node with a name that no certificate may have")
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	base := 0
	for try := 12000; base == 0 && try < 32000; try += 40 {
		if _, err := choosePorts(try, 3); err == nil {
			base = try
		}
	}
	l, err := net.Listen("tcp", loopback(base+portStep+peerOffset))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	_, err = Provision(Options{Dir: filepath.Join(t.TempDir(), "tree"), Nodes: 3, Port: base})
	var taken *PortError
	if !errors.As(err, &taken) || taken.Port != base+portStep+peerOffset || taken.Node != "n2" || taken.What != "peer" {
		t.Fatalf("%v", err)
	}
	if !strings.Contains(err.Error(), "n2") {
		t.Errorf("%v", err)
	}
}

func TestFreePortsAreKept(t *testing.T) {
	c := provision(t, Options{Nodes: 3})
	seen := map[string]bool{}
	for _, n := range c.Nodes {
		for _, address := range []string{n.Options.Client.Address, n.Options.Peer.Address} {
			if seen[address] || checkLoopback(address) != nil {
				t.Errorf("%s of %s", address, n.Name)
			}
			seen[address] = true
		}
		text, err := os.ReadFile(n.ConfigFile())
		if err != nil || !strings.Contains(string(text), `listen = "`+n.Options.Client.Address+`"`) {
			t.Errorf("%s does not keep the port: %v", n.ConfigFile(), err)
		}
	}
}

func TestStartRefusesOtherMachines(t *testing.T) {
	for _, address := range []string{"0.0.0.0:7420", "192.0.2.1:7420", ":7420", "n1.example.com:7420"} {
		c := Open(t.TempDir(), []broker.Options{{Node: "n1", Client: broker.Listen{Address: address}}})
		if err := c.Start(t.Context()); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestNodesOnHosts(t *testing.T) {
	c := provision(t, Options{Members: []broker.Member{
		{Node: "n1", Client: "n1.example.com:7420", Peer: "n1.example.com:7421"},
		{Node: "n2", Client: "192.0.2.7:7420", Peer: "192.0.2.7:7421"},
	}})
	if got := c.Nodes[0].Options.Client.Address; got != ":7420" {
		t.Errorf("a node dialled by name listens on %q", got)
	}
	if got := c.Nodes[1].Options.Peer.Address; got != "192.0.2.7:7421" {
		t.Errorf("a node dialled by address listens on %q", got)
	}
	if got := c.Nodes[0].Options.RaftTimeout; got != timeoutAcross {
		t.Errorf("raft timeout %v", got)
	}
}

// TestProvisionRefusesOptions: what cannot be is refused by name, and nothing is made.
func TestProvisionRefusesOptions(t *testing.T) {
	parent := t.TempDir()
	dir, file := filepath.Join(parent, "tree"), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o      Options
		option string
	}{
		{Options{Dir: dir}, "nodes"},
		{Options{Dir: dir, Nodes: -1}, "nodes"},
		{Options{Dir: dir, Nodes: 100}, "nodes"},
		{Options{Dir: dir, Nodes: 3, Port: 99999}, "port"},
		{Options{Dir: dir, Nodes: 3, Port: 65530}, "port"},
		{Options{Dir: dir, Nodes: 1, Port: -1}, "port"},
		{Options{Dir: dir, Nodes: 1, Groups: -1}, "groups"},
		{Options{Dir: dir, Nodes: 1, Groups: 64}, "groups"},
		{Options{Dir: file, Nodes: 1}, "dir"},
		{Options{Dir: filepath.Join(file, "below"), Nodes: 1}, "dir"},
	} {
		_, err := Provision(c.o)
		var option *OptionError
		if !errors.As(err, &option) || option.Option != c.option {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestCheckIdle: a cluster that runs is told from one whose port another program has.
func TestCheckIdle(t *testing.T) {
	c := provision(t, Options{Nodes: 1})
	if err := c.CheckIdle(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", c.Nodes[0].Options.Peer.Address)
	if err != nil {
		t.Skip(err)
	}
	err = c.CheckIdle()
	var taken *PortError
	if !errors.As(err, &taken) || taken.What != "peer" {
		t.Errorf("with its peer port taken: %v", err)
	}
	l.Close()
	defer c.Close()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.CheckIdle(); !errors.Is(err, broker.ErrInUse) {
		t.Errorf("while it runs: %v", err)
	}
}
