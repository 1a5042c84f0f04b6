package wire

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

func TestCodes(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	names := map[string]bool{}
	for i := range Codes() {
		c := Code(i)
		if !form.MatchString(c.String()) || names[c.String()] {
			t.Errorf("code %d has the name %q", i, c)
		}
		names[c.String()] = true
		if o := c.Outcome(); o != Definite && o != Unknown {
			t.Errorf("%v has the outcome %v", c, o)
		}
	}
	// What may have happened, a client must not take for what did not.
	for _, c := range []Code{CodeInternal, CodeTimeout, CodeLeadershipLost} {
		if c.Outcome() != Unknown {
			t.Errorf("%v is %v", c, c.Outcome())
		}
	}
	newer := Code(Codes())
	if newer.Outcome() != Unknown || newer.Retryable() || newer.String() != fmt.Sprintf("code_%d", Codes()) {
		t.Errorf("a newer code: %v %v %v", newer, newer.Outcome(), newer.Retryable())
	}
}

func TestNamesOfNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Definite.String(): "definite", Unknown.String(): "unknown", Outcome(7).String(): "outcome_7",
		NackNoKey.String(): "no_key", NackRelease.String(): "release", NackCode(0).String(): "nack_0",
		NackCode(99).String(): "nack_99",
		HealthOK.String():     "ok", HealthNoQuorum.String(): "no_quorum", Health(0).String(): "health_0",
		NodeLocked.String(): "locked", NodeUnreachable.String(): "unreachable", NodeState(50).String(): "state_50",
		(ActionSend | ActionAck).String(): "send,ack", AllActions.String(): "send,receive,ack,peek,stat,manage,keys,admin",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParseActions(t *testing.T) {
	for bits := Actions(1); bits <= AllActions; bits++ {
		if got, err := ParseActions(bits.String()); err != nil || got != bits {
			t.Fatalf("%v: %v, %v", bits, got, err)
		}
	}
	for _, bad := range []string{"", "send,", "Send", "send,fly", " send"} {
		if _, err := ParseActions(bad); err == nil {
			t.Errorf("%q: parses", bad)
		}
	}
}

// A connection ends for bytes that no client of the protocol writes, and lives on for what a newer or a careless one
// may send.
func TestCodeOfDecodeErrors(t *testing.T) {
	tests := []struct {
		err    error
		code   Code
		closes bool
	}{
		{codec.ErrShort, CodeBadRequest, true},
		{codec.ErrTrailing, CodeBadRequest, true},
		{codec.ErrVarint, CodeBadRequest, true},
		{ErrForm, CodeBadRequest, true},
		{ErrMagic, CodeBadRequest, true},
		{codec.ErrLimit, CodeTooLarge, false},
		{ErrRange, CodeBadRequest, false},
		{ErrName, CodeBadRequest, false},
		{ErrText, CodeBadRequest, false},
		{ErrFlags, CodeUnsupported, false},
		{ErrVersion, CodeUnsupported, false},
		{ErrBodyType, CodeUnsupported, false},
		{&OptionError{3}, CodeUnsupported, false},
		{ErrPlain, CodePlainRefused, false},
	}
	for _, tt := range tests {
		err := &DecodeError{TypeSend, &FieldError{"field", tt.err}}
		if code, closes := CodeOf(err); code != tt.code || closes != tt.closes {
			t.Errorf("%v: %v, closes %v; want %v, %v", err, code, closes, tt.code, tt.closes)
		}
	}
	if code, closes := CodeOf(errors.New("anything else")); code != CodeBadRequest || !closes {
		t.Errorf("%v, closes %v", code, closes)
	}
}

func TestOptionsSet(t *testing.T) {
	o := Options{}.Set(5, []byte("five")).Set(OptionCritical|2, []byte("two")).Set(9, nil).Set(5, []byte("FIVE"))
	if len(o) != 3 || o[0].Number() != 2 || !o[0].Critical() || o[1].Tag != 5 || o[2].Number() != 9 {
		t.Fatalf("%v", o)
	}
	if v, ok := o.Get(5); !ok || string(v) != "FIVE" {
		t.Errorf("%q, %v", v, ok)
	}
	if _, ok := o.Get(6); ok {
		t.Error("option 6 is there")
	}
	_, err := Decode(TypePing, (&Ping{o}).Append(nil))
	var option *OptionError
	if !errors.As(err, &option) || option.Number != 2 {
		t.Errorf("an unknown critical option: %v", err)
	}
	if m, err := Decode(TypePing, (&Ping{o[1:]}).Append(nil)); err != nil || len(m.(*Ping).Options) != 2 {
		t.Errorf("unknown options: %v, %v", m, err)
	}
}

func TestResultsAreRuns(t *testing.T) {
	results := []SendResult{
		{CodeOK, false, 7}, {CodeOK, false, 8}, {CodeOK, true, 9}, {CodeOK, true, 3}, {CodeIDConflict, false, 0},
		{CodeIDConflict, false, 0}, {CodeOK, false, 0}, {CodeOK, false, 0}, {CodeOK, false, 10},
	}
	m := &SendReply{}
	for _, result := range results {
		m.Add(result)
	}
	if len(m.Runs) != 6 {
		t.Errorf("%d runs: %v", len(m.Runs), m.Runs)
	}
	var got SendReply
	if err := got.Decode(m.Append(nil)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, result := range got.Results() {
		if result != results[i] {
			t.Errorf("item %d: %+v, want %+v", i, result, results[i])
		}
		n++
	}
	lease := &LeaseReply{}
	lease.Add(CodeOK, 2)
	lease.Add(CodeOK, 1)
	lease.Add(CodeLeaseLost, 1)
	codes := []Code{}
	for _, code := range lease.Results() {
		codes = append(codes, code)
	}
	if n != len(results) || len(lease.Runs) != 2 || fmt.Sprint(codes) != "[ok ok ok lease_lost]" {
		t.Errorf("%d results, %v, %v", n, lease.Runs, codes)
	}
	for range got.Results() {
		break
	}
	for range lease.Results() {
		break
	}
}

func TestGroupOfSlot(t *testing.T) {
	m := &SlotMapReply{Groups: 3, Ranges: []SlotRange{{0, 1999, 1}, {2000, Slots - 1, 2}}}
	for slot, want := range map[uint16]uint16{0: 1, 1999: 1, 2000: 2, Slots - 1: 2} {
		if got, ok := m.GroupOf(slot); !ok || got != want {
			t.Errorf("slot %d: %d, %v", slot, got, ok)
		}
	}
	if _, ok := m.GroupOf(Slots); ok {
		t.Error("a slot that is none has a group")
	}
	for name, ranges := range map[string][]SlotRange{
		"none": nil, "gap at the end": {{0, 10, 1}}, "group that is not there": {{0, Slots - 1, 3}},
		"backwards": {{0, 10, 1}, {11, 5, 1}, {6, Slots - 1, 2}},
	} {
		bad := &SlotMapReply{Groups: 3, Ranges: ranges}
		if _, err := Decode(TypeSlotMapReply, bad.Append(nil)); !errors.Is(err, ErrRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHelloCommon(t *testing.T) {
	for versions, want := range map[[2]uint8]bool{{1, 1}: true, {1, 9}: true, {2, 9}: false} {
		m := &Hello{MinVersion: versions[0], MaxVersion: versions[1]}
		if version, ok := m.Common(); ok != want || version != Version {
			t.Errorf("%v: %d, %v", versions, version, ok)
		}
	}
}

func TestAddSeq(t *testing.T) {
	var ranges []SeqRange
	for _, seq := range []uint64{3, 4, 5, 9, 10, 12} {
		ranges = AddSeq(ranges, seq)
	}
	if fmt.Sprint(ranges) != "[{3 3} {9 2} {12 1}]" {
		t.Errorf("%v", ranges)
	}
}

func TestErrorsSayWhat(t *testing.T) {
	for err, want := range map[error]string{
		&DecodeError{TypeSend, &FieldError{"name", ErrName}}: "decoding send: name: not a valid name",
		&DecodeError{TypePing, &OptionError{5}}:              "decoding ping: unknown critical option 5",
		&FrameError{ErrFrameTooLarge, 9000, 8192, ""}:        "frame is above its limit: 9000 bytes announced, limit 8192",
		&FrameError{ErrFrameTooLarge, 1 << 31, 8192, "HTTP"}: "the other side speaks HTTP; " +
			"this port speaks the SealMQ protocol inside TLS",
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
