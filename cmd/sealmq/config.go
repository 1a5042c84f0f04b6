package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/atrest"
)

// A setting is a key's value and where it came from: the nearest of flag, environment, file and default.
type setting struct {
	key    key
	text   string
	origin string // flag, environment, file, default
	line   int    // in the file; 0 otherwise
}

// config is everything that a node's configuration says, checked.
type config struct {
	file     string
	settings map[string]setting
}

// configProblem is one thing wrong with a configuration, at its place.
type configProblem struct {
	file   string
	line   int
	key    string
	reason string
	locked bool // there is no key for the data: nothing is wrong with the configuration itself
}

func (p configProblem) Error() string {
	where := p.file
	if p.line > 0 {
		where += ":" + strconv.Itoa(p.line)
	}
	if p.key != "" {
		return fmt.Sprintf("%s: %s: %s", where, p.key, p.reason)
	}
	return fmt.Sprintf("%s: %s", where, p.reason)
}

// configErrors is all that is wrong with a configuration: nobody likes to be told one thing at a time.
type configErrors []configProblem

func (e configErrors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// locked reports whether nothing is wrong but that there is no key for the data.
func (e configErrors) locked() bool {
	return !slices.ContainsFunc(e, func(p configProblem) bool { return !p.locked })
}

// sort puts the problems in the order of their lines; what stands in no line of the file comes last.
func (e configErrors) sort() {
	slices.SortStableFunc(e, func(a, b configProblem) int { return cmp.Compare(uint(a.line-1), uint(b.line-1)) })
}

// loadConfig reads a node's configuration: file, environment ("NAME=value"), and the flags that were given (by key
// name). It changes nothing; files that the configuration names are looked at, not opened.
func loadConfig(file string, environment []string, flags map[string]string) (*config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, configErrors{{file: file, reason: plainFileError(err)}}
	}
	c := &config{file: file, settings: map[string]setting{}}
	for _, k := range keys {
		c.settings[k.name] = setting{key: k, text: k.value, origin: "default"}
	}
	found, wrong, err := readConfigFile(file, string(data))
	if err != nil {
		return nil, err
	}
	for _, s := range found {
		c.settings[s.key.name] = s
	}
	variables, unknown := settingVariables(environment)
	wrong = append(wrong, unknown...)
	for _, k := range keys {
		if text, ok := variables[k.variable()]; ok {
			c.settings[k.name] = setting{key: k, text: text, origin: "environment"}
		}
		if text, ok := flags[k.name]; ok {
			c.settings[k.name] = setting{key: k, text: text, origin: "flag"}
		}
	}
	for _, k := range keys {
		if slices.ContainsFunc(wrong, func(p configProblem) bool { return p.key == k.name }) {
			continue
		}
		s := c.settings[k.name]
		if s.origin == "default" && k.value == "" && k.kind != kindOptional {
			wrong = append(wrong, configProblem{file: file, key: k.name, reason: "is missing: " + k.help})
		} else if err := k.check(s.text); err != nil {
			wrong = append(wrong, c.problem(k.name, err.Error()))
		}
	}
	if len(wrong) == 0 {
		wrong = append(wrong, c.unsafe()...)
	}
	if len(wrong) > 0 {
		wrong.sort()
		return nil, wrong
	}
	return c, nil
}

// place names the settings for which a node was refused, where they stand. Other errors stay as they are.
func (c *config) place(err error) error {
	if err == nil {
		return nil
	}
	var wrong configErrors
	for _, err := range separate(err) {
		var option *broker.ConfigError
		var rootKey *broker.KeyError
		switch {
		case errors.As(err, &option):
			wrong = append(wrong, c.problem(option.Option, option.Reason))
		case errors.As(err, &rootKey):
			p := c.problem("root_key", keyReason(rootKey))
			p.locked = true
			wrong = append(wrong, p)
		default:
			return err
		}
	}
	wrong.sort()
	return wrong
}

// separate takes joined errors apart.
func separate(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, err := range joined.Unwrap() {
		all = append(all, separate(err)...)
	}
	return all
}

// keyReason says what is wrong with a root key without naming its file twice.
func keyReason(err *broker.KeyError) string {
	var file *atrest.KeyFileError
	switch {
	case !errors.As(err, &file):
		return err.Path + " " + err.Err.Error()
	case file.Err != nil:
		return file.Path + ": " + plainFileError(file.Err)
	}
	return file.Path + " " + file.Reason
}

// check says everything that keeps a node from starting with this configuration, its data directory aside.
func (c *config) check() error {
	return c.place(c.options().Check())
}

// problem names a setting with the place it came from.
func (c *config) problem(name, reason string) configProblem {
	s := c.settings[name]
	if s.key.name == "" {
		return configProblem{file: c.file, key: name, reason: reason}
	}
	switch s.origin {
	case "environment":
		return configProblem{file: "environment", key: s.key.variable(), reason: reason}
	case "flag":
		return configProblem{file: "flag", key: "--" + s.key.flag(), reason: reason}
	}
	return configProblem{file: c.file, line: s.line, key: name, reason: reason}
}

// notes are settings that were changed and change nothing, at their places.
func (c *config) notes() (notes []string) {
	for _, k := range keys {
		why, ok := inert[k.name]
		if s := c.settings[k.name]; ok && s.text != k.value {
			notes = append(notes, c.problem(k.name, why).Error())
		}
	}
	return notes
}

// readConfigFile turns the file into settings. Unknown keys and values of the wrong type are problems with a line; err
// is a file that is no TOML.
func readConfigFile(file, data string) (found []setting, wrong configErrors, err error) {
	var tree map[string]any
	if _, err := toml.Decode(data, &tree); err != nil {
		var perr toml.ParseError
		if errors.As(err, &perr) {
			return nil, nil, configErrors{{file: file, line: perr.Position.Line, reason: perr.Message}}
		}
		return nil, nil, configErrors{{file: file, reason: err.Error()}}
	}
	lines := tomlLines(data)
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for name, v := range table {
			name = prefix + name
			k, known := keyNamed(name)
			inner, isTable := v.(map[string]any)
			switch {
			case known:
				text, err := settingText(k, v)
				if err != nil {
					wrong = append(wrong, configProblem{file: file, line: lines[name], key: name, reason: err.Error()})
					continue
				}
				found = append(found, setting{key: k, text: text, origin: "file", line: lines[name]})
			case isTable && isSection(name):
				walk(name+".", inner)
			default:
				wrong = append(wrong, configProblem{file: file, line: lines[name], key: name, reason: unknownKey(name)})
			}
		}
	}
	walk("", tree)
	return found, wrong, nil
}

func isSection(name string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

// unknownKey says why a key is not accepted and, if one is near, which one was probably meant.
func unknownKey(name string) string {
	if why, ok := refused[name]; ok {
		return "there is no such key: " + why
	}
	for _, k := range keys {
		if distance(k.name, name) <= 2 || strings.HasSuffix(k.name, "."+name) {
			return "unknown key; did you mean " + k.name + "?"
		}
	}
	return "unknown key; `sealmq config show` lists all of them"
}

// settingText turns a value of the file into the text that every source of a setting shares, and refuses another type
// than the key's.
func settingText(k key, v any) (string, error) {
	switch v := v.(type) {
	case string:
		if k.kind != kindCount && k.kind != kindSwitch && k.kind != kindMembers {
			return v, nil
		}
	case int64:
		if k.kind == kindCount {
			return strconv.FormatInt(v, 10), nil
		}
	case bool:
		if k.kind == kindSwitch {
			return strconv.FormatBool(v), nil
		}
	case []any, []map[string]any:
		if k.kind == kindMembers {
			return membersText(v)
		}
	}
	want := "a string in quotes"
	switch k.kind {
	case kindCount:
		want = "a number without quotes"
	case kindSwitch:
		want = "true or false without quotes"
	case kindMembers:
		want = `a list like [ { node = "n1", peer = "host:7421", client = "host:7420" } ]`
	}
	return "", fmt.Errorf("must be %s", want)
}

func membersText(v any) (string, error) {
	var tables []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		tables = v
	case []any:
		for _, item := range v {
			t, ok := item.(map[string]any)
			if !ok {
				return "", fmt.Errorf("member %d is not a table", len(tables)+1)
			}
			tables = append(tables, t)
		}
	}
	parts := make([]string, len(tables))
	for i, t := range tables {
		field := map[string]string{}
		for name, v := range t {
			text, ok := v.(string)
			if !ok || (name != "node" && name != "peer" && name != "client") {
				return "", fmt.Errorf("member %d: %s: a member has node, peer and client, each a string", i+1, name)
			}
			field[name] = text
		}
		parts[i] = fmt.Sprintf("%s=%s/%s", field["node"], field["peer"], field["client"])
	}
	return strings.Join(parts, ","), nil
}

// parseMembers reads n1=PEER/CLIENT,n2=...
func parseMembers(text string) ([]broker.Member, error) {
	var members []broker.Member
	for part := range strings.SplitSeq(text, ",") {
		node, addresses, _ := strings.Cut(part, "=")
		peer, client, _ := strings.Cut(addresses, "/")
		if node == "" {
			return nil, fmt.Errorf("member %d has no node", len(members)+1)
		}
		for what, address := range map[string]string{"peer": peer, "client": client} {
			if err := checkAddress(address); err != nil {
				return nil, fmt.Errorf("member %s: %s: %w", node, what, err)
			}
		}
		for _, m := range members {
			if m.Node == node {
				return nil, fmt.Errorf("member %s stands there twice", node)
			}
			for _, address := range []string{peer, client} {
				if address == m.Peer || address == m.Client {
					return nil, fmt.Errorf("members %s and %s have the same address, %s", m.Node, node, address)
				}
			}
		}
		if peer == client {
			return nil, fmt.Errorf("member %s has one address for its peers and for clients, %s", node, peer)
		}
		members = append(members, broker.Member{Node: node, Peer: peer, Client: client})
	}
	return members, nil
}

// secretPath is the file that file:PATH or cred:NAME (systemd's credentials) stands for. What is refused is repeated
// only if it cannot be the secret itself.
func secretPath(text string) (string, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok && path != "" {
		return path, nil
	}
	name, ok := strings.CutPrefix(text, "cred:")
	if !ok || name == "" {
		return "", errors.New("must be file:PATH or cred:NAME; a secret never stands in the configuration itself")
	}
	if name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf(
			"%q: cred: takes the name of a credential, as in LoadCredential=NAME:PATH; for a path use file:PATH", text)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("%q needs $CREDENTIALS_DIRECTORY, which systemd sets for a unit with LoadCredential=%s:PATH",
			text, name)
	}
	return filepath.Join(dir, name), nil
}

func plainFileError(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.Is(err, fs.ErrPermission):
		return "not readable by this user"
	}
	return err.Error()
}

// path resolves a file that the configuration names: relative ones count from the configuration file.
func (c *config) path(name string) string {
	text := c.settings[name].text
	if c.settings[name].key.kind == kindSecret {
		text, _ = secretPath(text)
	}
	if filepath.IsAbs(text) {
		return text
	}
	return filepath.Join(filepath.Dir(c.file), text)
}

func (c *config) text(name string) string { return c.settings[name].text }

// unsafe lists combinations that would run, but not keep what SealMQ promises.
func (c *config) unsafe() (wrong configErrors) {
	refuse := func(name, format string, args ...any) {
		wrong = append(wrong, c.problem(name, fmt.Sprintf(format, args...)))
	}
	if id, err := hex.DecodeString(c.text("cluster.id")); err != nil || len(id) != 16 {
		refuse("cluster.id", "must be 32 hexadecimal digits")
	}
	members, _ := parseMembers(c.text("cluster.members"))
	if !slices.ContainsFunc(members, func(m broker.Member) bool { return m.Node == c.text("node") }) {
		refuse("node", "%q is not one of cluster.members", c.text("node"))
	}
	if c.text("client.listen") == c.text("peer.listen") {
		refuse("peer.listen", "is the same address as client.listen")
	}
	if l := c.text("operator.listen"); l != "" && (l == c.text("client.listen") || l == c.text("peer.listen")) {
		refuse("operator.listen", "is the address of another listener")
	}
	data, _ := filepath.Abs(c.path("data"))
	for _, name := range c.secretFiles() {
		path, _ := filepath.Abs(c.path(name))
		if rel, err := filepath.Rel(data, path); err == nil && filepath.IsLocal(rel) {
			refuse(name, "lies inside the data directory, so that whoever copies the data has the key too")
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			refuse(name, "%s: %s", c.path(name), plainFileError(err))
			wrong[len(wrong)-1].locked = name == "root_key"
		} else if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
			refuse(name, "%s is readable by others (mode %04o); run: chmod 600 %s", c.path(name), mode, c.path(name))
		}
	}
	for _, name := range c.publicFiles() {
		if _, err := os.Stat(c.path(name)); err != nil {
			refuse(name, "%s: %s", c.path(name), plainFileError(err))
		}
	}
	return wrong
}

func (c *config) secretFiles() []string {
	names := []string{"root_key", "client.key", "peer.key"}
	if c.text("operator.listen") != "" {
		names = append(names, "operator.key")
	}
	return names
}

func (c *config) publicFiles() []string {
	names := []string{"client.cert", "client.ca", "peer.cert", "peer.ca", "operator.ca"}
	if c.text("operator.listen") != "" {
		names = append(names, "operator.cert")
	}
	return names
}

// options turns the checked configuration into what a node is told.
func (c *config) options() broker.Options {
	duration, _ := parseDuration(c.text("raft.timeout"))
	members, _ := parseMembers(c.text("cluster.members"))
	names, _ := parseSwitch(c.text("log.names"))
	groups, _ := parseCount(c.text("cluster.groups"))
	connections, _ := parseCount(c.text("limits.connections"))
	size := func(name string) int64 { n, _ := parseSize(c.text(name)); return n }
	listen := func(section string) broker.Listen {
		return broker.Listen{
			Address: c.text(section + ".listen"), Advertise: c.settings[section+".advertise"].text,
			TLS: broker.TLSFiles{
				Cert: c.path(section + ".cert"), Key: c.path(section + ".key"), CA: c.path(section + ".ca"),
			},
		}
	}
	o := broker.Options{
		Node: c.text("node"), DataDir: c.path("data"), RootKey: c.path("root_key"), Members: members, Groups: groups,
		Client: listen("client"), Peer: listen("peer"), Operator: listen("operator"),
		RaftTimeout: duration, JournalSegmentBytes: size("journal.segment"),
		BodyBytes: int(size("limits.body")), Connections: connections, MemoryBytes: size("limits.memory"),
		LogNames: names, Version: buildVersion().Version,
	}
	o.Client.TLS.OperatorCA = c.path("operator.ca")
	id, _ := hex.DecodeString(c.text("cluster.id"))
	copy(o.Cluster[:], id)
	return o
}
