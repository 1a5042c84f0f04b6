package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
)

func noEnvironment(string) (string, bool) { return "", false }

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
		c, err := loadConfig(n.ConfigFile(), noEnvironment, nil)
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
	environment := func(name string) (string, bool) {
		text, ok := map[string]string{
			"SEALMQ_RAFT_TIMEOUT": "3s", "SEALMQ_LOG_LEVEL": "warn", "SEALMQ_LOG_NAMES": "true",
		}[name]
		return text, ok
	}
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
	environment = func(name string) (string, bool) { return "often", name == "SEALMQ_RAFT_TIMEOUT" }
	_, err = loadConfig(file, environment, map[string]string{"log.level": "loud"})
	for _, want := range []string{"environment: SEALMQ_RAFT_TIMEOUT: ", "flag: --log-level: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

// TestConfigProblems changes one thing in a good file and expects one problem, at its line.
func TestConfigProblems(t *testing.T) {
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
		"unknown member key": {`{ node = "n2", peer`, `{ node = "n2", pear`, "cluster.members: member 2: pear: "},
		"cluster id":         {`id = "`, `id = "zz`, "cluster.id: must be 32 hexadecimal digits"},
		"syntax":             {"[raft]", "[raft", "expected"},
		"twice":              {"[raft]", "[client]", "client"},
	} {
		t.Run(name, func(t *testing.T) {
			n := provisioned(t).Nodes[0]
			data, err := os.ReadFile(n.ConfigFile())
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(data), c.old, c.new, 1)
			if changed == string(data) {
				t.Fatalf("%q is not in the file", c.old)
			}
			if err := os.WriteFile(n.ConfigFile(), []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = loadConfig(n.ConfigFile(), noEnvironment, nil)
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
		_, err := loadConfig(n.ConfigFile(), noEnvironment, nil)
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
