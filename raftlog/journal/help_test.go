package journal_test

import (
	"testing"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// plainRoot wraps nothing: these tests are about what the ring's keys seal.
type plainRoot struct{}

func (plainRoot) ID() string                         { return "plain" }
func (plainRoot) Wrap(key, _ []byte) ([]byte, error) { return append([]byte(nil), key...), nil }
func (plainRoot) Unwrap(wrapped, _ []byte) ([]byte, error) {
	return append([]byte(nil), wrapped...), nil
}

func ring(t testing.TB) *atrest.Ring {
	t.Helper()
	rings, err := atrest.NewRings(plainRoot{})
	if err != nil {
		t.Fatal(err)
	}
	return rings.Ring(atrest.RingJournal)
}

func openNew(t testing.TB, o journal.Options) *journal.Journal {
	t.Helper()
	if err := journal.Create(o); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
