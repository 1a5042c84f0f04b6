package journal

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

func sampleRecords() []record {
	return []record{
		entryRecord(3, &Entry{Index: 1 << 40, Term: 7, Kind: 2, Data: []byte("data")}),
		entryRecord(math.MaxUint16, &Entry{Index: math.MaxUint64, Term: math.MaxUint64}),
		{kind: recordVote, group: 1, term: 9, voteTerm: 8, candidate: "n1"},
		{kind: recordVote, group: 1, term: 9},
		{kind: recordTruncate, group: 2, index: 77},
		{kind: recordBase, group: 2, index: 78, term: 4},
		{kind: recordInstalling, group: 2, index: 79, term: 5},
		blockRecord(recordState, sampleBlock().encode()),
		blockRecord(recordIndex, sampleIndex().encode()),
	}
}

func sampleBlock() *stateBlock {
	s := newLogState()
	*s.group(0) = groupState{term: 3, voteTerm: 2, candidate: "n2", base: 1, runs: []run{}}
	*s.group(7) = groupState{term: 5, base: 10, baseTerm: 2, installIndex: 11, installTerm: 3,
		runs: []run{{2, 10, 19}, {2, 25, 25}, {9, 26, math.MaxUint64}}}
	return &stateBlock{number: 10, madeSeconds: 1 << 33, state: s,
		closed: []closedSegment{{2, 4096, 2048}, {5, 512, 0}, {9, maxSegmentEnd, 512}}}
}

func sampleIndex() segmentIndex {
	return segmentIndex{
		1: {{1, 1, 512, 0, 10, 0}, {2, 1, 512, 34, 100_000, 1}, {9, 4, 131072, 0, 0, 3}},
		4: {{math.MaxUint64, math.MaxUint64, 1 << 30, roomBytes - 1, MaxEntryBytes, 255}},
	}
}

func sampleMark() *mark {
	return &mark{generation: 12, segment: 3, durable: 5120, votes: map[uint16]ballot{
		0: {term: 4, voteTerm: 4, candidate: "n2"}, 1: {term: 9}, 2: {term: 5, voteTerm: 3, candidate: "n1"},
		9: {term: 4, voteTerm: 4, candidate: "n2"}}}
}

// format is one kind of bytes: decode returns what re-encodes them.
type format struct {
	name    string
	samples [][]byte
	decode  func([]byte) ([]byte, error)
}

func formats(t testing.TB) []format {
	var heads [][]byte
	for _, r := range sampleRecords() {
		heads = append(heads, r.appendHead(nil))
	}
	header := chunkHeader{kind: chunkPart, length: roomBytes, place: 4096, durable: 512, prev: tag{1, 15: 2}}
	slot, err := sampleMark().encode()
	if err != nil {
		t.Fatal(err)
	}
	return []format{
		{"record head", heads, func(b []byte) ([]byte, error) {
			r := codec.NewReader(b)
			rec := readHead(&r)
			if err := r.Done(); err != nil {
				return nil, err
			}
			return rec.appendHead(nil), nil
		}},
		{"chunk header", [][]byte{header.append(nil)}, func(b []byte) ([]byte, error) {
			h, err := parseChunkHeader(b)
			if err != nil {
				return nil, err
			}
			return append(h.append(nil), b[chunkHeaderBytes:]...), nil
		}},
		{"state block", [][]byte{sampleBlock().encode()}, func(b []byte) ([]byte, error) {
			block, err := parseStateBlock(b)
			if err != nil {
				return nil, err
			}
			return block.encode(), nil
		}},
		{"index", [][]byte{sampleIndex().encode(), segmentIndex{}.encode()}, func(b []byte) ([]byte, error) {
			x, err := parseIndex(b)
			if err != nil {
				return nil, err
			}
			return x.encode(), nil
		}},
		{"mark", [][]byte{slot}, func(b []byte) ([]byte, error) {
			m, err := parseMark(b)
			if err != nil {
				return nil, err
			}
			return m.encode()
		}},
	}
}

func TestFormatsRoundTrip(t *testing.T) {
	for _, f := range formats(t) {
		for _, sample := range f.samples {
			again, err := f.decode(sample)
			if err != nil || !bytes.Equal(again, sample) {
				t.Errorf("%s: %x comes back as %x, %v", f.name, sample, again, err)
			}
			for n := range sample {
				if _, err := f.decode(sample[:n]); err == nil {
					t.Errorf("%s: its first %d of %d bytes parse", f.name, n, len(sample))
				}
			}
			if _, err := f.decode(append(bytes.Clone(sample), 1)); err == nil && f.name != "chunk header" {
				t.Errorf("%s: parses with a byte more", f.name)
			}
		}
	}
}

func TestBlocksKeepTheirValues(t *testing.T) {
	block, err := parseStateBlock(sampleBlock().encode())
	if err != nil || !reflect.DeepEqual(block, sampleBlock()) {
		t.Errorf("state block comes back as %+v, %v", block, err)
	}
	x, err := parseIndex(sampleIndex().encode())
	if err != nil || !x.equal(sampleIndex()) {
		t.Errorf("index comes back as %+v, %v", x, err)
	}
	slot, err := sampleMark().encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMark(slot)
	if err != nil || !reflect.DeepEqual(m, sampleMark()) {
		t.Errorf("mark comes back as %+v, %v", m, err)
	}
}

func TestBlocksRefuse(t *testing.T) {
	block := func(change func(*stateBlock)) []byte {
		b := sampleBlock()
		change(b)
		return b.encode()
	}
	index := func(slots ...slot) []byte { return segmentIndex{1: slots}.encode() }
	tests := map[string]struct {
		in     []byte
		decode func([]byte) error
	}{
		"segment of its own number": {block(func(b *stateBlock) { b.number = 9 }), stateErr},
		"segments that fall": {block(func(b *stateBlock) {
			b.closed[1].number = 1
			b.state.groups[7].runs = nil
		}), stateErr},
		"end before the first place": {block(func(b *stateBlock) { b.closed[1].end = 0 }), stateErr},
		"index behind the end":       {block(func(b *stateBlock) { b.closed[0].index = 4096 }), stateErr},
		"vote of a later term":       {block(func(b *stateBlock) { b.state.groups[0].voteTerm = 4 }), stateErr},
		"base of 0":                  {block(func(b *stateBlock) { b.state.groups[0].base = 0 }), stateErr},
		"run below the base":         {block(func(b *stateBlock) { b.state.groups[7].base = 11 }), stateErr},
		"runs that overlap":          {block(func(b *stateBlock) { b.state.groups[7].runs[1].first = 19 }), stateErr},
		"run that wraps":             {block(func(b *stateBlock) { b.state.groups[7].runs[0].last = 8 }), stateErr},
		"slots that fall":            {index(slot{index: 2, place: 512}, slot{index: 1, place: 1024}), indexErr},
		"slot of index 0":            {index(slot{index: 0, place: 512}), indexErr},
		"slot in the header":         {index(slot{index: 1, place: 0}), indexErr},
		"two slots at a place":       {index(slot{index: 1, place: 512}, slot{index: 2, place: 512}), indexErr},
		"slot beyond the room":       {index(slot{index: 1, place: 512, off: roomBytes}), indexErr},
		"slot of a huge entry":       {index(slot{index: 1, place: 512, length: MaxEntryBytes + 1}), indexErr},
		"group without slots":        {index(), indexErr},
	}
	for name, tt := range tests {
		if err := tt.decode(tt.in); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for name, decode := range map[string]func([]byte) error{"state block": stateErr, "index": indexErr, "mark": markErr} {
		if err := decode([]byte{2, 0, 0}); !errors.Is(err, ErrVersion) {
			t.Errorf("%s of version 2: %v", name, err)
		}
	}
}

func stateErr(b []byte) error { _, err := parseStateBlock(b); return err }
func indexErr(b []byte) error { _, err := parseIndex(b); return err }
func markErr(b []byte) error  { _, err := parseMark(b); return err }

// A byte of an entry is found by arithmetic where the packer put it.
func TestDataPart(t *testing.T) {
	for _, off := range []int{0, 1, roomBytes - entryHeadBytes - 1, roomBytes - entryHeadBytes, roomBytes, 5 * roomBytes} {
		part, at := dataPart(entryHeadBytes, off)
		if part*roomBytes+at != entryHeadBytes+off || at >= roomBytes {
			t.Errorf("byte %d is in part %d at %d", off, part, at)
		}
	}
}

// The bound that segments are filled by must never be below what the packer makes.
func TestDiskBound(t *testing.T) {
	for _, sizes := range [][]int{{0}, {1, 1, 1}, {roomBytes - entryHeadBytes}, {roomBytes - entryHeadBytes + 1},
		{20_000, 20_000, 20_000}, {1 << 20, 5, 1 << 20}, {32_000, 900, 32_000, 900, 32_000, 900}, make([]int, 5000)} {
		var p packer
		bytes := 0
		for range sizes {
			bytes += entryHeadBytes
		}
		for _, n := range sizes {
			bytes += n
		}
		bound := diskBound(len(sizes), bytes)
		p.begin(testFile(t), firstPlace, tag{}, bound)
		for i, n := range sizes {
			rec := entryRecord(1, &Entry{Index: uint64(i + 1), Data: make([]byte, n)})
			p.add(&rec)
		}
		p.close()
		if len(p.buf) > bound {
			t.Errorf("%d records of %d bytes took %d, bound %d", len(sizes), bytes, len(p.buf), bound)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"mark", "1.seg", "000000000000001G.seg", "00000000000000FF.seg", "+000000000000001.seg",
		strings.Repeat("0", 17) + ".seg", strings.Repeat("0", 16) + ".spare"} {
		if n, ok := parseName(name, segmentSuffix); ok {
			t.Errorf("%s is taken for segment %d", name, n)
		}
	}
	if n, ok := parseName(segmentName(0xabc), segmentSuffix); n != 0xabc || !ok {
		t.Errorf("%s is not taken for segment 0xabc", segmentName(0xabc))
	}
}
