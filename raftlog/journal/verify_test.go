package journal

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/sealmq/sealmq/internal/atrest"
)

// A state block that counts entries which its older segment does not hold is damage of that segment.
func TestRunsMustBeInTheirSegment(t *testing.T) {
	rings, err := atrest.NewRings(testRoot{})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(t.TempDir(), "journal"), Ring: rings.Ring(atrest.RingJournal)}
	if err := Create(o); err != nil {
		t.Fatal(err)
	}
	if err := o.fill(); err != nil {
		t.Fatal(err)
	}
	first, err := openSegment(&o, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer first.file.Close()
	r, err := startReplay(first, false)
	if err != nil {
		t.Fatal(err)
	}
	state := newLogState()
	state.group(1).runs = []run{{segment: 1, first: 1, last: 5}}
	b := birth{o: &o, number: 2, prev: r.lastTag, closed: []closedSegment{{number: 1, end: r.settled}}, state: state}
	if b.spare, err = reserveSpare(&o, 1, firstPlace); err != nil {
		t.Fatal(err)
	}
	second, err := b.make()
	if err != nil {
		t.Fatal(err)
	}
	defer second.file.Close()
	_, err = Open(o)
	var d *DamagedError
	if !errors.As(err, &d) || d.File != first.path {
		t.Errorf("%v, want damage of %s", err, first.path)
	}
}
