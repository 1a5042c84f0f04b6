package storage

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

func fill(b []byte, from byte) {
	for i := range b {
		b[i] = from + byte(i)
	}
}

func id8(from byte) (id [8]byte)   { fill(id[:], from); return id }
func id16(from byte) (id [16]byte) { fill(id[:], from); return id }
func id32(from byte) (id [32]byte) { fill(id[:], from); return id }

// record is what every row's type has.
type record interface {
	append(dst []byte) []byte
	decode(row []byte) error
}

// applied and number give rows without a type of their own one.
type appliedRow struct {
	Applied
	TimeMillis int64
}

func (a *appliedRow) append(dst []byte) []byte { return appendApplied(dst, a.Applied, a.TimeMillis) }

func (a *appliedRow) decode(row []byte) (err error) {
	a.TimeMillis, err = decodeApplied(row, &a.Applied)
	return err
}

type configRow struct{ Applied }

func (c *configRow) append(dst []byte) []byte { return appendConfig(dst, c.Applied) }
func (c *configRow) decode(row []byte) error  { return decodeConfig(row, &c.Applied) }

type numberRow struct{ number uint64 }

func (n *numberRow) append(dst []byte) []byte { return appendNumber(dst, n.number) }

func (n *numberRow) decode(row []byte) (err error) {
	n.number, err = decodeNumber(row)
	return err
}

// keyedBundles is the row of a partition.
type keyedBundles struct{ bundles [][]KeyedRow }

func (p *keyedBundles) append(dst []byte) []byte {
	for _, rows := range p.bundles {
		order := make([]uint32, len(rows))
		for i := range order {
			order[i] = uint32(i)
		}
		dst = appendKeyedBundle(dst, rows, order)
	}
	return dst
}

func (p *keyedBundles) decode(row []byte) error {
	p.bundles = nil
	var lengths []int
	for rest := row; len(rest) > 0; {
		ids, next, err := cutKeyedBundle(rest)
		if err != nil {
			return err
		}
		lengths, rest = append(lengths, len(ids)/keyedIDBytes), next
	}
	var all []KeyedRow
	err := eachKeyed(keyedKey(nil, 1, 0, 0), row, func(r *KeyedRow) error { all = append(all, *r); return nil })
	for _, n := range lengths {
		if n <= len(all) {
			p.bundles, all = append(p.bundles, all[:n:n]), all[n:]
		}
	}
	return err
}

var (
	_ record = (*keyedBundles)(nil)
	_ record = (*Mailbox)(nil)
	_ record = (*MailboxState)(nil)
	_ record = (*GroupState)(nil)
	_ record = (*addressRow)(nil)
	_ record = (*Expiry)(nil)
	_ record = (*Page)(nil)
	_ record = (*Producer)(nil)
	_ record = (*Session)(nil)
	_ record = (*LiveSessions)(nil)
	_ record = (*Grant)(nil)
)

func sampleAddresses() []Address {
	const index, stored = 1 << 40, 1_800_000_000_000
	return []Address{
		{index, 7, stored, 100, 1200, 3, 30_000_000, id16(1)},
		{index, 7, stored, 1350, 900, 3, 30_000_000, id16(2)},
		{index, 7, stored, 2260, 1, 4, 30_000_001, id16(3)},
		{index + 1, 7, stored, 30, 1200, 4, 30_000_001, id16(4)},
		{index + 300, 9, stored + 5_000, 64, 1201, 3, 30_000_002, id16(5)},
	}
}

func samplePage() Page {
	return Page{
		Leases: []PageLease{
			{ID: id8(1), Principal: id16(2), Receiver: id16(3), Attempt: id16(4), DeadlineMillis: 1_800_000_030_000},
			{ID: id8(1), Principal: id16(2), Receiver: id16(3), DeadlineMillis: 1_800_000_060_000},
			{ID: id8(5), Principal: id16(6), Receiver: id16(3), DeadlineMillis: 1_800_000_030_000},
		},
		Acked: [][8]byte{id8(7), id8(8)},
		Spans: []Span{
			{First: 0, Last: 9, State: SpanDone, Ref: NoRef},
			{First: 10, Last: 20, State: SpanDone, Ref: 0},
			{First: 21, Last: 21, State: SpanDone, Ref: 1},
			{First: 22, Last: 30, State: SpanLeased, Ref: 0, Attempts: 1},
			{First: 31, Last: 40, State: SpanLeased, Ref: 1, Attempts: 2, Failures: 1},
			{First: 50, Last: 50, State: SpanReturned, Attempts: 0},
			{First: 60, Last: 70, State: SpanDelayed, Attempts: 3, Failures: 2, Due: 1_800_000_040_000},
			{First: 80, Last: 80, State: SpanDead, Reason: DeadBadSeal, Attempts: 1},
			{First: 255, Last: 255, State: SpanLeased, Ref: 2, Attempts: 300, Failures: 19},
		},
	}
}

func sampleProducer() Producer {
	return Producer{Floor: 1000, Runs: []ProducerRun{{1000, 64, 5}, {1064, 1, 70}, {2000, 3, 300}}}
}

// samples has a row of every table.
func samples() map[string]record {
	addresses, page, producer := addressRow(sampleAddresses()), samplePage(), sampleProducer()
	state := NewMailboxState()
	return map[string]record{
		"applied": &appliedRow{Applied{Index: 300, Term: 2}, 1_800_000_000_000},
		"config":  &configRow{Applied{ConfigIndex: 299, Config: []byte("members")}},
		"group":   &GroupState{NextMailbox: 9, DedupWindow: 1, SessionDay: 2, ExpiryBucket: 3, ExpiryMailbox: 4},
		"number":  &numberRow{300},
		"mailbox": &Mailbox{
			ID: id16(1), Name: "team.box", Owner: "ada", CreatedMillis: 1_800_000_000_000, KeyVersion: 2,
			KeyHash: id32(2), Identity: id32(3),
		},
		"mailbox without keys": &Mailbox{ID: id16(1), Name: "team.box", Owner: "ada", CreatedMillis: 1_800_000_000_000},
		"new mailbox state":    &state,
		"mailbox state": &MailboxState{
			Base: 60, Head: 62, Next: 67, Leased: 1, Delayed: 2, Dead: 3, Returned: 4, Bytes: 5000,
			Bucket: 3_000_000, BucketFirst: 60, BucketLast: 66,
			Epochs:    []EpochState{{3, 4, 2, 64}, {9, 1, 0, 66}},
			Producers: []InlineProducer{{id16(1), id8(2), 3_000_000, producer}},
			Inline:    sampleAddresses(),
			Page:      page,
		},
		"addresses": &addresses,
		"page":      &page,
		"expiry":    &Expiry{1, 0},
		"producer":  &producer,
		"keyed ids": &keyedBundles{bundles: [][]KeyedRow{
			{{KeyedID{0, 300, id16(1), id16(2)}, Keyed{1 << 40, id16(3)}}, {KeyedID{0, 1, id16(4), id16(5)}, Keyed{1, id16(6)}}},
		}},
		"session":       &Session{id16(1), 30_000_000, []byte("sealed header")},
		"live sessions": &LiveSessions{[]uint32{30_000_000, 30_000_060}},
		"grant":         &Grant{Subject: "svc.*", Resource: "team.>", Grantor: "operator/root", Actions: 5, CreatedMillis: 1_800_000_000_000},
	}
}

// open ends in a rest of any length, so that its beginnings parse too.
var openRows = map[string]bool{"config": true, "session": true, "live sessions": true}

// TestRowVectors holds the bytes of rows. A changed line in its file is a changed format.
func TestRowVectors(t *testing.T) {
	seen := 0
	datadriven.RunTest(t, "testdata/rows.txt", func(t *testing.T, td *datadriven.TestData) string {
		if td.Cmd == "refused" {
			return refusal(t, td)
		}
		r := samples()[strings.ReplaceAll(td.Cmd, "-", " ")]
		if r == nil {
			td.Fatalf(t, "no such row")
		}
		seen++
		return hex.EncodeToString(r.append(nil)) + "\n"
	})
	if seen != len(samples()) {
		t.Errorf("%d rows of %d have a vector", seen, len(samples()))
	}
}

// refusal returns why a row of an older version is refused.
func refusal(t *testing.T, td *datadriven.TestData) string {
	var name string
	td.ScanArgs(t, "row", &name)
	row, err := hex.DecodeString(td.Input)
	if err != nil {
		td.Fatalf(t, "%v", err)
	}
	r := map[string]record{"state": new(MailboxState), "addresses": new(addressRow)}[name]
	return fmt.Sprintln(r.decode(row))
}

func TestRowsRoundTrip(t *testing.T) {
	for name, want := range samples() {
		row := want.append(nil)
		got := reflect.New(reflect.TypeOf(want).Elem()).Interface().(record)
		if err := got.decode(row); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := got.append(nil); string(again) != string(row) {
			t.Errorf("%s: encodes again to %x, want %x", name, again, row)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: came back as %+v, want %+v", name, got, want)
		}
		for n := range row {
			if err := got.decode(row[:n]); !errors.Is(err, ErrDamaged) && !(openRows[name] && n > 0 && err == nil) {
				t.Errorf("%s: its first %d bytes: %v", name, n, err)
			}
		}
		if !openRows[name] {
			if err := got.decode(append(row[:len(row):len(row)], 0)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: one byte more: %v", name, err)
			}
		}
		row[0]++
		if err := got.decode(row); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: of another version: %v", name, err)
		}
	}
}

// FuzzRows reads any bytes as any row: what parses re-encodes to the same bytes.
func FuzzRows(f *testing.F) {
	names := []string{}
	for name := range samples() {
		names = append(names, name)
	}
	for i, name := range names {
		f.Add(name, samples()[names[i]].append(nil))
	}
	f.Fuzz(func(t *testing.T, name string, row []byte) {
		sample := samples()[name]
		if sample == nil {
			return
		}
		r := reflect.New(reflect.TypeOf(sample).Elem()).Interface().(record)
		if r.decode(row) != nil {
			return
		}
		if again := r.append(nil); string(again) != string(row) {
			t.Fatalf("%s encodes again to %x, want %x", name, again, row)
		}
	})
}

// TestDoneSpanHasNoFlags: what a done span does not say, it must not say in two ways.
func TestDoneSpanHasNoFlags(t *testing.T) {
	page := Page{Acked: [][8]byte{id8(1)}, Spans: []Span{{First: 3, Last: 5, State: SpanDone}}}
	row := page.append(nil)
	at := strings.LastIndexByte(string(row), byte(SpanDone))
	if at != len(row)-4 {
		t.Fatalf("the span is not where it was: %x", row)
	}
	for _, flags := range []byte{spanFailures, spanAttempts, spanFailures | spanAttempts} {
		row[at] = byte(SpanDone) | flags
		if err := new(Page).decode(row); !errors.Is(err, ErrDamaged) {
			t.Errorf("%x: %v", row, err)
		}
	}
}

// A page in use refers to leases in any order and to some that are gone; written, it is the same page in one form.
func TestPageNormalize(t *testing.T) {
	p := Page{
		Leases: []PageLease{{ID: id8(1)}, {ID: id8(2)}, {ID: id8(3)}},
		Acked:  [][8]byte{id8(4), id8(5), id8(6)},
		Spans: []Span{
			{First: 1, Last: 1, State: SpanLeased, Ref: 2, Attempts: 1}, {First: 2, Last: 2, State: SpanDone, Ref: 1},
			{First: 3, Last: 3, State: SpanLeased, Ref: 0, Attempts: 1}, {First: 4, Last: 4, State: SpanLeased, Ref: 2, Attempts: 1},
			{First: 5, Last: 5, State: SpanDone, Ref: NoRef},
		},
	}
	if !p.Normalize() || p.Normalize() {
		t.Error("Normalize does not say what it changed")
	}
	want := Page{
		Leases: []PageLease{{ID: id8(3)}, {ID: id8(1)}},
		Acked:  [][8]byte{id8(5)},
		Spans: []Span{
			{First: 1, Last: 1, State: SpanLeased, Ref: 0, Attempts: 1}, {First: 2, Last: 2, State: SpanDone, Ref: 0},
			{First: 3, Last: 3, State: SpanLeased, Ref: 1, Attempts: 1}, {First: 4, Last: 4, State: SpanLeased, Ref: 0, Attempts: 1},
			{First: 5, Last: 5, State: SpanDone, Ref: NoRef},
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("is %+v, want %+v", p, want)
	}
}
