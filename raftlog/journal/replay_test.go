package journal

import (
	"errors"
	"io"
	"testing"

	"github.com/sealmq/sealmq/internal/atrest"
)

// testRoot wraps nothing.
type testRoot struct{}

func (testRoot) ID() string                         { return "test" }
func (testRoot) Wrap(key, _ []byte) ([]byte, error) { return append([]byte(nil), key...), nil }
func (testRoot) Unwrap(wrapped, _ []byte) ([]byte, error) {
	return append([]byte(nil), wrapped...), nil
}

func testFile(t testing.TB) *atrest.File {
	t.Helper()
	rings, err := atrest.NewRings(testRoot{})
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := rings.Ring(atrest.RingJournal).NewFile(atrest.ModeJournal, atrest.StoreID{1}, chunkLog2, segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// bytesFile is a segment's bytes that only the test writes.
type bytesFile []byte

func (b *bytesFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(*b)) {
		return 0, io.EOF
	}
	n := copy(p, (*b)[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
func (b *bytesFile) Size() (int64, error)             { return int64(len(*b)), nil }
func (*bytesFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (*bytesFile) SyncData() error                    { return errors.ErrUnsupported }
func (*bytesFile) Truncate(int64) error               { return errors.ErrUnsupported }
func (*bytesFile) Close() error                       { return nil }

// forged is a segment whose chunks are all authentic and that the journal would not have written.
type forged struct {
	t      *testing.T
	sealed *atrest.File
	bytes  bytesFile
	p      packer
	tag    tag
}

func newForged(t *testing.T) *forged {
	f := &forged{t: t, sealed: testFile(t), bytes: make(bytesFile, firstPlace)}
	block := stateBlock{number: 1, state: newLogState()}
	f.flush(firstPlace, blockRecord(recordState, block.encode()))
	return f
}

// flush appends one chunk with records that states a durable point.
func (f *forged) flush(durable uint32, records ...record) {
	f.p.begin(f.sealed, f.end(), f.tag, 0)
	for i := range records {
		f.p.add(&records[i])
	}
	f.sealAs(durable)
	f.bytes = append(f.bytes, f.p.buf...)
	f.tag = f.p.prev
}

// sealAs is packer.close with another durable point.
func (f *forged) sealAs(durable uint32) {
	p := &f.p
	h := chunkHeader{kind: chunkRecords, length: uint32(len(p.plain)), place: p.place(), durable: durable, prev: p.prev}
	p.header = h.append(p.header[:0])
	p.buf = append(p.buf, p.header...)
	p.buf = p.sealed.Seal(p.buf, p.plain, chunkAAD(nil, p.header))
	copy(p.prev[:], p.buf[len(p.buf)-tagBytes:])
	p.buf = append(p.buf, zeroUnit[:h.diskBytes()-h.sealedBytes()]...)
}

func (f *forged) end() uint32 { return uint32(len(f.bytes)) }

// replay reads the segment by the tail rule.
func (f *forged) replay() error {
	s := &segmentFile{number: 1, path: "forged", file: &f.bytes, sealed: f.sealed}
	r, err := startReplay(s, true)
	if err != nil {
		return err
	}
	if err := r.tail(); err != nil {
		return err
	}
	return r.settle()
}

func entry(index uint64) record {
	return entryRecord(1, &Entry{Index: index, Term: 1, Data: []byte("data")})
}

// Chunks that authenticate but contradict each other are damage, wherever they are.
func TestForgedSegments(t *testing.T) {
	tests := map[string]struct {
		build func(f *forged)
		bad   bool
	}{
		"as written": {func(f *forged) {
			f.flush(f.end(), entry(1))
			f.flush(f.end(), entry(2))
		}, false},
		"other tag before": {func(f *forged) {
			f.flush(f.end(), entry(1))
			f.tag[3] ^= 1
			f.flush(f.end(), entry(2))
		}, true},
		"durable point that goes back": {func(f *forged) {
			f.flush(f.end(), entry(1))
			f.flush(firstPlace, entry(2))
		}, true},
		"durable point inside a flush": {func(f *forged) {
			d := f.end()
			f.flush(d, entry(1))
			inside := f.end()
			f.flush(d, entry(2))
			f.flush(inside, entry(3))
		}, true},
		"behind a hole, of the same flush": {func(f *forged) {
			d := f.end()
			f.flush(d, entry(1))
			hole := f.end()
			f.flush(d, entry(2))
			f.flush(d, entry(3))
			clear(f.bytes[hole : hole+unitBytes])
		}, false},
		"behind a hole, of a later flush": {func(f *forged) {
			f.flush(f.end(), entry(1))
			hole := f.end()
			f.flush(hole, entry(2))
			f.flush(f.end(), entry(3))
			clear(f.bytes[hole : hole+unitBytes])
		}, true},
		"behind a hole, other tag before": {func(f *forged) {
			d := f.end()
			f.flush(d, entry(1))
			hole := f.end()
			f.flush(d, entry(2))
			f.flush(d, entry(3))
			f.tag[0] ^= 1
			f.flush(d, entry(4))
			clear(f.bytes[hole : hole+unitBytes])
		}, true},
		"second state block": {func(f *forged) {
			block := stateBlock{number: 1, state: newLogState()}
			f.flush(f.end(), blockRecord(recordState, block.encode()))
		}, true},
		"record behind the index": {func(f *forged) {
			f.flush(f.end(), blockRecord(recordIndex, segmentIndex{}.encode()))
			f.flush(f.end(), entry(1))
		}, true},
		"index of other entries": {func(f *forged) {
			f.flush(f.end(), entry(1))
			f.flush(f.end(), blockRecord(recordIndex, segmentIndex{}.encode()))
		}, true},
		"entry below the base": {func(f *forged) {
			f.flush(f.end(), record{kind: recordBase, group: 1, index: 5}, entry(4))
		}, true},
		"term that goes back": {func(f *forged) {
			f.flush(f.end(), record{kind: recordVote, group: 1, term: 5}, record{kind: recordVote, group: 1, term: 4})
		}, true},
		"base that goes back": {func(f *forged) {
			f.flush(f.end(), record{kind: recordBase, group: 1, index: 5}, record{kind: recordBase, group: 1, index: 4})
		}, true},
	}
	for name, tt := range tests {
		f := newForged(t)
		tt.build(f)
		err := f.replay()
		var d *DamagedError
		if bad := errors.As(err, &d); bad != tt.bad || (err != nil && !bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the mark says must be in the journal, and what the mark names as durable is no torn tail.
func TestCheckMark(t *testing.T) {
	f := newForged(t)
	start := f.end()
	f.flush(start, record{kind: recordVote, group: 1, term: 5, voteTerm: 4, candidate: "n1"})
	last := f.end()
	f.flush(last, entry(1))
	vote := func(term, voteTerm uint64, candidate string) map[uint16]ballot {
		return map[uint16]ballot{1: {term, voteTerm, candidate}}
	}
	tests := map[string]struct {
		m       mark
		bad     bool
		pending int // records left to be written again
	}{
		"as it was":                {mark{segment: 1, durable: last, votes: vote(5, 4, "n1")}, false, 1},
		"of an earlier time":       {mark{segment: 1, durable: start, votes: vote(4, 4, "n1")}, false, 1},
		"all of it durable":        {mark{segment: 1, durable: f.end(), votes: vote(5, 4, "n1")}, false, 0},
		"more than all of it":      {mark{segment: 1, durable: f.end() + unitBytes}, true, 0},
		"durable inside a flush":   {mark{segment: 1, durable: last + unitBytes/2}, true, 0},
		"of a segment to come":     {mark{segment: 2, durable: firstPlace}, true, 0},
		"a later term":             {mark{segment: 1, durable: last, votes: vote(6, 4, "n1")}, true, 0},
		"a later vote":             {mark{segment: 1, durable: last, votes: vote(5, 5, "n1")}, true, 0},
		"another vote in the term": {mark{segment: 1, durable: last, votes: vote(5, 4, "n2")}, true, 0},
		"a group that is unknown":  {mark{segment: 1, durable: last, votes: map[uint16]ballot{2: {term: 1}}}, true, 0},
	}
	for name, tt := range tests {
		r, err := startReplay(&segmentFile{number: 1, path: "forged", file: &f.bytes, sealed: f.sealed}, true)
		if err == nil {
			err = r.tail()
		}
		if err != nil {
			t.Fatal(err)
		}
		err = checkMark(&Options{}, &tt.m, r)
		var d *DamagedError
		if bad := errors.As(err, &d); bad != tt.bad || (err != nil && !bad) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(r.pending) != tt.pending {
			t.Errorf("%s: %d records would be written again, want %d", name, len(r.pending), tt.pending)
		}
	}
}

func TestIndexHolds(t *testing.T) {
	x := segmentIndex{1: {{index: 3}, {index: 4}, {index: 6}}}
	for _, tt := range []struct {
		group       uint16
		first, last uint64
		want        bool
	}{{1, 3, 4, true}, {1, 6, 6, true}, {1, 3, 6, false}, {1, 2, 3, false}, {1, 6, 7, false}, {2, 3, 3, false}} {
		if got := x.holds(tt.group, run{first: tt.first, last: tt.last}); got != tt.want {
			t.Errorf("entries %d to %d of group %d held: %v", tt.first, tt.last, tt.group, got)
		}
	}
}
