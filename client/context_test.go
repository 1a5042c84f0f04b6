package client

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/envelope"
)

const goodContext = `# a comment
version = 1
name = "dev" # another
cluster = "00112233445566778899aabbccddeeff"
ca = "ca/client.crt"
identity = "id/you"

[nodes]
n1 = "127.0.0.1:7420"
"n2" = "[::1]:7430"
`

func TestContextGolden(t *testing.T) {
	c, err := parseContext("context.toml", []byte(goodContext))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]string{"n1": "127.0.0.1:7420", "n2": "[::1]:7430"}
	if c.Name != "dev" || c.Cluster != "00112233445566778899aabbccddeeff" || c.CA != "ca/client.crt" ||
		c.Identity != "id/you" || !maps.Equal(c.Nodes, nodes) {
		t.Errorf("%+v", c)
	}
	want, err := os.ReadFile("testdata/context.toml")
	if got := c.marshal(); err != nil || string(got) != string(want) {
		if *update {
			err = os.WriteFile("testdata/context.toml", got, 0o644)
		}
		t.Errorf("%v\n%s", err, got)
	}
	back, err := parseContext("context.toml", c.marshal())
	if err != nil || string(back.marshal()) != string(want) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestContextIsStrict(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"version = 1", "version = 2", "c.toml:1: version 2 is not known"},
		{"version = 1", "version = \"1\"", "c.toml:2: version must be a number"},
		{"version = 1", "", "version is missing"},
		{"version = 1", "version = 01", "c.toml:2: expected a string"},
		{"version = 1", "version = -1", "c.toml:2: expected a string"},
		{"version = 1", "version = 1 2", "c.toml:2: something follows the value"},
		{"name = \"dev\"", "name = dev", "c.toml:3: expected a string"},
		{"name = \"dev\"", "name = \"dev", "c.toml:3: the string has no closing quote"},
		{"name = \"dev\"", "name = \"d\\x\"", "c.toml:3: unknown escape"},
		{"name = \"dev\"", "name = \"\\uD800\"", "c.toml:3: unknown escape"},
		{"name = \"dev\"", "name = 3", "c.toml:3: name must be a string"},
		{"name = \"dev\"", "name \"dev\"", "c.toml:3: expected = after name"},
		{"name = \"dev\"", "name = \"dev\"\nname = \"x\"", "c.toml:4: key name stands twice"},
		{"name = \"dev\"", "name = \"dev\"\ncolour = \"x\"", "c.toml:4: unknown key colour"},
		{"name = \"dev\"", "name = \"\x01\"", "c.toml:3: control character"},
		{"name = \"dev\"", "name = \"\xff\"", "c.toml:3: control character or not UTF-8"},
		{"name =", "=", "c.toml:3: expected a key"},
		{"00112233", "0011223", "cluster must be an id"},
		{"aabb", "AABB", "cluster must be an id"},
		{"\"ca/client.crt\"", "\"\"", "ca and identity must be paths"},
		{"[nodes]", "[nodes", "c.toml:8: a table's header needs a closing bracket"},
		{"[nodes]", "[nodes] x", "c.toml:8: something follows"},
		{"[nodes]", "[nodes.a]", "c.toml:8: unknown table nodes.a"},
		{"[nodes]", "[[nodes]]", "c.toml:8: expected a key"},
		{"[nodes]", "[nodes]\n[nodes]", "c.toml:9: table nodes stands twice"},
		{"127.0.0.1:7420", "127.0.0.1", `node "n1" needs an address`},
		{"n1 = \"127.0.0.1:7420\"\n\"n2\" = \"[::1]:7430\"\n", "", "no node is named"},
	} {
		_, err := parseContext("c.toml", []byte(strings.Replace(goodContext, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q for %q: %v, want %q", tt.new, tt.old, err, tt.want)
		}
	}
}

func TestTOMLStrings(t *testing.T) {
	for _, s := range []string{
		"", "plain", `quo"te`, `back\slash`, "tab\tnew\nline", "ünïcode ☃", "\x00\x7f", "# no comment", "[x] = 1",
	} {
		file := "version = 1\n[t." + quoteTOML(s) + "]\nk = " + quoteTOML(s) + "\n"
		tables, err := parseTOML("f", []byte(file))
		if err != nil || len(tables) != 2 || tables[1].path[1] != s {
			t.Errorf("%q: %v", s, err)
			continue
		}
		if got, err := tables[1].text("k"); err != nil || got != s {
			t.Errorf("%q came back as %q, %v", s, got, err)
		}
	}
}

func FuzzTOML(f *testing.F) {
	f.Add([]byte(goodContext))
	f.Add([]byte("version = 1\r\n[pin.\"a b\"]\r\nkey = \"\\u00e4\\\"\"\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseContext("f", b); err == nil {
			back, err := parseContext("f", c.marshal())
			if err != nil || string(back.marshal()) != string(c.marshal()) {
				t.Errorf("%q does not survive being written: %v", b, err)
			}
		}
		if pins, err := parsePins("f", b); err == nil {
			back, err := parsePins("f", marshalPins(pins))
			if err != nil || len(back.pins) != len(pins.pins) || len(back.owners) != len(pins.owners) {
				t.Errorf("%q does not survive being written: %v", b, err)
			}
		}
	})
}

// tree writes what `sealmq dev` writes, as far as a client looks at it.
func (f *fakeCluster) tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	writePEM := func(path, kind string, der []byte) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	writePEM(filepath.Join(dir, "ca", "client.crt"), "CERTIFICATE", f.ca.cert.Raw)
	for _, name := range names {
		home := filepath.Join(dir, "id", name)
		pair := f.ca.issue("svc/" + name)
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(filepath.Join(home, "client.crt"), "CERTIFICATE", pair.Certificate[0])
		writePEM(filepath.Join(home, "client.key"), "PRIVATE KEY", key)
		id, _ := envelope.NewIdentity(name)
		if err := WriteIdentity(filepath.Join(home, "identity.key"), id); err != nil {
			t.Fatal(err)
		}
	}
	c := &Context{Name: "test", Cluster: hex.EncodeToString(f.id[:]), CA: "ca/client.crt", Identity: "id/" + names[0],
		Nodes: map[string]string{}}
	for id, n := range f.nodes {
		c.Nodes[id] = n.address
	}
	if err := c.Save(filepath.Join(dir, "context.toml")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestConnectFromContext(t *testing.T) {
	f := startFake(t, 2, true)
	dir := f.tree(t, "you", "echo")
	path := filepath.Join(dir, "context.toml")
	// A link to it works as well: the paths are relative to the file.
	link := filepath.Join(t.TempDir(), "context.toml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	you := connect(t, FromContext(link))
	echo := connect(t, FromContext(path).As("echo"))
	if you.Principal() != "you" || echo.Principal() != "echo" || you.Cluster() != hex.EncodeToString(f.id[:]) {
		t.Errorf("connected as %q and %q", you.Principal(), echo.Principal())
	}
	mustCreate(t, echo, "echo")
	mustSend(t, you, "echo", "hello")
	ms, err := echo.Receive(context.Background(), "echo")
	if err != nil || len(ms) != 1 || ms[0].Sender != "you" {
		t.Fatalf("%d messages, %v", len(ms), err)
	}
	pins, err := OpenPins(filepath.Join(dir, "id", "echo", "pins.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if pin, found, _ := pins.Lookup("you"); !found || pin.Key != you.opts.Identity.PublicKey() {
		t.Error("the sender's key was not pinned in the identity's directory")
	}
	files, err := os.ReadDir(filepath.Join(dir, "id", "echo", "keyring"))
	if err != nil || len(files) != 2 { // the keys and the lock
		t.Errorf("the keyring holds %v, %v", files, err)
	}
}

func TestConnectRefusals(t *testing.T) {
	f := startFake(t, 1, true)
	dir := f.tree(t, "you")
	path := filepath.Join(dir, "context.toml")
	home := filepath.Join(dir, "id", "you")
	fails := func(o Options, want string) {
		t.Helper()
		c, err := Connect(context.Background(), o)
		if err == nil {
			c.Close()
		}
		if !isCode(err, CodeConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	fails(FromContext(filepath.Join(dir, "none.toml")), "none.toml")
	fails(FromContext(path).As("nobody"), "nobody")
	fails(FromContext(path).As("../you"), "not the name of an identity")
	fails(Options{}, "no node is named")
	fails(Options{Nodes: map[string]string{"n1": "a:1"}}, "CA is not set")
	for _, name := range []string{"client.key", "identity.key"} {
		os.Chmod(filepath.Join(home, name), 0o644)
		fails(FromContext(path), "can be read by others")
		os.Chmod(filepath.Join(home, name), 0o600)
	}
	os.WriteFile(filepath.Join(dir, "ca", "client.crt"), []byte("nothing"), 0o600)
	fails(FromContext(path), "holds no PEM certificate")
	if err := WriteIdentity(filepath.Join(home, "identity.key"), f.client(t, "x").opts.Identity); err == nil {
		t.Error("an identity was overwritten")
	}
}

// A renewed certificate is used for the next connection; a broken one is not.
func TestCertificateIsReadAgain(t *testing.T) {
	f := startFake(t, 1, true)
	dir := f.tree(t, "you")
	home := filepath.Join(dir, "id", "you")
	o, err := FromContext(filepath.Join(dir, "context.toml")).load()
	if err != nil {
		t.Fatal(err)
	}
	first, err := o.certificate()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := o.certificate(); err != nil || again != first {
		t.Errorf("unchanged files were read again, %v", err)
	}
	for _, name := range []string{"client.crt", "client.key"} {
		if err := os.Rename(filepath.Join(f.tree(t, "you"), "id", "you", name), filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
		second, err := o.certificate()
		if err != nil {
			t.Fatal(err)
		}
		// With the certificate of one pair and the key of another, the old pair stays.
		if second != first {
			t.Errorf("after %s alone, a pair that does not match is used", name)
		}
	}
}
