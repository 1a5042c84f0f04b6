package machine

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/storage"
)

// TestHistories runs the texts in testdata: a command each, and what came of it. Times in them are relative.
func TestHistories(t *testing.T) {
	datadriven.Walk(t, "testdata/mail", func(t *testing.T, path string) {
		h := newHistory(t)
		defer func() { h.stores.Close() }()
		datadriven.RunTest(t, path, h.run)
		want := rows(t, h.m)
		mustEqual(t, "rows after one run", applyAnew(t, h.all, len(h.all), false), want)
		mustEqual(t, "rows after a run for each entry, nothing kept in memory between them", applyAnew(t, h.all, 1, true), want)
	})
}

// applyAnew applies entries to new stores in runs of some size, opening the machine again for each if that is asked
// for, and returns the rows.
func applyAnew(t *testing.T, entries []Entry, size int, reopen bool) map[string]string {
	t.Helper()
	stores := newStores(t)
	m, err := OpenMail(stores, 1, 0)
	for at := 0; at < len(entries) && err == nil; at += size {
		if _, err = m.Apply(entries[at:min(at+size, len(entries))], nil, false); err == nil && reopen {
			written(t, m)
			err = stores.Flush(t.Context()) // or the index of keys/ is behind
			if err == nil {
				m, err = OpenMail(stores, 1, 0)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows(t, m)
}

type history struct {
	t      *testing.T
	fs     *vfs.MemFS
	stores *storage.Stores
	m      *Mail
	log    testLog
	all    []Entry
}

func newHistory(t *testing.T) *history {
	h := &history{t: t, fs: vfs.NewCrashableMem(), log: testLog{now: testNow}}
	h.stores = storesOn(t, h.fs, true)
	h.open()
	return h
}

func (h *history) open() {
	m, err := OpenMail(h.stores, 1, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.m = m
}

// args reads the arguments of a line.
type args struct {
	h  *history
	td *datadriven.TestData
}

func (a args) str(key, or string) string {
	if v, ok := a.td.Arg(key); ok {
		return strings.Join(v.Vals, ",")
	}
	return or
}

func (a args) num(key string, or uint64) uint64 {
	v, err := strconv.ParseUint(a.str(key, fmt.Sprint(or)), 10, 64)
	if err != nil {
		a.td.Fatalf(a.h.t, "%s: %v", key, err)
	}
	return v
}

func (a args) millis(key, or string) int64 {
	d, err := time.ParseDuration(a.str(key, or))
	if err != nil {
		a.td.Fatalf(a.h.t, "%s: %v", key, err)
	}
	return d.Milliseconds()
}

// minutes is a not-after so long from now.
func (a args) minutes(key, or string) uint32 {
	return uint32((a.h.log.now + a.millis(key, or)) / minuteMillis)
}

func (a args) ranges(key string) (out []SeqRange) {
	for _, part := range strings.Split(a.str(key, ""), ",") {
		first, last, many := strings.Cut(part, "-")
		from, err := strconv.ParseUint(first, 10, 64)
		to := from
		if many && err == nil {
			to, err = strconv.ParseUint(last, 10, 64)
		}
		if err != nil {
			a.td.Fatalf(a.h.t, "%s: %v", key, err)
		}
		out = append(out, SeqRange{from, uint32(to - from + 1)})
	}
	return out
}

func textID(prefix byte, s string) (id [16]byte) {
	id[0] = prefix
	copy(id[1:], s)
	return id
}

func (a args) box() [16]byte       { return textID('b', a.str("box", "a")) }
func (a args) by(or string) string { return a.str("by", or) }

func (a args) lease() (id [8]byte) {
	copy(id[:], a.str("lease", "L"))
	return id
}

func (a args) id(key string) (id [16]byte) {
	copy(id[:], a.str(key, ""))
	return id
}

func (h *history) run(t *testing.T, td *datadriven.TestData) string {
	a := args{h, td}
	switch td.Cmd {
	case "time":
		d, err := time.ParseDuration(strings.TrimPrefix(td.CmdArgs[0].Key, "+"))
		if err != nil {
			td.Fatalf(t, "%v", err)
		}
		h.log.now += d.Milliseconds()
		return ""
	case "restart":
		return h.restart(td)
	case "state":
		return h.state(a.box())
	case "list":
		return h.list(a)
	case "headers":
		return h.headers(a)
	case "secret":
		secret, err := h.m.reader.MailboxKey(a.box(), uint32(a.num("generation", 1)))
		if err != nil {
			return err.Error() + "\n"
		}
		return fmt.Sprintln("key", secret[0])
	case "record":
		row, err := h.m.Lookup(a.box())
		if err != nil {
			return err.Error() + "\n"
		}
		record, err := h.m.reader.KeyRecord(row.Number, a.num("version", row.KeyVersion))
		return fmt.Sprintf("%s, %v\n", record, err)
	case "same-entry":
		var commands []command
		for _, line := range strings.Split(strings.TrimSpace(td.Input), "\n") {
			var parsed datadriven.TestData
			parsed.Pos = td.Pos
			cmd, args, err := datadriven.ParseLine(line)
			if err != nil {
				td.Fatalf(t, "%v", err)
			}
			parsed.Cmd, parsed.CmdArgs = cmd, args
			commands = append(commands, h.command(argsOf(h, &parsed)))
		}
		return h.apply(h.log.entry(commands...))
	case "entry", "command":
		return h.raw(td)
	}
	return h.apply(h.log.entry(h.command(a)))
}

func argsOf(h *history, td *datadriven.TestData) args { return args{h, td} }

func (h *history) command(a args) command {
	by := a.by("ada")
	switch a.td.Cmd {
	case "create":
		c := &MailboxCreate{Principal: by}
		for _, name := range strings.Split(a.str("box", "a"), ",") {
			id := textID('b', name)
			if v := a.str("id", ""); v != "" {
				id = textID('b', v)
			}
			c.Items = append(c.Items, MailboxCreateItem{"box." + name, id})
		}
		return c
	case "delete":
		return &MailboxDelete{Principal: by, Mailbox: a.box()}
	case "publish":
		return &KeyRecordPublish{
			Principal: by, Mailbox: a.box(), Version: a.num("version", 1), Record: []byte(a.str("record", "r")),
			Previous: [32]byte{byte(a.num("previous", 0))}, Hash: [32]byte{byte(a.num("hash", 1))},
			Identity: [32]byte{byte(a.num("identity", 1))},
		}
	case "key-put":
		return &KeyPut{Mailbox: a.box(), Generation: uint32(a.num("generation", 1)), Key: [32]byte{byte(a.num("key", 1))}}
	case "key-delete":
		return &KeyDelete{Mailbox: a.box()}
	case "session":
		return &SessionPut{Principal: by, Mailbox: a.box(), Items: a.sessions("ids")}
	case "send":
		return a.send(by)
	case "tick":
		return &Tick{}
	}
	return a.leaseCommand()
}

func (a args) sessions(key string) (items []SessionItem) {
	for _, id := range strings.Split(a.str(key, "s"), ",") {
		first, last, many := strings.Cut(id, "..")
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(last)
		for n := from; n <= max(from, to); n++ {
			if many {
				id = fmt.Sprint(n)
			}
			items = append(items, SessionItem{textID('s', id), a.minutes("ttl", "1h"), []byte("header of " + id)})
		}
	}
	return items
}

func (a args) send(by string) command {
	c := &Send{Principal: by, Mailbox: a.box(), Producer: [8]byte{byte(a.num("producer", 1))}, Lowest: a.num("lowest", 0)}
	if a.td.HasArg("new") {
		c.NewSessions = a.sessions("new")
	}
	c.Sessions = [][16]byte{textID('s', a.str("session", a.str("new", "s")))}
	item := SendItem{
		Epoch: uint32(a.num("epoch", 1)), NotAfterMinutes: a.minutes("life", "2h"),
		Header: make([]byte, 44), Sealed: make([]byte, a.num("size", 100)-45), Digest: [16]byte{1},
	}
	if a.td.HasArg("key") {
		item.Keyed, item.ID, item.Tag = true, a.id("key"), a.id("tag")
		c.Items = append(c.Items, item)
		return c
	}
	for _, r := range a.ranges("n") {
		for i := range uint64(r.Count) {
			item.Counter = r.First + i
			c.Items = append(c.Items, item)
		}
	}
	return c
}

func (a args) leaseCommand() command {
	by := a.by("ada")
	switch a.td.Cmd {
	case "lease":
		return &Lease{
			Principal: by, Mailbox: a.box(), Receiver: a.id("receiver"), Attempt: a.id("attempt"), Lease: a.lease(),
			MaxMessages: uint32(a.num("max", 10)), MaxBytes: a.num("bytes", 1<<30),
			EpochLow: uint32(a.num("from-epoch", 0)), EpochHigh: uint32(a.num("to-epoch", 1<<32-1)),
			LeaseMillis: uint32(a.millis("for", "0s")),
		}
	case "ack":
		return &Ack{Principal: by, Mailbox: a.box(), Lease: a.lease(), Ranges: a.ranges("seqs")}
	case "nack":
		reasons := map[string]NackReason{
			"no-key": NackNoKey, "bad-seal": NackBadSeal, "no-session": NackNoSession, "retry": NackRetry,
			"reject": NackReject, "release": NackRelease,
		}
		return &Nack{
			Principal: by, Mailbox: a.box(), Lease: a.lease(), Reason: reasons[a.str("reason", "retry")],
			DelayMillis: uint32(a.millis("delay", "0s")), Ranges: a.ranges("seqs"),
		}
	case "extend":
		return &Extend{
			Principal: by, Mailbox: a.box(), Lease: a.lease(), LeaseMillis: uint32(a.millis("for", "0s")),
			Ranges: a.ranges("seqs"),
		}
	case "release":
		return &Release{Principal: a.by(""), Mailbox: a.box(), Receiver: a.id("receiver")}
	case "expire":
		return &Expire{Mailbox: a.box(), Ranges: a.ranges("seqs")}
	}
	a.td.Fatalf(a.h.t, "unknown command %s", a.td.Cmd)
	return nil
}

func (h *history) apply(e Entry) string {
	h.all = append(h.all, e)
	var lines []string
	for _, o := range apply(h.t, h.m, e)[0] {
		lines = append(lines, h.outcome(&o))
	}
	return strings.Join(lines, "\n") + "\n"
}

// raw applies bytes: of a whole entry, or of a command that is framed and stamped properly.
func (h *history) raw(td *datadriven.TestData) string {
	data, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(td.Input), " ", ""))
	if err != nil {
		td.Fatalf(h.t, "%v", err)
	}
	e := h.log.entry()
	if td.Cmd == "entry" {
		e.Data = data
	} else {
		e.Data = append(append(e.Data, byte(len(data))), data...)
	}
	return h.apply(e)
}

// relative prints a time as what it is from now on.
func (h *history) relative(millis int64) string {
	return time.Duration((millis - h.m.TimeMillis()) * 1_000_000).String()
}

func (h *history) outcome(o *Outcome) string {
	out := []string{o.Code.String()}
	for _, s := range o.Sends {
		text := fmt.Sprintf("%dx %v", s.Count, s.Code)
		if s.Code == CodeOK {
			text = fmt.Sprintf("%d-%d", s.Seq, s.Seq+uint64(s.Count)-1)
		}
		if s.Duplicate {
			text += " duplicate"
		}
		out = append(out, text)
	}
	for _, c := range o.Codes {
		out = append(out, fmt.Sprintf("%dx %v", c.Count, c.Code))
	}
	if o.Lease != ([8]byte{}) {
		out = append(out, "lease "+strings.TrimRight(string(o.Lease[:]), "\x00"))
	}
	for i := 0; i < len(o.Deliveries); {
		first, n := &o.Deliveries[i], 1
		for i+n < len(o.Deliveries) && alike(first, &o.Deliveries[i+n], uint64(n)) {
			n++
		}
		text := fmt.Sprintf("%d-%d epoch %d attempt %d", first.Seq, first.Seq+uint64(n)-1, first.Epoch, first.Attempts)
		if first.Failures > 0 {
			text += fmt.Sprintf(" failures %d", first.Failures)
		}
		out = append(out, text)
		i += n
	}
	if o.Deadline != 0 {
		out = append(out, "until +"+h.relative(o.Deadline))
	}
	if o.Ready > 0 {
		out = append(out, fmt.Sprintf("ready %d", o.Ready))
	}
	if o.Wake {
		out = append(out, "wake")
	}
	if o.More {
		out = append(out, "more")
	}
	return strings.Join(out, "; ")
}

func alike(d, e *Delivery, n uint64) bool {
	return e.Seq == d.Seq+n && e.Epoch == d.Epoch && e.Attempts == d.Attempts && e.Failures == d.Failures
}

// restart loses what was not flushed and applies the log again from there, as a node that lost power does.
func (h *history) restart(td *datadriven.TestData) string {
	if td.HasArg("flush") {
		written(h.t, h.m)
		if err := h.stores.Flush(h.t.Context()); err != nil {
			td.Fatalf(h.t, "%v", err)
		}
	}
	crashed := h.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := h.stores.Close(); err != nil {
		td.Fatalf(h.t, "%v", err)
	}
	h.fs = crashed
	h.stores = storesOn(h.t, h.fs, false)
	h.open()
	from := h.m.Applied().Index
	if _, err := h.m.Apply(h.all[from:], nil, false); err != nil {
		td.Fatalf(h.t, "%v", err)
	}
	return fmt.Sprintf("applied again %d entries\n", uint64(len(h.all))-from)
}

func (h *history) state(id [16]byte) string {
	row, err := h.m.Lookup(id)
	if err != nil {
		return err.Error() + "\n"
	}
	s, err := written(h.t, h.m).MailboxState(row.Number)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s, key record %d: head %d next %d leased %d delayed %d dead %d bytes %d\n",
		row.Name, row.Owner, row.KeyVersion, s.Head, s.Next, s.Leased, s.Delayed, s.Dead, s.Bytes)
	for _, e := range s.Epochs {
		fmt.Fprintf(&b, "epoch %d: waiting %d ready %d\n", e.Epoch, e.Waiting, e.Ready)
	}
	counts := map[byte]int{}
	h.countRows(row.Number, counts)
	fmt.Fprintf(&b, "rows: pages %d addresses %d key records %d\n", counts[0x30], counts[0x31], counts[0x22])
	oldest, err := written(h.t, h.m).OldestMillis(row.Number)
	if err != nil {
		return err.Error() + "\n"
	}
	if oldest != 0 {
		fmt.Fprintf(&b, "oldest %s\n", h.relative(oldest))
	}
	return b.String()
}

// countRows counts the rows of a mailbox by table.
func (h *history) countRows(number uint64, counts map[byte]int) {
	err := written(h.t, h.m).Rows(func(k, _ []byte) error {
		if len(k) >= 11 && k[2] >= 0x20 && k[2] < 0x40 && k[10] == byte(number) {
			counts[k[2]]++
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) headers(a args) string {
	row, err := h.m.Lookup(a.box())
	if err != nil {
		return err.Error() + "\n"
	}
	names := strings.Split(a.str("ids", ""), ",")
	var ids [][16]byte
	for _, name := range names {
		ids = append(ids, textID('s', name))
	}
	var out strings.Builder
	err = h.m.reader.Sessions(row.Number, ids, h.m.TimeMillis(), func(i int, s storage.Session) {
		fmt.Fprintf(&out, "%s: %s, until %s\n", names[i], s.Header, h.relative(int64(s.NotAfterMinutes)*minuteMillis))
	})
	if err != nil {
		return err.Error() + "\n"
	}
	return out.String()
}

func (h *history) list(a args) string {
	r := written(h.t, h.m)
	var rows []storage.Mailbox
	var err error
	limit := int(a.num("limit", 10))
	switch after := a.str("after", ""); {
	case a.td.HasArg("owner"):
		rows, err = r.ByOwner(a.str("owner", ""), after, limit)
	case a.td.HasArg("identity"):
		rows, err = r.ByIdentity([32]byte{byte(a.num("identity", 0))}, after, limit)
	default:
		rows, err = r.List(a.str("prefix", ""), after, limit)
	}
	if err != nil {
		return err.Error() + "\n"
	}
	var names []string
	for _, row := range rows {
		names = append(names, row.Name)
	}
	return strings.Join(names, " ") + "\n"
}
