package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
)

func provisioned(t *testing.T) *local.Cluster {
	t.Helper()
	c, err := local.Provision(local.Options{Dir: filepath.Join(t.TempDir(), "tree"), Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestConfigSaysWhatWasProvisioned: what `server` reads from the file is what a node inside a process is told.
func TestConfigSaysWhatWasProvisioned(t *testing.T) {
	for _, n := range provisioned(t).Nodes {
		c, err := loadConfig(n.ConfigFile(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, want := c.options(), n.Options
		// Defaults that the file writes out, and what only the program knows.
		want.JournalSegmentBytes, want.BodyBytes, want.Connections, want.MemoryBytes = 32<<20, 1<<20, 1000, 256<<20
		want.Version, got.Version = "", ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s says\n%+v, not\n%+v", n.ConfigFile(), got, want)
		}
		for _, k := range keys {
			if s := c.settings[k.name]; s.origin != "file" {
				t.Errorf("%s does not stand in the file", k.name)
			}
		}
	}
}

func TestConfigPrecedence(t *testing.T) {
	file := provisioned(t).Nodes[0].ConfigFile()
	environment := []string{"SEALMQ_RAFT_TIMEOUT=3s", "SEALMQ_LOG_LEVEL=warn", "SEALMQ_LOG_NAMES=true"}
	c, err := loadConfig(file, environment, map[string]string{"log.level": "debug"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"raft.timeout": "3s environment", "log.level": "debug flag", "log.names": "true environment",
		"limits.memory": "256MiB file",
	} {
		if s := c.settings[name]; s.text+" "+s.origin != want {
			t.Errorf("%s is %s %s, not %s", name, s.text, s.origin, want)
		}
	}
	if c.settings["limits.memory"].line == 0 {
		t.Error("no line for a value of the file")
	}
	environment = []string{"SEALMQ_RAFT_TIMEOUT=often"}
	_, err = loadConfig(file, environment, map[string]string{"log.level": "loud"})
	for _, want := range []string{"environment: SEALMQ_RAFT_TIMEOUT: ", "flag: --log-level: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

// TestConfigProblems changes one thing in a good file and expects one problem, at its line.
func TestConfigProblems(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	n := provisioned(t).Nodes[0]
	data, err := os.ReadFile(n.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key": {
			`advertise = ""`, `advertize = ""`,
			"client.advertize: unknown key; did you mean client.advertise?",
		},
		"unknown table": {"[raft]", "[rafts]\nx = 1\n[raft]", "rafts: unknown key"},
		"fsync off": {
			"[journal]", "[journal]\nfsync = false",
			"journal.fsync: there is no such key: every acknowledged message is fsynced",
		},
		"TLS off": {
			"[client]", "[client]\ntls = false",
			"client.tls: there is no such key: every listener speaks TLS 1.3",
		},
		"wrong type": {
			"connections = 1000", `connections = "1000"`,
			"limits.connections: must be a number without quotes",
		},
		"no number": {
			"connections = 1000", "connections = 0",
			"limits.connections: \"0\" is not a whole number above zero",
		},
		"bad size": {
			`memory = "256MiB"`, `memory = "256 parsecs"`,
			"limits.memory: \"256 parsecs\" is not a size",
		},
		"bad duration": {`timeout = "500ms"`, `timeout = "soon"`, "raft.timeout: \"soon\" is not a time span"},
		"bad level": {
			`level = "info"`, `level = "loud"`,
			`log.level: "loud" is none of debug, info, warn, error`,
		},
		"secret in the file": {
			`root_key = "file:root.key"`, `root_key = "hunter2hunter2"`,
			"root_key: must be file:PATH or cred:NAME",
		},
		"key inside the data": {
			`root_key = "file:root.key"`, `root_key = "file:data/root.key"`,
			"root_key: lies inside the data directory",
		},
		"no certificate":      {`cert = "tls/client.crt"`, `cert = ""`, "client.cert: must not be empty"},
		"missing certificate": {`cert = "tls/client.crt"`, `cert = "tls/none.crt"`, "client.cert: "},
		"not a member":        {`node = "n1"`, `node = "n7"`, `node: "n7" is not one of cluster.members`},
		"bad address": {
			`{ node = "n2", peer = "`,
			`{ node = "n2", peer = "nowhere", client = "127.0.0.1:1" }, { node = "n3", peer = "`,
			`cluster.members: member n2: peer: "nowhere" is not HOST:PORT`,
		},
		"one address twice": {
			`{ node = "n2", peer = "`,
			`{ node = "n0", peer = "127.0.0.1:1", client = "127.0.0.1:2" }, { node = "n9", peer = "127.0.0.1:2", ` +
				`client = "127.0.0.1:3" }, { node = "n2", peer = "`,
			`cluster.members: members n0 and n9 have the same address, 127.0.0.1:2`,
		},
		"too little memory": {
			`memory = "256MiB"`, `memory = "1MiB"`,
			"limits.memory: must be at least 32MiB, not 1MiB",
		},
		"too large a body": {`body = "1MiB"`, `body = "2MiB"`, "limits.body: must be from 1B to 1MiB, not 2MiB"},
		"too small a segment": {
			`segment = "32MiB"`, `segment = "1B"`,
			"journal.segment: must be from 64KiB to 1GiB, not 1B",
		},
		"too short a timeout": {`timeout = "500ms"`, `timeout = "1ms"`, "raft.timeout: must be at least 20ms, not 1ms"},
		"too many groups":     {"groups = 4", "groups = 64", "cluster.groups: must be from 1 to 63, not 64"},
		"credential with a path": {
			`root_key = "file:root.key"`, `root_key = "cred:../root.key"`,
			`root_key: "cred:../root.key": cred: takes the name of a credential`,
		},
		"credential without systemd": {
			`root_key = "file:root.key"`, `root_key = "cred:root"`,
			`root_key: "cred:root" needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=root:PATH`,
		},
		"unknown member key": {`{ node = "n2", peer`, `{ node = "n2", pear`, "cluster.members: member 2: pear: "},
		"cluster id":         {`id = "`, `id = "zz`, "cluster.id: must be 32 hexadecimal digits"},
		"syntax":             {"[raft]", "[raft", "expected"},
		"twice":              {"[raft]", "[client]", "client"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(data), c.old, c.new, 1)
			if changed == string(data) {
				t.Fatalf("%q is not in the file", c.old)
			}
			if err := os.WriteFile(n.ConfigFile(), []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadConfig(n.ConfigFile(), nil, nil)
			var wrong configErrors
			if !errors.As(err, &wrong) || len(wrong) != 1 {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(wrong[0].Error(), c.want) || strings.Contains(wrong[0].Error(), "hunter2") {
				t.Errorf("%v", wrong[0])
			}
			if wrong[0].line == 0 {
				t.Errorf("no line: %v", wrong[0])
			}
		})
	}
}

func TestConfigRefusesReadableKeys(t *testing.T) {
	n := provisioned(t).Nodes[0]
	for name, path := range map[string]string{"root_key": n.Options.RootKey, "peer.key": n.Options.Peer.TLS.Key} {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		_, err := loadConfig(n.ConfigFile(), nil, nil)
		if err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfigMembers(t *testing.T) {
	got, err := parseMembers("n1=a:1/a:2,n2=b:1/b:2")
	want := []broker.Member{{Node: "n1", Peer: "a:1", Client: "a:2"}, {Node: "n2", Peer: "b:1", Client: "b:2"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{
		"", "n1", "n1=a:1", "n1=a:1/a", "=a:1/a:2", "n1=a:1/a:2,n1=b:1/b:2", "n1=a:1/a:2,n2=a:1/b:2",
	} {
		if _, err := parseMembers(text); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

func TestTOMLLines(t *testing.T) {
	lines := tomlLines("a = 1\n# b = 2\n[c]\n  \"d\" = 3\ne.f = { g = 4 }\n[[h]]\ni = [\n  { j = 5 },\n]\n")
	for name, want := range map[string]int{"a": 1, "c": 3, "c.d": 4, "c.e.f": 5, "c.e.f.g": 5, "h": 6, "h.i": 7, "b": 0} {
		if lines[name] != want {
			t.Errorf("%s is in line %d, not %d", name, lines[name], want)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestConfigCheck: what a node would be refused for is found in the files that the configuration names, too, and told
// with the line of the key.
func TestConfigCheck(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(n, other broker.Options) error
		want  []string
		exit  int
	}{
		"nothing": {func(n, other broker.Options) error { return nil }, nil, exitDone},
		"another node's certificate": {
			func(n, other broker.Options) error {
				return errors.Join(
					os.Rename(other.Peer.TLS.Cert, n.Peer.TLS.Cert), os.Rename(other.Peer.TLS.Key, n.Peer.TLS.Key))
			}, []string{"peer.cert: names spiffe://"}, exitUsage,
		},
		"a key of another certificate": {
			func(n, other broker.Options) error { return os.Rename(other.Client.TLS.Key, n.Client.TLS.Key) },
			[]string{"client.cert: ", "does not belong to the key in"}, exitUsage,
		},
		"no certificate in the file": {
			func(n, other broker.Options) error { return os.Truncate(n.Client.TLS.CA, 0) },
			[]string{"client.ca: "}, exitUsage,
		},
		"two of them": {
			func(n, other broker.Options) error {
				return errors.Join(os.Rename(other.Client.TLS.Key, n.Client.TLS.Key), os.Truncate(n.Peer.TLS.Key, 0))
			}, []string{"client.cert: ", "peer.key: "}, exitUsage,
		},
		"another authority": {
			func(n, other broker.Options) error { return os.Rename(n.Peer.TLS.CA, n.Client.TLS.CA) },
			[]string{"peer.ca: "}, exitUsage,
		},
		"a short root key": {
			func(n, other broker.Options) error { return os.Truncate(n.RootKey, 31) },
			[]string{"root_key: ", "is not exactly 32 bytes long"}, exitLocked,
		},
		"no root key": {
			func(n, other broker.Options) error { return os.Remove(n.RootKey) },
			[]string{"root_key: ", "no such file"}, exitLocked,
		},
		"a readable root key": {
			func(n, other broker.Options) error { return os.Chmod(n.RootKey, 0o640) },
			[]string{"root_key: ", "is readable by others"}, exitUsage,
		},
		"no root key and no certificate": {
			func(n, other broker.Options) error {
				return errors.Join(os.Remove(n.RootKey), os.Remove(n.Peer.TLS.Cert))
			},
			[]string{"root_key: ", "peer.cert: "}, exitUsage,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := provisioned(t)
			n := tree.Nodes[0]
			if err := c.spoil(n.Options, tree.Nodes[1].Options); err != nil {
				t.Fatal(err)
			}
			config, err := loadConfig(n.ConfigFile(), nil, nil)
			if err == nil {
				err = config.check()
			}
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var wrong configErrors
			if !errors.As(err, &wrong) || explain(err, false).exit != c.exit {
				t.Fatalf("exit %d, not %d: %v", explain(err, false).exit, c.exit, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, not %q", err, want)
				}
			}
			for _, p := range wrong {
				if p.line == 0 {
					t.Errorf("no line: %v", p)
				}
			}
		})
	}
}

// TestConfigRanges: what the table says of ranges is what a node refuses.
func TestConfigRanges(t *testing.T) {
	file := provisioned(t).Nodes[0].ConfigFile()
	for name, r := range ranges {
		k, known := keyNamed(name)
		if !known {
			t.Fatalf("there is no key %s", name)
		}
		for _, text := range []string{r.least, r.most} {
			if text == "" {
				continue
			}
			c, err := loadConfig(file, nil, map[string]string{name: text})
			if err == nil {
				err = c.check()
			}
			if err != nil {
				t.Errorf("%s %s: %v", name, text, err)
			}
		}
		c, err := loadConfig(file, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		outside := map[string]string{r.most: beside(k, r.most, 1)}
		if k.number(r.least) > 1 {
			outside[r.least] = beside(k, r.least, -1)
		}
		for bound, text := range outside {
			if bound == "" {
				continue
			}
			// As if the table did not know: what does the node say?
			c.settings[name] = setting{key: k, text: text, origin: "file", line: 7}
			if err := c.check(); err == nil || !strings.Contains(err.Error(), ":7: "+name+": ") {
				t.Errorf("the table bounds %s by %s, and a node takes %s: %v", name, bound, text, err)
			}
		}
	}
}

// beside is the value next to one.
func beside(k key, text string, by int64) string {
	n := k.number(text) + by
	if k.kind == kindDuration {
		return time.Duration(n).String()
	}
	return strconv.FormatInt(n, 10)
}

// TestConfigVariables: a variable that looks like a setting and is none is refused by name; others are not ours.
func TestConfigVariables(t *testing.T) {
	file := provisioned(t).Nodes[0].ConfigFile()
	for variable, want := range map[string]string{
		"SEALMQ_CLIENT_LISTN":             "there is no such setting; did you mean SEALMQ_CLIENT_LISTEN?",
		"SEALMQ_CLIENT_COLOUR_OF_HAIR":    "there is no such setting; unset it",
		"SEALMQ_DATTA":                    "there is no such setting; did you mean SEALMQ_DATA?",
		"SEALMQ_CONTEXT":                  "",
		"SEALMQ_HOME":                     "",
		"SEALMQ_CLIENT_PORT":              "",
		"SEALMQ_CLIENT_SERVICE_HOST":      "",
		"SEALMQ_CLIENT_SERVICE_PORT_GRPC": "",
		"SEALMQ_PEER_PORT_7421_TCP_ADDR":  "",
		"OTHER_CLIENT_LISTN":              "",
	} {
		_, err := loadConfig(file, []string{variable + "=x"}, nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", variable, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), "environment: "+variable+": "+want)):
			t.Errorf("%s: %v, not %q", variable, err, want)
		}
	}
}

// TestConfigCredential: with systemd's directory a credential is a file like another.
func TestConfigCredential(t *testing.T) {
	n := provisioned(t).Nodes[0]
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	copyFile(t, n.Options.RootKey, filepath.Join(dir, "root"))
	c, err := loadConfig(n.ConfigFile(), nil, map[string]string{"root_key": "cred:root"})
	if err != nil || c.path("root_key") != filepath.Join(dir, "root") {
		t.Fatal(c, err)
	}
	if err := c.check(); err != nil {
		t.Error(err)
	}
}

// TestKeyHelp: a flag's help has no backquotes, which would name a placeholder for its value.
func TestKeyHelp(t *testing.T) {
	for _, k := range keys {
		if strings.Contains(k.help, "`") {
			t.Errorf("%s: %s", k.name, k.help)
		}
	}
}
