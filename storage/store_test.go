package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func optionsOn(t testing.TB, fs vfs.FS) Options {
	return Options{Dir: "data", FS: func(Kind) vfs.FS { return fs }, Fatal: func(err error) { t.Errorf("failed: %v", err) }}
}

func openOn(t testing.TB, fs vfs.FS, create bool) *Stores {
	t.Helper()
	o := optionsOn(t, fs)
	if create {
		if err := Create(o); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStores(t testing.TB, s *Stores) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Open makes nothing and Create overwrites nothing.
func TestCreateAndOpen(t *testing.T) {
	fs := vfs.NewMem()
	o := optionsOn(t, fs)
	if _, err := Open(o); err == nil {
		t.Fatal("opened what was never created")
	}
	if names, _ := fs.List("data"); len(names) != 0 {
		t.Fatalf("opening left %v", names)
	}
	if err := fs.MkdirAll(o.path(State), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, ErrMissing) {
		t.Fatalf("opened an empty directory with %v", err)
	}
	if names, _ := fs.List(o.path(State)); len(names) != 0 {
		t.Fatalf("opening left %v", names)
	}
	if err := Create(o); err != nil {
		t.Fatal(err)
	}
	if err := Create(o); err == nil {
		t.Fatal("created over a store")
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Open(o); err == nil {
		closeStores(t, second)
		t.Fatal("opened twice")
	}
	closeStores(t, s)
	for _, k := range Kinds() {
		if got := fs.PathBase(o.path(k)); got != k.String() {
			t.Errorf("store %v lies in %s", k, got)
		}
	}
}

// A store that was created is there after a power cut.
func TestCreateIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll("data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Create(optionsOn(t, fs)); err != nil {
		t.Fatal(err)
	}
	closeStores(t, openOn(t, fs.CrashClone(vfs.CrashCloneCfg{}), false))
}

// A store in the place of another, of a newer format, or without a format row is refused.
func TestForeignStore(t *testing.T) {
	tests := map[string]func(db *pebble.DB) error{
		"another kind": func(db *pebble.DB) error { return db.Set(formatKey(), []byte{Format, byte(Bodies)}, pebble.NoSync) },
		"newer format": func(db *pebble.DB) error { return db.Set(formatKey(), []byte{Format + 1, byte(State)}, pebble.NoSync) },
		"older format": func(db *pebble.DB) error { return db.Set(formatKey(), []byte{1, byte(State)}, pebble.NoSync) },
		"longer row":   func(db *pebble.DB) error { return db.Set(formatKey(), []byte{Format, 0, 0}, pebble.NoSync) },
		"no row":       func(db *pebble.DB) error { return db.Delete(formatKey(), pebble.NoSync) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openOn(t, fs, true)
			if err := errors.Join(change(s.dbs[State]), s.dbs[State].Flush()); err != nil {
				t.Fatal(err)
			}
			closeStores(t, s)
			if s, err := Open(optionsOn(t, fs)); !errors.Is(err, ErrFormat) {
				if err == nil {
					closeStores(t, s)
				}
				t.Errorf("opened with %v", err)
			} else if name == "older format" && !strings.Contains(err.Error(), "version 1, and this program reads version 3") {
				t.Errorf("does not name the versions: %v", err)
			}
		})
	}
	t.Run("older merger", func(t *testing.T) { // stores of format 2 were made with Pebble's own
		fs := vfs.NewMem()
		for _, k := range Kinds() {
			o := optionsOn(t, fs).pebble(k, shared{log: newLogger(optionsOn(t, fs))})
			o.Merger = nil
			db, err := pebble.Open(optionsOn(t, fs).path(k), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Set(formatKey(), []byte{2, byte(k)}, pebble.NoSync), db.Flush(), db.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(optionsOn(t, fs)); !errors.Is(err, ErrFormat) ||
			!strings.Contains(err.Error(), "version 2, and this program reads version 3") {
			t.Errorf("opened with %v", err)
		}
	})
	t.Run("swapped directories", func(t *testing.T) {
		fs := vfs.NewMem()
		closeStores(t, openOn(t, fs, true))
		state, keys := filepath.Join("data", "state"), filepath.Join("data", "keys")
		for _, move := range [][2]string{{state, "aside"}, {keys, state}, {"aside", keys}} {
			if err := fs.Rename(move[0], move[1]); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := Open(optionsOn(t, fs)); !errors.Is(err, ErrFormat) {
			if err == nil {
				closeStores(t, s)
			}
			t.Errorf("opened with %v", err)
		}
	})
}

// The format that stores are written in is the one that Pebble 2.1.7 calls newest, and moves only when we say so.
func TestFormatMajorVersion(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	for k, db := range s.dbs {
		if db.FormatMajorVersion() != formatMajorVersion || formatMajorVersion != pebble.FormatNewest {
			t.Errorf("store %v has format %v, Pebble's newest is %v", Kind(k), db.FormatMajorVersion(), pebble.FormatNewest)
		}
	}
}

func mark(index uint64) *Marks {
	return &Marks{
		Applied:    Applied{Index: index, Term: 1, ConfigIndex: index / 10, Config: fmt.Append(nil, "config ", index/10)},
		TimeMillis: int64(index), ConfigChanged: index%10 == 0,
	}
}

// What a crash keeps is a whole number of batches, and DurableApplied knows how many; the lower store counts.
func TestDurableApplied(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs, true)
	b := s.NewBatch(1)
	commit := func(index uint64, key bool) {
		t.Helper()
		b.PutGrant(&Grant{ID: id8(byte(index))})
		if key {
			b.PutSecret(id16(byte(index)), 1, id32(1))
		}
		if err := b.Commit(mark(index), mark(index)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want uint64) {
		t.Helper()
		a, err := s.DurableApplied(1)
		if err != nil || a.Index != want || a.ConfigIndex != want/10 || want >= 10 && string(a.Config) != fmt.Sprint("config ", want/10) {
			t.Fatalf("durable at %+v, %v, want %d", a, err, want)
		}
	}
	check(0)
	commit(10, true)
	commit(11, false)
	check(0)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(11)
	commit(20, false)
	if err := s.FlushOne(State); err != nil {
		t.Fatal(err)
	}
	check(11) // keys/ does not say that it is at 20
	commit(21, true)
	if err := s.FlushOne(Keys); err != nil {
		t.Fatal(err)
	}
	check(20)

	// The crash takes what was not flushed and nothing else; a row of keys/ may be ahead of state/.
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	closeStores(t, s)
	s = openOn(t, crashed, false)
	defer func() { closeStores(t, s) }()
	check(20)
	state, keys, now, err := s.Applied(1)
	if err != nil || state.Index != 20 || keys.Index != 21 || now != 20 {
		t.Fatalf("state at %d, keys at %d, time %d, %v", state.Index, keys.Index, now, err)
	}
	if g, err := s.Reader(1).Grants(); err != nil || len(g) != 3 {
		t.Fatalf("%d grants, %v, want the 3 of batches 10, 11 and 20", len(g), err)
	}
	if _, err := s.Reader(1).MailboxKey(id16(21), 1); err != nil {
		t.Fatalf("secret of batch 21: %v", err)
	}

	// Replaying raises state/ alone; a flush in between must not say more of keys/ than is in it.
	b = s.NewBatch(1)
	b.PutGrant(&Grant{ID: id8(21)})
	if err := b.Commit(mark(21), nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Flush(t.Context()), b.Close()); err != nil {
		t.Fatal(err)
	}
	check(21)
}

// After a crash that kept more of state/ than of keys/, a flush while the log is applied again says of keys/ only what
// was applied to it.
func TestFlushDuringReplay(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs, true)
	b := s.NewBatch(1)
	for index := uint64(1); index <= 9; index++ {
		b.PutGrant(&Grant{ID: id8(byte(index))})
		if err := b.Commit(mark(index), mark(index)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.FlushOne(State), b.Close()); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	closeStores(t, s)
	s = openOn(t, crashed, false)
	defer closeStores(t, s)
	b = s.NewBatch(1)
	defer b.Close()
	if err := b.Commit(nil, mark(4)); err != nil { // the entries up to 4 once more, for keys/
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err := s.DurableApplied(1); err != nil || a.Index != 4 {
		t.Fatalf("durable at %d, %v, want 4: entries 5 to 9 never reached keys/", a.Index, err)
	}
}

// Groups share the stores and see nothing of each other.
func TestGroupsAreApart(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	for group := range uint16(3) {
		b := s.NewBatch(group)
		b.AddMailbox(&Mailbox{Number: 1, ID: id16(1), Name: fmt.Sprint("box of ", group), Owner: "ada"})
		b.PutSecret(id16(1), 1, id32(byte(group)))
		if err := errors.Join(b.Commit(mark(uint64(group)+5), mark(uint64(group)+5)), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	digests := map[[32]byte]bool{}
	for group := range uint16(3) {
		r := s.Reader(group)
		list, err := r.List("", "", 10)
		if err != nil || len(list) != 1 || list[0].Name != fmt.Sprint("box of ", group) {
			t.Errorf("group %d lists %+v, %v", group, list, err)
		}
		if secret, err := r.MailboxKey(id16(1), 1); err != nil || secret != id32(byte(group)) {
			t.Errorf("group %d has secret %x, %v", group, secret, err)
		}
		d, err := r.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[d] = true
	}
	if len(digests) != 3 {
		t.Error("two groups have one digest")
	}
}

func TestList(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	names := []string{"a", "a.b", "a.b.c", "ab", "b", "\xff", "\xff\xff"}
	b := s.NewBatch(1)
	for i, name := range names {
		m := &Mailbox{Number: uint64(i + 1), ID: id16(byte(i)), Name: name, Owner: []string{"ada", "bob"}[i%2], Identity: id32(7)}
		b.AddMailbox(m)
		b.AddIdentity(m)
	}
	if err := errors.Join(b.Commit(mark(1), nil), b.Close()); err != nil {
		t.Fatal(err)
	}
	r, closer := s.Snapshot(1)
	defer closer.Close()
	tests := []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 100, names}, {"", "", 2, names[:2]}, {"", "a.b", 2, names[2:4]}, {"", "aa", 100, names[3:]},
		{"a.", "", 100, names[1:3]}, {"a.", "a.b", 100, names[2:3]}, {"a.", "0", 100, names[1:3]}, {"a.", "z", 100, nil},
		{"\xff", "", 100, names[5:]}, {"c", "", 100, nil}, {"", "", 0, nil}, {"", "\xff\xff", 9, nil},
	}
	for _, tt := range tests {
		list, err := r.List(tt.prefix, tt.after, tt.limit)
		if got := nameList(list); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("List(%q, %q, %d) = %q, %v, want %q", tt.prefix, tt.after, tt.limit, got, err, tt.want)
		}
	}
	if list, err := r.ByOwner("bob", "a.b", 10); err != nil || !slices.Equal(nameList(list), []string{"ab", "\xff"}) {
		t.Errorf("ByOwner gives %q, %v", nameList(list), err)
	}
	if list, err := r.ByIdentity(id32(7), "b", 1); err != nil || !slices.Equal(nameList(list), []string{"\xff"}) {
		t.Errorf("ByIdentity gives %q, %v", nameList(list), err)
	}
	if list, err := r.ByIdentity(id32(8), "", 10); err != nil || len(list) != 0 {
		t.Errorf("ByIdentity gives %q, %v", nameList(list), err)
	}
}

func nameList(list []Mailbox) (names []string) {
	for _, m := range list {
		names = append(names, m.Name)
	}
	return names
}

// A snapshot stays at its moment.
func TestSnapshot(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	r, closer := s.Snapshot(1)
	b := s.NewBatch(1)
	b.AddMailbox(&Mailbox{Number: 1, ID: id16(1), Name: "box", Owner: "ada"})
	b.PutSecret(id16(1), 1, id32(1))
	if err := errors.Join(b.Commit(mark(1), mark(1)), b.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.MailboxByName("box"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the snapshot has a mailbox: %v", err)
	}
	if _, err := r.MailboxKey(id16(1), 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("the snapshot has a secret: %v", err)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reader(1).MailboxByName("box"); err != nil {
		t.Error(err)
	}
}

// A row that does not parse is an error that says so, wherever it is met.
func TestDamagedRows(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	for _, table := range []byte{tableApplied, tableName, tableMailbox, tableState, tablePage, tableGrant} {
		k := newKey(nil, 1, table)
		switch table {
		case tableName:
			k = k.str("box")
		case tableMailbox, tableState:
			k = k.u64(1)
		case tablePage:
			k = k.u64(1).u64(1)
		case tableGrant:
			k = k.u64(0)
		}
		if err := s.dbs[State].Set(k, []byte{9}, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	r := s.Reader(1)
	reads := map[string]func() error{
		"applied": func() error { _, _, _, err := s.Applied(1); return err },
		"durable": func() error { _ = s.FlushOne(State); _, err := s.DurableApplied(1); return err },
		"name":    func() error { _, err := r.MailboxByName("box"); return err },
		"list":    func() error { _, err := r.List("", "", 1); return err },
		"mailbox": func() error { _, err := r.Mailbox(1); return err },
		"state":   func() error { _, err := r.MailboxState(1); return err },
		"page":    func() error { var p Page; return r.Page(1, 1, &p) },
		"holds":   func() error { return r.Holds(func(Hold) error { return nil }) },
		"grants":  func() error { _, err := r.Grants(); return err },
	}
	for name, read := range reads {
		if err := read(); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The first failed write behind the callers' backs is told once, and no flush succeeds after it, even if a second try
// of the same bytes would.
func TestFatal(t *testing.T) {
	var failing atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && filepath.Ext(op.Path) == ".sst" && failing.CompareAndSwap(true, false) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	closeStores(t, openOn(t, fs, true))
	var told []error
	s, err := Open(Options{Dir: "data", FS: func(Kind) vfs.FS { return fs }, Fatal: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStores(t, s)
	b := s.NewBatch(1)
	b.PutGrant(&Grant{ID: id8(1)})
	if err := errors.Join(b.Commit(mark(1), mark(1)), b.Close()); err != nil {
		t.Fatal(err)
	}
	failing.Store(true)
	for range 2 {
		if err := s.Flush(t.Context()); !errors.Is(err, errorfs.ErrInjected) {
			t.Errorf("flushed with %v", err)
		}
	}
	<-s.shared.log.failed
	if len(told) != 1 || !errors.Is(told[0], errorfs.ErrInjected) {
		t.Errorf("told of %v", told)
	}
}

func TestMetrics(t *testing.T) {
	s := openOn(t, vfs.NewMem(), true)
	defer closeStores(t, s)
	b := s.NewBatch(1)
	b.PutGrant(&Grant{ID: id8(1)})
	if err := errors.Join(b.Commit(mark(1), nil), b.Close(), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	for i, m := range s.Metrics() {
		if m.Kind != Kind(i) || m.DiskBytes == 0 || m.Kind == State && m.FlushedBytes == 0 {
			t.Errorf("%+v", m)
		}
	}
}
