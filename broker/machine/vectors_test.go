package machine

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/sealmq/sealmq/internal/codec"
)

func fill[T ~[]byte](b T, from byte) T {
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func id16(from byte) (id [16]byte) { fill(id[:], from); return id }
func id8(from byte) (id [8]byte)   { fill(id[:], from); return id }
func id32(from byte) (id [32]byte) { fill(id[:], from); return id }

// samples has every command, with every field set to something else.
func samples() []command {
	header, sealed := fill(make([]byte, 44), 0x80), fill(make([]byte, 30), 0xc0)
	sessions := []SessionItem{{id16(1), 30_000_000, []byte("sealed header")}, {id16(2), 30_000_001, nil}}
	return []command{
		&KeyPut{id16(1), 7, id32(2)},
		&KeyDelete{id16(1)},
		&MailboxCreate{"ada", []MailboxCreateItem{{"team.box", id16(1)}, {"team.other", id16(2)}}},
		&MailboxDelete{"ada", id16(1)},
		&KeyRecordPublish{"ada", id16(1), 300, id32(2), id32(3), id32(4), []byte("signed key record")},
		&SessionPut{"ada", id16(1), sessions},
		&Send{
			Principal: "ada", Mailbox: id16(1), Producer: id8(2), Lowest: 1000, NewSessions: sessions,
			Sessions: [][16]byte{id16(1), id16(2)},
			Items: []SendItem{
				{Counter: 1000, Epoch: 3, NotAfterMinutes: 30_000_002, Digest: id16(5), Header: header, Sealed: sealed},
				{
					Keyed: true, ID: id16(6), Tag: id16(7), Session: 1, Epoch: 4, NotAfterMinutes: 30_000_003, Digest: id16(8),
					Options: []byte{1, 2, 0xaa, 0xbb, 0x7f, 0}, Header: header, Sealed: sealed,
				},
			},
		},
		&Lease{"ada", id16(1), id16(2), id16(3), id8(4), 300, 1 << 20, 5, 6, 30_000},
		&Ack{"ada", id16(1), id8(2), []SeqRange{{1, 64}, {300, 1}}},
		&Nack{"ada", id16(1), id8(2), NackReject, 1_000, []SeqRange{{7, 1}}},
		&Extend{"ada", id16(1), id8(2), 60_000, []SeqRange{{7, 2}}},
		&Release{"", id16(1), id16(2)},
		&Expire{id16(1), []SeqRange{{1, 65_536}}},
		&Tick{},
		&GrantAdd{"operator/root", id8(1), "svc.*", ActionSend | ActionStat, "team.>"},
		&GrantRemove{"operator/root", id8(1)},
	}
}

func nameOf(c command) string { return reflect.TypeOf(c).Elem().Name() }

// TestVectors holds the bytes of entries and commands. A changed line in its file is a changed format.
func TestVectors(t *testing.T) {
	datadriven.RunTest(t, "testdata/vectors/commands.txt", func(t *testing.T, td *datadriven.TestData) string {
		switch td.Cmd {
		case "entry":
			return hex.EncodeToString(AppendEntryHeader(nil, 1_800_000_000_000, 300)) + "\n"
		case "command":
			for _, c := range samples() {
				if nameOf(c) == td.CmdArgs[0].Key {
					return hex.EncodeToString(c.Append(nil)) + "\n"
				}
			}
		case "digest":
			d := RecordDigest(fill(make([]byte, 44), 0), []byte("sealed"))
			if d != StoredDigest(append(append([]byte{SchemeSealed}, fill(make([]byte, 44), 0)...), "sealed"...)) {
				td.Fatalf(t, "RecordDigest and StoredDigest differ")
			}
			return hex.EncodeToString(d[:]) + "\n"
		}
		td.Fatalf(t, "unknown vector")
		return ""
	})
}

// parse reads a command back from what follows its length.
func parse(body []byte) (command, Code) {
	r := codec.NewReader(body)
	kind, code := readHead(&r)
	if code != CodeOK {
		return nil, code
	}
	c := newCommand(kind)
	if c == nil {
		return nil, CodeUnsupported
	}
	c.decode(&r, nil)
	return c, codeOf(r.Done())
}

// restore puts the parts of body records back that decode leaves where they are.
func restore(c command, fields []byte) {
	send, ok := c.(*Send)
	if !ok {
		return
	}
	for i := range send.Items {
		it := &send.Items[i]
		it.Sealed = fields[it.Record.Offset+1 : it.Record.Offset+it.Record.Length]
	}
}

// Every command comes back as it was, re-encodes to the same bytes, and does not parse when it is cut or lengthened.
func TestCommandsRoundTrip(t *testing.T) {
	seen := map[Kind]bool{}
	for _, c := range samples() {
		encoded := c.Append([]byte("before"))[len("before"):]
		r := codec.NewReader(encoded)
		body := r.Bytes(len(encoded))
		if err := r.Done(); err != nil {
			t.Fatalf("%s: %v", nameOf(c), err)
		}
		seen[Kind(body[0])] = true
		back, code := parse(body)
		if code != CodeOK {
			t.Fatalf("%s: %v", nameOf(c), code)
		}
		if send, ok := back.(*Send); ok {
			want := c.(*Send)
			for i := range send.Items {
				at := send.Items[i].Record
				record := body[2+at.Offset : 2+at.Offset+at.Length]
				if StoredDigest(record) != RecordDigest(want.Items[i].Header, want.Items[i].Sealed) {
					t.Errorf("body record %d is not at its address", i)
				}
			}
		}
		restore(back, body[2:])
		if again := back.Append(nil); string(again) != string(encoded) {
			t.Errorf("%s: encodes again to %x, want %x", nameOf(c), again, encoded)
		}
		for n := range body {
			if _, code := parse(body[:n]); code == CodeOK {
				t.Errorf("%s: its first %d bytes parse", nameOf(c), n)
			}
		}
		if _, code := parse(append(body[:len(body):len(body)], 0)); code != CodeMalformed {
			t.Errorf("%s: one byte more is %v", nameOf(c), code)
		}
	}
	for kind := range Kind(255) {
		if newCommand(kind) != nil && !seen[kind] {
			t.Errorf("no sample of kind %d", kind)
		}
	}
}

// FuzzCommand reads any bytes as a command: what parses re-encodes to the same bytes.
func FuzzCommand(f *testing.F) {
	for _, c := range samples() {
		r := codec.NewReader(c.Append(nil))
		f.Add(r.Bytes(1 << 20))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, code := parse(body)
		if code != CodeOK {
			return
		}
		restore(c, body[2:])
		again := c.Append(nil)
		r := codec.NewReader(again)
		if got := r.Bytes(len(again)); string(got) != string(body) {
			t.Fatalf("%s encodes again to %x, want %x", nameOf(c), got, body)
		}
	})
}

// FuzzApply applies any bytes as an entry to a machine that holds something, and must not fail or forget to answer.
func FuzzApply(f *testing.F) {
	var all []byte
	all = AppendEntryHeader(all, testNow, 1)
	for _, c := range samples() {
		f.Add(c.Append(AppendEntryHeader(nil, testNow, 1)))
		all = c.Append(all)
	}
	f.Add(all)
	f.Add([]byte(strings.Repeat("\x01", 40)))
	m := newMail(f)
	log := testLog{now: testNow}
	apply(f, m, log.entry(
		&MailboxCreate{"ada", []MailboxCreateItem{{"box", id16(1)}}},
		&SessionPut{"ada", id16(1), []SessionItem{{id16(1), minutes(testNow) + 60, nil}}},
	))
	f.Fuzz(func(t *testing.T, data []byte) {
		log.index++
		out := apply(t, m, Entry{Index: log.index, Term: 1, Data: data})[0]
		_, _, n, err := readEntry(data)
		if err != nil {
			n = 1
		}
		if len(data) > 0 && len(out) != n {
			t.Fatalf("%d outcomes, want %d", len(out), n)
		}
	})
}
