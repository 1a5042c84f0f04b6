package machine

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/storage"
)

// testNow is when tests begin, in replicated time.
const testNow = int64(1_800_000_000_000)

func storesOn(t testing.TB, fs vfs.FS, create bool) *storage.Stores {
	t.Helper()
	o := storage.Options{
		Dir: "data", FS: func(storage.Kind) vfs.FS { return fs },
		Fatal: func(err error) { t.Errorf("store failed: %v", err) },
	}
	if create {
		if err := storage.Create(o); err != nil {
			t.Fatal(err)
		}
	}
	s, err := storage.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStores(t testing.TB) *storage.Stores {
	s := storesOn(t, vfs.NewMem(), true)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newMail(t testing.TB) *Mail {
	m, err := OpenMail(newStores(t), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// written returns a reader of the rows as the machine has applied them.
func written(t testing.TB, m *Mail) storage.Reader {
	t.Helper()
	if err := m.WriteOut(); err != nil {
		t.Fatal(err)
	}
	return m.reader
}

func boxID(n uint64) (id [16]byte) {
	id[0] = 'b'
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func sessionID(n uint64) (id [16]byte) {
	id[0] = 's'
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func leaseID(n uint64) (id [8]byte) {
	binary.BigEndian.PutUint64(id[:], n|1<<63)
	return id
}

func minutes(millis int64) uint32 { return uint32(millis / minuteMillis) }

// log builds entries one after the other.
type testLog struct {
	index uint64
	now   int64
}

func (l *testLog) entry(commands ...command) Entry {
	l.index++
	data := AppendEntryHeader(nil, l.now, 1)
	for _, c := range commands {
		data = c.Append(data)
	}
	return Entry{Index: l.index, Term: 1, Data: data}
}

func apply(t testing.TB, m *Mail, e ...Entry) [][]Outcome {
	t.Helper()
	out, err := m.Apply(e, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
