package main

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/sealmq/sealmq/bench"
	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// TestDocuments holds the JSON of every document, and what people see of it.
func TestDocuments(t *testing.T) {
	at := stamp(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600)))
	large := uint64(1<<63 + 1)
	documents := []document{
		sentDoc{"Sent", "m", "0a0b", large, false, 5, 1234, 2.1},
		sentDoc{"Sent", "m", "0a0b", 0, true, 1234567, 1300000, 2.1},
		messageDoc{"Message", "m", 1, "h1.abc", "0a0b", "billing", "pinned", 1, at, []byte("body"), ""},
		messageDoc{"Message", "m", 1, "h1.abc", "0a0b", "billing", "new", 2, at, nil, "out/1-0a0b"},
		ackListDoc{"AckList", []ackItem{{"h1.abc", true, ""}, {"h1.abd", false, "lease_lost"}}},
		mailboxDoc{"Mailbox", "m", "0a0b", 1, 0, 0, 0, stamp{}, 0, 0, ""},
		mailboxListDoc{"MailboxList", []mailboxDoc{{"", "m", "0a0b", 1, 1234, 5, 67890, at, 3, 2, ""}}, "m"},
		mailboxListDoc{"MailboxList", []mailboxDoc{}, ""},
		createdDoc{mailboxListDoc{"MailboxList", []mailboxDoc{
			{"", "m", "0a0b", 1, 0, 0, 0, stamp{}, 0, 0, ""}, {"", "n", "", 0, 0, 0, 0, stamp{}, 0, 0, "exists"},
		}, ""}},
		identityDoc{"Identity", "you", "0a0b", "fp", ""},
		identityListDoc{"IdentityList", []identityDoc{{"", "you", "0a0b", "fp", ""}}},
		pinDoc{"Pin", "you", "0a0b", "fp", at, "0c0d", "fq"},
		pinListDoc{"PinList", []pinDoc{{"", "you", "0a0b", "fp", at, "", ""}}},
		grantDoc{"Grant", "17", "billing", []string{"send", "stat"}, "team.>"},
		grantListDoc{"GrantList", []grantDoc{{"", "17", "billing", []string{"send"}, "team.>"}}},
		statusDoc{"Status", "0a0b", "ok", 1,
			[]statusNode{{"n1", "127.0.0.1:7420", "ok", "devel"}},
			[]statusGroup{{0, "n1", 3, large, map[string]index64{"n1": 12, "n2": 11}}, {1, "", 0, 0, map[string]index64{}}}},
		configDoc{"Config", "config.toml", nil, nil},
		configDoc{"Config", "config.toml", nil, []string{"config.toml:9: journal.grace: has no effect yet"}},
		configDoc{"Config", "config.toml", []configItem{
			{"raft.timeout", "2s", "file", 12}, {"log.level", "info", "default", 0},
		}, nil},
		versionDoc{"Version", "v0.1.0", "abcdef", "go1.26", 1},
		doneDoc{"Done", "deleted", "m"},
		readyDoc{"Ready", "n1", "127.0.0.1:7420"},
		certificateDoc{"Certificate", "-----BEGIN CERTIFICATE-----\n"},
		journalItemDoc{"JournalItem", journal.Item{
			File: "1.seg", Offset: 128, What: "entry", Group: 1, Index: large, Term: 2, Bytes: 300,
		}},
		frameDoc{"Frame", "send", 7, 1234},
		initDoc{"Init", "0a0b", "prod", "prod/context.toml", []initNode{
			{"n1", "n1:7420", "n1:7421", "prod/nodes/n1/config.toml"},
		}},
		devDoc{"Dev", "sealmq-dev", true, []string{"127.0.0.1:7420"}, []string{"you", "echo", "admin"},
			"/d/context.toml", false, 950, "sealmq send"},
		demoDoc{Kind: "Demo", OK: true, Files: 3, Messages: 7, Bytes: 1234, FailoverMS: 612.5, BytesScanned: 1 << 30,
			killed: "n2"},
		benchDoc{&bench.Report{Kind: "BenchRun", Workload: "send", Target: "sealmq", Version: "devel",
			Settings: bench.Settings{Nodes: 3, Cluster: "own", Placement: placement{"client": 0, "n1": 0, "n2": 1, "n3": 1}},
			Machine:  bench.Machine{Cores: 2, OS: "linux"}, Runs: []bench.Run{{Messages: 10, Seconds: 1, PerSec: 10}}}},
	}
	var b bytes.Buffer
	for _, d := range documents {
		p := &page{}
		d.render(p)
		fmt.Fprintf(&b, "%s%s\n", marshal(d), p.b.String())
	}
	golden(t, "documents.golden", b.Bytes())
}

// TestExplain holds the exit code and the Error document of every kind of error.
func TestExplain(t *testing.T) {
	remote := func(code client.Code, outcome client.Outcome) error {
		e := &client.Error{Code: code, Outcome: outcome, Retryable: true, Detail: "what happened"}
		return fmt.Errorf("sending: %w", e)
	}
	var partial, none, single tally
	partial.note("h1.abc", nil)
	for _, t := range []*tally{&partial, &none} {
		t.note("h1.abd", remote(client.CodeLeaseLost, client.Definite))
		t.note("h1.abe", remote(client.CodeBadRequest, client.Definite))
	}
	single.note("h1.abd", remote(client.CodeLeaseLost, client.Definite))
	var b bytes.Buffer
	for _, err := range []error{
		usage("--max must be above zero"),
		errEmpty, errNoQuorum,
		partial.err(), none.err(), single.err(),
		notThere("look elsewhere", "no identity %q", "x"),
		failedDisk(syscall.EIO),
		configErrors{
			{file: "config.toml", line: 3, key: "client.listen", reason: "is wrong"},
			{file: "config.toml", key: "node", reason: "is missing"},
		},
		configErrors{{file: "config.toml", line: 3, key: "root_key", reason: "root.key: no such file", locked: true}},
		&broker.ConfigError{Option: "groups", Reason: "must be above zero"},
		&broker.DataError{Path: "data", Reason: "belongs to another node"},
		fmt.Errorf("data: %w", broker.ErrInUse),
		&broker.KeyError{Path: "root.key", Err: errors.New("does not open this data")},
		&local.PortError{Port: 7420, What: "client", Node: "n1"},
		fmt.Errorf("dir %w", local.ErrExists),
		&client.KeyChangedError{Name: "bob", Pinned: "fp", Offered: "fq"},
		remote(client.CodeNotFound, client.Definite),
		remote(client.CodePermissionDenied, client.Definite),
		remote(client.CodeUnreachable, client.Definite),
		remote(client.CodeExists, client.Definite),
		remote(client.CodeBadSeal, client.Definite),
		remote(client.CodeTimeout, client.Unknown),
		remote("overloaded", client.Definite),
		remote(client.CodeConfig, client.Definite),
		(&send{key: "k"}).maybeStored(remote(client.CodeTimeout, client.Unknown)),
		(&send{}).maybeStored(remote(client.CodeTimeout, client.Unknown)),
		(&send{}).maybeStored(remote(client.CodeFull, client.Definite)),
		unanswered(remote(client.CodeTimeout, client.Definite), "you"),
		unanswered(remote("not_leader", client.Definite), "you"),
		unanswered(remote(client.CodePermissionDenied, client.Definite), "you"),
		refusedFirst(fmt.Errorf("x: %w", &client.KeyChangedError{Name: "bob", Pinned: "fp", Offered: "fq"})),
		checkLease(100 * time.Hour), checkLease(time.Millisecond),
		remote(client.CodeInternal, client.Definite),
		remote("from_a_newer_node", client.Definite),
		withHint(remote(client.CodeExists, client.Definite), "do that next"),
		syscall.EPIPE,
		errors.New("something else"),
	} {
		p := explain(err, false)
		fmt.Fprintf(&b, "%d %s", p.exit, marshal(p.document()))
	}
	golden(t, "errors.golden", b.Bytes())
}

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1234567: "1.2 MB", 5e12: "5.0 TB", 5e15: "5000.0 TB",
	} {
		if got := humanBytes(n); got != want {
			t.Errorf("humanBytes(%d) = %q, not %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", 1234567: "1 234 567"} {
		if got := humanCount(n); got != want {
			t.Errorf("humanCount(%d) = %q, not %q", n, got, want)
		}
	}
}
