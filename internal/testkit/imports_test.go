package testkit

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sealmq/sealmq"

// pkg is what `go list -json` says of a package, without its test files.
type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// goList returns the packages that patterns name; with deps also all that they need.
func goList(t *testing.T, deps bool, patterns ...string) map[string]pkg {
	t.Helper()
	args := []string{"list", "-json=ImportPath,Imports,Standard"}
	if deps {
		args = append(args, "-deps")
	}
	cmd := exec.Command("go", append(args, patterns...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// arrows are the imports that the design allows: a package may import the named ones, and what those may. Everything
// else inside the module is refused. What each arrow is for stands in docs/ARCHITECTURE.md.
var arrows = map[string][]string{
	"cmd/sealmq": {"broker", "client", "envelope", "bench", "internal/local", "internal/pki",
		"storage", "raftlog/journal", "internal/atrest"},
	"bench":            {"client", "internal/local"},
	"internal/local":   {"broker", "internal/pki"},
	"broker":           {"broker/machine", "raftlog", "storage", "wire", "internal/atrest", "internal/pki", "internal/codec"},
	"broker/machine":   {"storage", "internal/codec"},
	"raftlog":          {"raftlog/journal", "internal/codec"},
	"raftlog/journal":  {"internal/atrest", "internal/codec"},
	"storage":          {"storage/sealedfs", "internal/codec"},
	"storage/sealedfs": {"internal/atrest"},

	"storage/sealedfs/metamorphictest": {"storage/sealedfs"}, // tests only: Pebble's own runner over our files
	"client":                           {"wire", "envelope"},
	"client/clienttest":                {"client", "internal/local"},
	"envelope":                         {"internal/codec"},
	"wire":                             {"internal/codec"},
	"internal/atrest":                  {"internal/codec"},
	"internal/pki":                     {},
	"internal/codec":                   {},
	"internal/testkit":                 {"raftlog/journal"},
}

// never are the borders that the product's promises rest on, each with the reason that stands behind it.
var never = []struct {
	from, to, because string
}{
	{"broker", "envelope", "the server must be unable to read messages, and the build proves it"},
	{"storage", "envelope", "the server must be unable to read messages, and the build proves it"},
	{"raftlog", "envelope", "the server must be unable to read messages, and the build proves it"},
	{"storage", "raftlog", "only broker joins storage and the log"},
	{"raftlog", "storage", "only broker joins storage and the log"},
	{"client", "broker", "a client carries no server"},
	{"client", "raftlog", "a client carries no server"},
	{"client", "storage", "a client carries no server"},
}

// owners name the only packages that may import a library (or a part of the standard library) directly.
var owners = []struct {
	library string
	owners  []string
}{
	{"github.com/cockroachdb/pebble", []string{"storage", "storage/sealedfs", "internal/testkit", "cmd/sealmq"}},
	{"github.com/hashicorp/raft", []string{"raftlog"}},
	{"github.com/hashicorp/go-hclog", []string{"raftlog"}},
	{"crypto/cipher", []string{"envelope", "internal/atrest"}},
	{"crypto/hpke", []string{"envelope"}},
	{"crypto/mlkem", []string{"envelope"}},
	{"golang.org/x/crypto/chacha20poly1305", []string{"envelope", "internal/atrest"}},
	{"crypto/tls", []string{"internal/pki", "client", "broker", "internal/local", "cmd/sealmq"}},
	{"crypto/x509", []string{"internal/pki", "client", "broker", "cmd/sealmq"}},
	{"github.com/spf13/cobra", []string{"cmd/sealmq"}},
	{"filippo.io/age", []string{"cmd/sealmq"}},
}

// pure lists what the machine must not import: its effects would then depend on more than the log.
var impure = []string{"time", "math/rand", "math/rand/v2", "crypto/rand", "net", "os", "log", "log/slog", "runtime"}

// light is all that a program pulls in by importing the client.
var light = []string{"golang.org/x/crypto", "golang.org/x/sys", "github.com/klauspost/compress"}

func TestImportDirection(t *testing.T) {
	all := goList(t, false, module+"/...")
	if len(all) == 0 {
		t.Fatal("go list named no package")
	}
	for path, p := range all {
		name := strings.TrimPrefix(path, module+"/")
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s stands in no arrow of the design: give it a place in docs/ARCHITECTURE.md and here", name)
			continue
		}
		reach := closure(allowed)
		for _, imp := range p.Imports {
			to, inside := strings.CutPrefix(imp, module+"/")
			if inside && !slices.Contains(reach, to) {
				t.Errorf("%s imports %s, which the design's import direction does not allow", name, to)
			}
			for _, o := range owners {
				if within(imp, o.library) && !slices.Contains(o.owners, name) {
					t.Errorf("%s imports %s, which belongs to %s", name, imp, strings.Join(o.owners, ", "))
				}
			}
			if name == "broker/machine" && slices.Contains(impure, imp) {
				t.Errorf("%s imports %s: the machine reads the log and its store only", name, imp)
			}
		}
	}
}

// TestImportNever looks at everything a package reaches, so that no detour leads over a border.
func TestImportNever(t *testing.T) {
	all := goList(t, true, module+"/...")
	for _, rule := range never {
		for path := range all {
			name, inside := strings.CutPrefix(path, module+"/")
			if !inside || !within(name, rule.from) || name == "client/clienttest" {
				continue
			}
			for _, to := range reached(all, path) {
				if within(strings.TrimPrefix(to, module+"/"), rule.to) {
					t.Errorf("%s reaches %s: %s", name, strings.TrimPrefix(to, module+"/"), rule.because)
				}
			}
		}
	}
}

func TestLightClient(t *testing.T) {
	all := goList(t, true, module+"/...")
	for _, root := range []string{"client", "wire", "envelope"} {
		path := module + "/" + root
		if _, exists := all[path]; !exists {
			continue
		}
		for _, dep := range reached(all, path) {
			if all[dep].Standard || dep == "C" || within(dep, module) || strings.HasPrefix(dep, "vendor/") {
				continue
			}
			if !slices.ContainsFunc(light, func(l string) bool { return within(dep, l) }) {
				t.Errorf("%s reaches %s, which is not light", root, dep)
			}
		}
	}
}

// within reports whether path is the package or module root, or lies below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// closure returns the names and all that their own arrows allow.
func closure(names []string) []string {
	var out []string
	for todo := slices.Clone(names); len(todo) > 0; todo = todo[1:] {
		if !slices.Contains(out, todo[0]) {
			out = append(out, todo[0])
			todo = append(todo, arrows[todo[0]]...)
		}
	}
	return out
}

// reached returns every package that path imports, directly or not.
func reached(all map[string]pkg, path string) []string {
	seen := map[string]bool{}
	for todo := slices.Clone(all[path].Imports); len(todo) > 0; todo = todo[1:] {
		if !seen[todo[0]] {
			seen[todo[0]] = true
			todo = append(todo, all[todo[0]].Imports...)
		}
	}
	out := make([]string, 0, len(seen))
	for p := range seen {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
