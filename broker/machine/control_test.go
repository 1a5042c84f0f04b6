package machine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/storage"
)

// TestControl runs the histories of the control machine.
func TestControl(t *testing.T) {
	datadriven.RunTest(t, "testdata/control/grant.txt", newControlHistory(t).run)
}

type controlHistory struct {
	t      *testing.T
	fs     *vfs.MemFS
	stores *storage.Stores
	c      *Control
	log    testLog
	all    []Entry
}

func newControlHistory(t *testing.T) *controlHistory {
	h := &controlHistory{t: t, fs: vfs.NewCrashableMem(), log: testLog{now: testNow}}
	h.stores = storesOn(t, h.fs, true)
	h.open()
	t.Cleanup(func() { h.stores.Close() })
	return h
}

func (h *controlHistory) open() {
	var err error
	if h.c, err = OpenControl(h.stores); err != nil {
		h.t.Fatal(err)
	}
}

func actionsOf(names string) (a Actions) {
	for _, name := range strings.Split(names, ",") {
		a |= map[string]Actions{
			"send": ActionSend, "receive": ActionReceive, "ack": ActionAck, "peek": ActionPeek, "stat": ActionStat,
			"manage": ActionManage, "keys": ActionKeys, "admin": ActionAdmin, "other": AllActions + 1,
		}[name]
	}
	return a
}

func (h *controlHistory) run(t *testing.T, td *datadriven.TestData) string {
	a := args{td: td, h: &history{t: t}}
	var id [8]byte
	copy(id[:], a.str("id", "g1"))
	by := a.str("by", "operator/root")
	actions, resource := actionsOf(a.str("actions", "send")), a.str("resource", "team.>")
	switch td.Cmd {
	case "add":
		return h.apply(&GrantAdd{by, id, a.str("subject", "ada"), actions, resource})
	case "remove":
		return h.apply(&GrantRemove{by, id})
	case "tick":
		return h.apply(&Tick{})
	case "mail-command":
		return h.apply(&MailboxDelete{by, id16(1)})
	case "decide":
		d := Decide(h.c.Grants(), a.str("principal", "ada"), a.str("owner", ""), actions, resource)
		return fmt.Sprintf("%v by %d %s version %d\n", d.Allowed, d.By, strings.Trim(string(d.Grant[:]), "\x00"), d.Version)
	case "list":
		grants, err := h.c.reader.Grants()
		if err != nil {
			td.Fatalf(t, "%v", err)
		}
		var out strings.Builder
		for _, g := range grants {
			fmt.Fprintf(&out, "%s %s %b %s by %s\n", strings.Trim(string(g.ID[:]), "\x00"), g.Subject, g.Actions, g.Resource, g.Grantor)
		}
		return out.String()
	case "restart":
		crashed := h.fs.CrashClone(vfs.CrashCloneCfg{})
		if err := h.stores.Close(); err != nil {
			td.Fatalf(t, "%v", err)
		}
		h.fs = crashed
		h.stores = storesOn(t, h.fs, false)
		h.open()
		if _, err := h.c.Apply(h.all[h.c.Applied().Index:], nil, false); err != nil {
			td.Fatalf(t, "%v", err)
		}
		return ""
	}
	td.Fatalf(t, "unknown command")
	return ""
}

func (h *controlHistory) apply(c command) string {
	e := h.log.entry(c)
	h.all = append(h.all, e)
	out, err := h.c.Apply([]Entry{e}, nil, true)
	if err != nil {
		h.t.Fatal(err)
	}
	return out[0][0].Code.String() + "\n"
}

// Lookup is asked by many while the machine works, and is exact from the moment that Apply has returned.
func TestLookup(t *testing.T) {
	m := newMail(t)
	log := testLog{now: testNow}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				row, err := m.Lookup(boxID(1))
				if err != nil && !errors.Is(err, storage.ErrNotFound) || err == nil && row.Name != "box" {
					t.Errorf("%+v, %v", row, err)
					return
				}
			}
		})
	}
	for i := range 300 {
		owner := fmt.Sprint("owner", i)
		apply(t, m, log.entry(&MailboxCreate{owner, []MailboxCreateItem{{"box", boxID(1)}}}))
		if row, err := m.Lookup(boxID(1)); err != nil || row.Owner != owner || row.KeyVersion != 0 {
			t.Fatalf("after create %d: %+v, %v", i, row, err)
		}
		apply(t, m, log.entry(&KeyRecordPublish{Principal: owner, Mailbox: boxID(1), Version: 1, Record: []byte("r")}))
		if row, err := m.Lookup(boxID(1)); err != nil || row.KeyVersion != 1 {
			t.Fatalf("after publish %d: %+v, %v", i, row, err)
		}
		apply(t, m, log.entry(&MailboxDelete{owner, boxID(1)}))
		if row, err := m.Lookup(boxID(1)); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("after delete %d: %+v, %v", i, row, err)
		}
	}
	close(stop)
	readers.Wait()
}

// A command's Code has a name, and so has one from a newer version.
func TestCodeNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range Code(len(codeNames)) {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("code %d is called %q", c, c.String())
		}
		seen[c.String()] = true
	}
	if got := Code(200).String(); got != "code_200" {
		t.Errorf("an unknown code is called %q", got)
	}
}
