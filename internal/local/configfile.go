package local

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sealmq/sealmq/broker"
)

// configText is a node's config.toml, one key a line, with the defaults written out: who opens it sees what there is
// to set. Paths are relative, so that a tree can be moved and one node's directory be copied to its host.
func configText(o broker.Options, dir string) string {
	var b strings.Builder
	section := func(name string) { fmt.Fprintf(&b, "\n[%s]\n", name) }
	text := func(key, value string) { fmt.Fprintf(&b, "%s = %s\n", key, strconv.Quote(value)) }
	relative := func(path string) string {
		if rel, err := filepath.Rel(dir, path); err == nil {
			return filepath.ToSlash(rel)
		}
		return path
	}
	listen := func(name string, l broker.Listen) {
		section(name)
		text("listen", l.Address)
		if name != "operator" {
			text("advertise", l.Advertise)
		}
		text("cert", relative(l.TLS.Cert))
		text("key", relative(l.TLS.Key))
		text("ca", relative(l.TLS.CA))
	}
	b.WriteString("# A SealMQ node. Check it with: sealmq config check config.toml\n")
	text("node", o.Node)
	text("data", relative(o.DataDir))
	text("root_key", "file:"+relative(o.RootKey))
	listen("client", o.Client)
	listen("peer", o.Peer)
	listen("operator", o.Operator)
	section("cluster")
	text("id", hex.EncodeToString(o.Cluster[:]))
	fmt.Fprintf(&b, "groups = %d\n", o.Groups)
	b.WriteString("members = [\n")
	for _, m := range o.Members {
		fmt.Fprintf(&b, "  { node = %q, peer = %q, client = %q },\n", m.Node, m.Peer, m.Client)
	}
	b.WriteString("]\n")
	section("journal")
	text("segment", "32MiB")
	text("grace", "10m")
	text("max", "10%")
	section("raft")
	text("timeout", o.RaftTimeout.String())
	section("limits")
	text("body", "1MiB")
	b.WriteString("connections = 1000\n")
	text("memory", "256MiB")
	section("log")
	text("level", "info")
	text("format", "auto")
	b.WriteString("names = false\n")
	return b.String()
}
