package machine

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sealmq/sealmq/storage"
)

func TestPatterns(t *testing.T) {
	for _, good := range []string{"a", "*", ">", "a.b", "a.*.c", "a.>", "*.>", "a*", "a>.b", "svc/a", "ünï.x"} {
		if err := CheckPattern(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", ">.a", "a.>.b", strings.Repeat("a", 256)} {
		if CheckPattern(bad) == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a.b", false}, {"a.b", "a", false}, {"a.b", "a.b", true},
		{"*", "a", true}, {"*", "a.b", false}, {"*", "", false}, {"a.*", "a.b", true}, {"a.*", "a", false},
		{"a.*", "a.b.c", false}, {"*.b", "a.b", true}, {"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.d", false},
		{">", "a", true}, {">", "a.b.c", true}, {">", "", false}, {"a.>", "a", false}, {"a.>", "a.b", true},
		{"a.>", "a.b.c", true}, {"a.>", "b.c", false}, {"*.>", "a", false}, {"*.>", "a.b", true},
		{"a*", "ab", false}, {"a*", "a*", true}, {"a", "A", false},
	}
	for _, tt := range tests {
		if got := matches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

// FuzzMatches compares with a regular expression that says the same.
func FuzzMatches(f *testing.F) {
	f.Add("a.*.>", "a.b.c.d")
	f.Add("*", "..")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if CheckPattern(pattern) != nil || strings.Contains(name, "\n") || strings.IndexByte(name+pattern, 0) >= 0 || !utf8.ValidString(name+pattern) {
			return
		}
		tokens := strings.Split(pattern, ".")
		for i, token := range tokens {
			switch token {
			case "*":
				tokens[i] = `[^.]+`
			case ">":
				tokens[i] = `(?s:.+)`
			default:
				tokens[i] = regexp.QuoteMeta(token)
			}
		}
		re, err := regexp.Compile("^" + strings.Join(tokens, `\.`) + "$")
		if err != nil {
			return
		}
		if name == "" || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
			return // no name of a mailbox or of a principal
		}
		if got := matches(pattern, name); got != re.MatchString(name) {
			t.Errorf("matches(%q, %q) = %v", pattern, name, got)
		}
	})
}

func grantRow(id byte, subject string, actions Actions, resource string) storage.Grant {
	return storage.Grant{ID: [8]byte{id}, Subject: subject, Actions: uint32(actions), Resource: resource}
}

func TestDecide(t *testing.T) {
	g := compile([]storage.Grant{
		grantRow(9, "ada", ActionSend, "team.>"),
		grantRow(3, "*", ActionSend|ActionStat, "team.box"),
		grantRow(5, "ada", ActionReceive, "team.box"),
		grantRow(7, "svc.*", ActionSend, ">"),
		grantRow(8, "root", ActionAdmin, "team.>"),
		grantRow(1, OperatorPrefix+"eve", AllActions, ">"),
	}, 42)
	tests := []struct {
		principal, owner string
		actions          Actions
		resource         string
		allowed          bool
		by               DecidedBy
		grant            byte
	}{
		{"ada", "", ActionSend, "team.x", true, ByGrant, 9},
		{"ada", "", ActionSend, "team.box", true, ByGrant, 9},
		{"bob", "", ActionSend, "team.box", true, ByGrant, 3},
		{"bob", "", ActionSend, "team.x", false, ByDefault, 0},
		{"ada", "", ActionSend | ActionReceive, "team.box", true, ByGrant, 5},
		{"ada", "", ActionStat | ActionReceive, "team.box", true, ByGrant, 3},
		{"ada", "", ActionSend | ActionReceive, "team.x", false, ByDefault, 0},
		{"ada", "", ActionReceive, "team.x", false, ByDefault, 0},
		{"svc.a", "", ActionSend, "any.thing", true, ByGrant, 7},
		{"svc.a.b", "", ActionSend, "any.thing", false, ByDefault, 0},
		{"root", "", ActionAdmin | ActionManage | ActionStat, "team.box", true, ByGrant, 8},
		{"root", "", ActionReceive, "team.box", false, ByDefault, 0},
		{"root", "", ActionAdmin, "other", false, ByDefault, 0},
		{"cyd", "cyd", ActionReceive | ActionAck | ActionManage | ActionKeys | ActionPeek, "x", true, ByOwner, 0},
		{"cyd", "cyd", ActionAdmin, "x", false, ByDefault, 0},
		{"cyd", "ada", ActionReceive, "x", false, ByDefault, 0},
		{"root", "root", ActionAdmin | ActionReceive, "team.x", true, ByGrant, 8},
		{"", "", ActionSend, "team.box", false, ByDefault, 0},
		{"ada", "", 0, "team.box", false, ByDefault, 0},
		{"ada", "", 1 << 20, "team.box", false, ByDefault, 0},
		{OperatorPrefix + "eve", "", ActionAdmin | ActionStat | ActionManage, "x", true, ByOperator, 0},
		{OperatorPrefix + "eve", "", ActionReceive, "x", false, ByDefault, 0},
		{OperatorPrefix + "eve", OperatorPrefix + "eve", ActionReceive, "x", false, ByDefault, 0},
		{OperatorPrefix + "eve", "", ActionSend, "x", false, ByDefault, 0},
	}
	for _, tt := range tests {
		got := Decide(g, tt.principal, tt.owner, tt.actions, tt.resource)
		want := Decision{tt.allowed, tt.by, [8]byte{tt.grant}, 42}
		if got != want {
			t.Errorf("Decide(%q, %q, %b, %q) = %+v, want %+v", tt.principal, tt.owner, tt.actions, tt.resource, got, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	var rows []storage.Grant
	for i := range 1000 {
		rows = append(rows, grantRow(byte(i), fmt.Sprint("svc", i), ActionSend, fmt.Sprintf("team%d.>", i)))
	}
	g := compile(append(rows, grantRow(1, "*", ActionStat, ">")), 1)
	b.ReportAllocs()
	for b.Loop() {
		if !Decide(g, "svc7", "", ActionSend, "team7.box").Allowed {
			b.Fatal("denied")
		}
	}
}
