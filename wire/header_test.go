package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

func sampleHeader() ClearHeader {
	return ClearHeader{
		Type: BodySealed, Flags: HeaderSigned | HeaderPadded, NotAfterMinutes: 29_000_001, Epoch: 7,
		Session: [16]byte{0xa0, 15: 0xaf}, ID: CountedID([8]byte{1, 7: 8}, 0x0102030405060708),
		Options: Options{}.Set(OptionCritical|HeaderOrderingKey, []byte("ordering")).
			Set(HeaderPriority, []byte{3}).Set(OptionCritical|HeaderNotBefore, []byte{1, 2, 3, 4}),
	}
}

func TestClearHeaderRoundTrip(t *testing.T) {
	h := sampleHeader()
	b := AppendClearHeader([]byte("before"), &h)[6:]
	got, err := ParseClearHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := AppendClearHeader(nil, &got); !bytes.Equal(again, b) {
		t.Errorf("%x became %x", b, again)
	}
	key, _ := got.OrderingKey()
	notBefore, _ := got.NotBeforeMinutes()
	priority, _ := got.Priority()
	if string(key[:]) != "ordering" || notBefore != 0x01020304 || priority != 3 {
		t.Errorf("options came back as %q, %x, %d", key, notBefore, priority)
	}
	if got.Counter() != 0x0102030405060708 || got.Producer() != h.Producer() ||
		got.Epoch != 7 || got.NotAfterMinutes != 29_000_001 {
		t.Errorf("got %+v", got)
	}
	_, rest, err := CutClearHeader(append(b, "sealed"...))
	if err != nil || string(rest) != "sealed" {
		t.Errorf("rest %q, %v", rest, err)
	}
	for n := range b {
		if _, err := ParseClearHeader(b[:n]); err == nil {
			t.Errorf("%d of %d bytes parse", n, len(b))
		}
	}
	if _, err := ParseClearHeader(append(b, 0)); !errors.Is(err, codec.ErrTrailing) {
		t.Errorf("one byte more: %v", err)
	}
}

// Every changed bit is another header or none.
func TestClearHeaderFlips(t *testing.T) {
	h := sampleHeader()
	b := AppendClearHeader(nil, &h)
	for bit := range 8 * len(b) {
		flipped := bytes.Clone(b)
		flipped[bit/8] ^= 1 << (bit % 8)
		got, err := ParseClearHeader(flipped)
		if err == nil && !bytes.Equal(AppendClearHeader(nil, &got), flipped) {
			t.Errorf("bit %d: parses and is written differently", bit)
		}
	}
}

func TestClearHeaderRefuses(t *testing.T) {
	plain := ClearHeader{Type: BodySealed}
	base := AppendClearHeader(nil, &plain)
	with := func(at int, bytes ...byte) []byte {
		b := append([]byte(nil), base...)
		copy(b[at:], bytes)
		return b
	}
	options := func(bytes ...byte) []byte { return append(with(3, byte(HeaderOptions)), bytes...) }
	var option *OptionError
	tests := map[string]struct {
		in   []byte
		want any
	}{
		"version 0":                {with(0, 0), ErrVersion},
		"version 2":                {with(0, 2), ErrVersion},
		"type 0":                   {with(1, 0), ErrBodyType},
		"blob":                     {with(1, byte(BodyBlob)), ErrBodyType},
		"plain":                    {with(1, byte(BodyPlain)), ErrPlain},
		"type 4":                   {with(1, 4), ErrBodyType},
		"unknown flag":             {with(3, 16), ErrFlags},
		"unknown high flag":        {with(2, 0x80), ErrFlags},
		"options flag, none":       {options(0), ErrForm},
		"options flag, missing":    {options(), codec.ErrShort},
		"unknown critical":         {options(1, 0x84, 0), &option},
		"number 0":                 {options(1, 0, 0), ErrForm},
		"critical number 0":        {options(1, 0x80, 0), ErrForm},
		"descending":               {options(2, 0x03, 1, 9, 0x82, 4, 0, 0, 0, 0), ErrForm},
		"twice":                    {options(2, 0x03, 1, 9, 0x83, 1, 9), ErrForm},
		"ordering key of 7 bytes":  {options(1, 0x81, 7, 0, 0, 0, 0, 0, 0, 0), ErrForm},
		"not-before of 3 bytes":    {options(1, 0x82, 3, 0, 0, 0), ErrForm},
		"priority of 2 bytes":      {options(1, 0x03, 2, 0, 0), ErrForm},
		"value longer than header": {options(1, 0x03, 200, 0, 0), codec.ErrShort},
		"17 options":               {options(append([]byte{17}, make([]byte, 40)...)...), codec.ErrLimit},
	}
	for name, tt := range tests {
		_, err := ParseClearHeader(tt.in)
		if want, ok := tt.want.(error); ok && !errors.Is(err, want) || !ok && !errors.As(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := ParseClearHeader(options(1, 0x04, 2, 0, 0)); err != nil {
		t.Errorf("an unknown option that is not critical: %v", err)
	}
}

func TestHeaderNeeds(t *testing.T) {
	h := sampleHeader()
	if got := h.Needs(); got != CapOrderingKey|CapDelay {
		t.Errorf("needs %b", got)
	}
	h = ClearHeader{Flags: HeaderReplace, Options: Options{{OptionCritical | HeaderPriority, []byte{1}}}}
	if got := h.Needs(); got != CapReplace|CapPriority {
		t.Errorf("needs %b", got)
	}
	if got := (&ClearHeader{Flags: HeaderSigned | HeaderPadded}).Needs(); got != 0 {
		t.Errorf("needs %b", got)
	}
}

func TestSessionID(t *testing.T) {
	mailbox, init := [16]byte{1, 2, 3}, bytes.Repeat([]byte("i"), 100)
	label := "sealmq/session-id/v1"
	in := append([]byte{0, byte(len(label))}, label...)
	in = append(in, 0, 2, 0, 0, 0, 16)
	in = append(in, mailbox[:]...)
	in = append(in, 0, 0, 0, 100)
	in = append(in, init...)
	sum := sha256.Sum256(in)
	if got := SessionID(mailbox, init); got != [16]byte(sum[:16]) {
		t.Errorf("%x, want %x", got, sum[:16])
	}
	// The first to bring a header cannot give it another's id.
	m := &Send{Mailbox: MailboxRef{ID: mailbox}, Sessions: []SessionRef{{ID: [16]byte{9}, Init: init}}}
	var got Send
	if err := got.Decode(m.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if got.Sessions[0].ID != SessionID(mailbox, init) {
		t.Error("a send's session id is not computed from its header")
	}
}

func TestAppendRefusesAnotherHeader(t *testing.T) {
	refuses := func(name string, m Message) {
		defer func() {
			if r, _ := recover().(string); !strings.HasPrefix(r, "wire: ") {
				t.Errorf("%s: appended", name)
			}
		}()
		m.Append(nil)
	}
	send := batch(2, SealedMinBytes)
	send.Items[1].Header.Session[3]++
	refuses("send, session", send)
	send = batch(2, SealedMinBytes)
	send.Items[1].Header.ID[0]++
	refuses("send, producer", send)
	deliver := delivery(2, SealedMinBytes, 1)
	deliver.Items[1].Header.Session[3]++
	refuses("delivery, session", deliver)
	deliver = delivery(2, SealedMinBytes, 1)
	deliver.Items[1].Header.ID[0]++
	refuses("delivery, producer", deliver)
}

// A delivery's tables fill up; what does not fit stands whole or waits.
func TestPlace(t *testing.T) {
	m := &Deliver{}
	for i := range BatchProducers + 1 {
		it := DeliverItem{Header: ClearHeader{ID: CountedID([8]byte{byte(i >> 8), byte(i)}, 1)}}
		if !m.Place(&it, false) || it.Whole != (i == BatchProducers) || !it.Whole && int(it.Producer) != i {
			t.Fatalf("producer %d: %+v", i, it)
		}
	}
	known := DeliverItem{Header: ClearHeader{ID: CountedID([8]byte{0, 3}, 1)}}
	if !m.Place(&known, false) || known.Producer != 3 {
		t.Errorf("producer 3 is at %d", known.Producer)
	}
	for i := range BatchSessions + 1 {
		it := DeliverItem{Header: ClearHeader{Session: [16]byte{byte(i)}}}
		if ok := m.Place(&it, true); ok != (i < BatchSessions) || ok && int(it.Session) != i {
			t.Fatalf("session %d: %+v", i, it)
		}
	}
	s := &Send{}
	for i := range BatchSessions + 1 {
		if index, ok := s.Index([16]byte{byte(i)}); ok != (i < BatchSessions) || ok && int(index) != i {
			t.Fatalf("session %d: %d", i, index)
		}
	}
}
