package main

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealmq/sealmq/broker"
)

// A key is one setting of a node. The table below drives the file, the environment, the flags of `server`, the
// defaults, `config check` and `config show`: a setting that is not in it does not exist.
type key struct {
	name  string // section.key as in the file; no section for the first three
	kind  kind
	value string // default, as it would stand in the file
	help  string
}

type kind int

const (
	kindText kind = iota
	kindPath
	kindSecret   // file:PATH or cred:NAME, never the secret itself
	kindAddress  // host:port
	kindOptional // host:port or empty
	kindSize     // 32MiB
	kindDuration // 2s
	kindCount    // an integer in the file
	kindSwitch   // a boolean in the file
	kindShare    // 10% or a size
	kindMembers  // an array of tables in the file; n1=PEER/CLIENT,... elsewhere
	kindLevel
	kindFormat
)

var keys = []key{
	{"node", kindText, "", "this node's name, one of cluster.members"},
	{"data", kindPath, "data", "data directory, made by sealmq init"},
	{"root_key", kindSecret, "", "key that opens the data directory: file:PATH or cred:NAME"},

	{"client.listen", kindAddress, "127.0.0.1:7420", "where clients connect"},
	{"client.advertise", kindOptional, "", "address that clients dial, if it differs"},
	{"client.cert", kindPath, "tls/client.crt", "certificate shown to clients"},
	{"client.key", kindPath, "tls/client.key", "its private key"},
	{"client.ca", kindPath, "tls/client-ca.crt", "authority whose certificates are clients"},

	{"peer.listen", kindAddress, "127.0.0.1:7421", "where the other nodes connect"},
	{"peer.advertise", kindOptional, "", "address that the other nodes dial, if it differs"},
	{"peer.cert", kindPath, "tls/peer.crt", "certificate shown to the other nodes"},
	{"peer.key", kindPath, "tls/peer.key", "its private key"},
	{"peer.ca", kindPath, "tls/peer-ca.crt", "authority whose certificates are nodes"},

	{"operator.listen", kindOptional, "", "where /livez, /readyz and /metrics are; empty: off"},
	{"operator.cert", kindPath, "tls/operator.crt", "certificate shown to operators"},
	{"operator.key", kindPath, "tls/operator.key", "its private key"},
	{"operator.ca", kindPath, "tls/operator-ca.crt", "authority whose certificates are operators"},

	{"cluster.id", kindText, "", "32 hexadecimal digits, drawn by sealmq init"},
	{"cluster.members", kindMembers, "", "every node: name, peer address, client address"},
	{"cluster.groups", kindCount, "4", "mail groups, fixed by sealmq init"},

	{"journal.segment", kindSize, "32MiB", "size of a journal file"},
	{"journal.grace", kindDuration, "10m", "how long a slow member's entries are kept (no effect yet: all are kept)"},
	{"journal.max", kindShare, "10%", "how much of the disk they may take (no effect yet: the journal grows)"},

	{"raft.timeout", kindDuration, "2s", "silence after which a leader counts as lost"},

	{"limits.body", kindSize, "1MiB", "largest message"},
	{"limits.connections", kindCount, "1000", "clients at once"},
	{"limits.memory", kindSize, "256MiB", "caches and what is in flight"},

	{"log.level", kindLevel, "info", "debug, info, warn or error"},
	{"log.format", kindFormat, "auto", "text, json, or auto: text on a terminal"},
	{"log.names", kindSwitch, "false", "whether lines may carry mailbox and principal names"},
}

// ranges are the least and the most that keys may say, as it would stand in the file. The node has the last word and
// says the same; here all that is wrong is found at once.
var ranges = map[string]struct{ least, most string }{
	"cluster.groups":  {"1", strconv.Itoa(broker.MaxGroups)},
	"journal.segment": {"64KiB", "1GiB"},
	"raft.timeout":    {"20ms", ""},
	"limits.body":     {"1B", "1MiB"},
	"limits.memory":   {"32MiB", ""},
}

// refused are settings of other brokers that people look for. Naming why there is none beats "unknown".
var refused = map[string]string{
	"journal.fsync":   "every acknowledged message is fsynced by a majority; that cannot be switched off",
	"journal.sync":    "every acknowledged message is fsynced by a majority; that cannot be switched off",
	"client.tls":      "every listener speaks TLS 1.3; that cannot be switched off",
	"peer.tls":        "every listener speaks TLS 1.3; that cannot be switched off",
	"operator.tls":    "every listener speaks TLS 1.3; that cannot be switched off",
	"client.insecure": "every listener speaks TLS 1.3; that cannot be switched off",
	"peer.insecure":   "every listener speaks TLS 1.3; that cannot be switched off",
	"client.password": "clients prove themselves with certificates",
}

// inert are settings that stand for what a later version does. Whoever changes one is told.
var inert = map[string]string{
	"journal.grace": "has no effect yet: this version never cuts the journal, so every entry is kept",
	"journal.max":   "has no effect yet: this version never cuts the journal, which grows until the disk is full",
}

func keyNamed(name string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

// variable is the key's name in the environment.
func (k key) variable() string {
	return "SEALMQ_" + strings.ToUpper(strings.NewReplacer(".", "_").Replace(k.name))
}

// flag is the key's name on the command line of `server`.
func (k key) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.name)
}

// check reports what is wrong with text as a value of k. It never repeats a secret.
func (k key) check(text string) error {
	var err error
	switch k.kind {
	case kindSecret:
		_, err = secretPath(text)
	case kindAddress:
		err = checkAddress(text)
	case kindOptional:
		if text != "" {
			err = checkAddress(text)
		}
	case kindPath:
		if text == "" {
			return fmt.Errorf("must not be empty")
		}
	case kindSize:
		_, err = parseSize(text)
	case kindDuration:
		_, err = parseDuration(text)
	case kindCount:
		_, err = parseCount(text)
	case kindSwitch:
		_, err = parseSwitch(text)
	case kindShare:
		err = checkShare(text)
	case kindMembers:
		_, err = parseMembers(text)
	case kindLevel:
		err = oneOf(text, "debug", "info", "warn", "error")
	case kindFormat:
		err = oneOf(text, "auto", "text", "json")
	}
	if err != nil {
		return err
	}
	return k.within(text)
}

// within refuses a value outside the key's range.
func (k key) within(text string) error {
	r, bounded := ranges[k.name]
	if !bounded {
		return nil
	}
	switch n := k.number(text); {
	case n >= k.number(r.least) && (r.most == "" || n <= k.number(r.most)):
		return nil
	case r.most == "":
		return fmt.Errorf("must be at least %s, not %s", r.least, text)
	}
	return fmt.Errorf("must be from %s to %s, not %s", r.least, r.most, text)
}

// number is a value of a key that has a range, as a number to compare.
func (k key) number(text string) int64 {
	switch k.kind {
	case kindSize:
		n, _ := parseSize(text)
		return n
	case kindDuration:
		d, _ := parseDuration(text)
		return int64(d)
	}
	n, _ := parseCount(text)
	return int64(n)
}

func oneOf(text string, words ...string) error {
	if !slices.Contains(words, text) {
		return fmt.Errorf("%q is none of %s", text, strings.Join(words, ", "))
	}
	return nil
}

func checkAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port between 1 and 65535", text)
	}
	return nil
}

func parseSize(text string) (int64, error) {
	units := []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n <= 0 || n > (1<<62)/u.bytes {
			break
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("%q is not a size like 512KiB, 32MiB or 1GiB", text)
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a time span like 500ms, 2s or 10m", text)
	}
	return d, nil
}

func parseCount(text string) (int, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a whole number above zero", text)
	}
	return int(n), nil
}

func parseSwitch(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}

func checkShare(text string) error {
	digits, percent := strings.CutSuffix(text, "%")
	if !percent {
		_, err := parseSize(text)
		return err
	}
	if n, err := strconv.ParseUint(digits, 10, 8); err != nil || n == 0 || n > 100 {
		return fmt.Errorf("%q is neither a percentage from 1%% to 100%% nor a size", text)
	}
	return nil
}

// settingVariables takes the variables of the environment that are settings. Whoever misspells one is told: the
// default in its place is seldom seen to be wrong.
func settingVariables(environment []string) (variables map[string]string, unknown configErrors) {
	variables = map[string]string{}
	for _, v := range environment {
		name, text, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "SEALMQ_") {
			continue
		}
		if slices.ContainsFunc(keys, func(k key) bool { return k.variable() == name }) {
			variables[name] = text
		} else if reason := misspelt(name); reason != "" {
			unknown = append(unknown, configProblem{file: "environment", key: name, reason: reason})
		}
	}
	return variables, unknown
}

// serviceVariables are what Kubernetes puts into every container for a service named sealmq-client or the like.
var serviceVariables = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_|$)|$)`)

// misspelt says of a variable that is no setting what is wrong with it, if it looks like one: it begins with a section,
// or is all but a setting's.
func misspelt(name string) string {
	if serviceVariables.MatchString(name) {
		return ""
	}
	looks := false
	for _, k := range keys {
		section, _, inSection := strings.Cut(k.name, ".")
		near := 1 // of the few short ones, or half of all words would be near
		if inSection {
			near = 2
			looks = looks || strings.HasPrefix(name, "SEALMQ_"+strings.ToUpper(section)+"_")
		}
		if distance(k.variable(), name) <= near {
			return "there is no such setting; did you mean " + k.variable() + "?"
		}
	}
	if !looks {
		return ""
	}
	return "there is no such setting; unset it. `sealmq help configuration` lists all of them"
}
