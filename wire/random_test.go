package wire

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
)

// random makes messages of every type that follow the rules of their fields, with a taste for the edges.
type random struct{ *rand.Rand }

// message returns a message of type t.
func (g random) message(t Type) Message {
	m := New(t)
	g.fill(reflect.ValueOf(m).Elem(), "")
	g.fit(m)
	return m
}

// number returns a number from low to high: an edge, a small step, or any.
func (g random) number(low, high uint64) uint64 {
	switch g.IntN(6) {
	case 0:
		return low
	case 1:
		return high
	case 2:
		return min(high, low+g.Uint64N(200))
	}
	if span := high - low; span < math.MaxUint64 {
		return low + g.Uint64N(span+1)>>g.IntN(64)
	}
	return g.Uint64()
}

func (g random) bytes(low, high int) []byte {
	b := make([]byte, low+g.IntN(high-low+1))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

func (g random) text(low, high int, alphabet string) string {
	letters := []rune(alphabet)
	var b strings.Builder
	for n := low + g.IntN(high-low+1); n > 0; n-- {
		b.WriteRune(letters[g.IntN(len(letters))])
	}
	return b.String()
}

func (g random) name() string {
	tokens := make([]string, 1+g.IntN(3))
	for i := range tokens {
		tokens[i] = g.text(1, 1, "abz059") + g.text(0, 20, "az09-_")
	}
	return strings.Join(tokens, ".")
}

func (g random) options() Options {
	var o Options
	for n := g.IntN(4) * g.IntN(2); n > 0; n-- {
		o = o.Set(uint8(1+g.IntN(127)), g.bytes(0, 300))
	}
	return o
}

// ranges of number fields by their name; others take what their type holds.
var fieldRanges = map[string][2]uint64{
	"Slot": {0, Slots - 1}, "Group": {0, Groups - 1}, "Limit": {1, PageItems}, "BatchItems": {1, BatchItems},
	"BodyBytes": {0, BodyBytes}, "FrameBytes": {PreAuthFrameBytes, FrameBytes}, "WaitMillis": {0, WaitMillis},
	"InFlightRequests": {1, math.MaxUint32}, "InFlightBytes": {1, math.MaxUint32}, "MaxMessages": {1, BatchItems},
	"MaxBytes": {1, CreditBytes}, "CreditMessages": {0, CreditMessages}, "CreditBytes": {0, CreditBytes},
	"Messages": {0, CreditMessages}, "Bytes": {0, CreditBytes}, "DelayMillis": {0, NackDelayMillis},
	"LeaseMillis": {LeaseMinMillis, LeaseMaxMillis}, "Attempts": {1, math.MaxUint32}, "Seq": {1, math.MaxUint64 / 2},
	"LowestUnanswered": {0, CounterMax},
	"Version":          {1, math.MaxUint64}, "Actions": {1, uint64(AllActions)}, "Failure.Code": {1, 40}, "Nack.Code": {1, 7},
	"HelloReply.Version": {Version, Version}, "Hello.MinVersion": {1, 3}, "Hello.MaxVersion": {3, 255}, "By": {1, 2},
}

func (g random) fill(v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Struct:
		g.fillStruct(v)
	case reflect.Slice:
		switch {
		case v.Type() == reflect.TypeFor[Options]():
			v.Set(reflect.ValueOf(g.options()))
		case v.Type().Elem().Kind() == reflect.Uint8:
			v.Set(reflect.ValueOf(g.sized(field)).Convert(v.Type()))
		default:
			n := g.IntN(5)
			if n == 0 {
				return
			}
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				g.fill(v.Index(i), field)
			}
		}
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && g.IntN(4) > 0 {
			for i := range v.Len() {
				v.Index(i).SetUint(uint64(g.Uint32N(256)))
			}
		}
	case reflect.String:
		v.SetString(g.stringFor(field))
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Int64:
		v.SetInt(int64(g.number(0, math.MaxUint64)))
	default:
		low, high := uint64(0), uint64(1)<<(8*v.Type().Size())-1
		if limits, ok := fieldRanges[field[strings.LastIndexByte(field, '.')+1:]]; ok {
			low, high = limits[0], min(high, limits[1])
		}
		if limits, ok := fieldRanges[field]; ok {
			low, high = limits[0], limits[1]
		}
		v.SetUint(g.number(low, high))
	}
}

func (g random) fillStruct(v reflect.Value) {
	for i := range v.NumField() {
		g.fill(v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name)
	}
}

// sized returns bytes of a length that the field may have.
func (g random) sized(field string) []byte {
	switch field[strings.LastIndexByte(field, '.')+1:] {
	case "Init", "Inits":
		return g.bytes(SessionInitMinBytes, 200)
	case "Sealed":
		return g.bytes(SealedMinBytes, 300)
	case "Record":
		return g.bytes(1, 200)
	}
	return g.bytes(0, 50)
}

func (g random) stringFor(field string) string {
	switch field[strings.LastIndexByte(field, '.')+1:] {
	case "Name":
		return g.name()
	case "Prefix", "After", "Next":
		return g.text(0, 20, "az09-_.")
	case "Resource":
		return g.text(1, 1, "*a") + []string{"", ".>", ".*.b"}[g.IntN(3)]
	case "Subject", "Principal":
		return g.text(1, 30, "spife:/*>AZ9~!")
	case "Detail", "Client":
		return g.text(0, 40, "Größe 1 µs ✓")
	case "Late":
		return g.text(1, 20, "n123.")
	}
	return g.text(0, 20, "abc:123.")
}

// fit makes the fields of a message agree with each other.
func (g random) fit(m Message) {
	switch m := m.(type) {
	case *Failure:
		m.MinVersion, m.MaxVersion = 1, 1
	case *Pull:
		m.EpochHigh = max(m.EpochLow, m.EpochHigh)
	case *Subscribe:
		m.EpochHigh = max(m.EpochLow, m.EpochHigh)
	case *Credit:
		m.EpochHigh = max(m.EpochLow, m.EpochHigh)
	case *Send:
		g.fitSend(m)
	case *Deliver:
		g.fitDeliver(m)
	case *SendReply:
		for i := range m.Runs {
			m.Runs[i].Count = 1 + g.Uint32N(BatchItems/4)
			m.Runs[i].Code %= 3
		}
	case *LeaseReply:
		for i := range m.Runs {
			m.Runs[i].Count = 1 + g.Uint32N(BatchItems/4)
		}
	case *Ack:
		m.Seqs = g.ranges()
	case *Nack:
		m.Seqs = g.ranges()
	case *Extend:
		m.Seqs = g.ranges()
	case *KeyLookup:
		if m.By == LookupPrincipal {
			m.IdentityKey = [32]byte{}
		} else {
			m.Principal = ""
		}
	case *ResolveReply:
		if m.RecordVersion == 0 {
			m.Record = nil
		}
	case *SlotMapReply:
		m.Groups = 5
		m.Ranges = []SlotRange{{0, 99, 1}, {100, 100, 4}, {101, Slots - 1, 2}}[:3]
	}
}

func (g random) ranges() []SeqRange {
	var all []SeqRange
	seq := g.number(1, math.MaxUint64-10_000)
	for range 1 + g.IntN(6) {
		n := 1 + g.Uint32N(100)
		all = append(all, SeqRange{seq, n})
		seq += uint64(n) + 1 + g.Uint64N(200)
	}
	return all
}

func (g random) header(sessions []SessionRef, index uint8) ClearHeader {
	h := ClearHeader{
		Type: BodySealed, Flags: HeaderFlags(g.Uint32()) & headerFlags &^ HeaderOptions,
		NotAfterMinutes: g.Uint32(), Epoch: g.Uint32(), Session: sessions[index].ID, ID: [16]byte(g.bytes(16, 16)),
	}
	if g.IntN(4) == 0 {
		h.Options = h.Options.Set(OptionCritical|HeaderOrderingKey, g.bytes(8, 8))
	}
	if g.IntN(4) == 0 {
		h.Options = h.Options.Set(OptionCritical|HeaderNotBefore, g.bytes(4, 4))
	}
	if g.IntN(8) == 0 {
		h.Options = h.Options.Set(HeaderPriority, g.bytes(1, 1)).Set(99, g.bytes(0, 100))
	}
	if len(h.Options) != 0 {
		h.Flags |= HeaderOptions
	}
	return h
}

func (g random) fitSend(m *Send) {
	if len(m.Sessions) == 0 {
		m.Items = nil
	}
	for i := range m.Sessions {
		if g.IntN(2) == 0 {
			m.Sessions[i].Init = nil
		} else {
			m.Sessions[i].ID = SessionID(m.Mailbox.ID, m.Sessions[i].Init)
		}
	}
	for i := range m.Items {
		item := &m.Items[i]
		item.Session = uint8(g.IntN(len(m.Sessions)))
		item.Header = g.header(m.Sessions, item.Session)
		if !item.Keyed {
			item.BodyTag = [16]byte{}
			counter := (m.LowestUnanswered + g.Uint64()>>g.IntN(64)) & CounterMax
			item.Header.ID = CountedID(m.Producer, counter)
		}
	}
}

func (g random) fitDeliver(m *Deliver) {
	m.Producers = nil
	if len(m.Sessions) == 0 {
		m.Items = nil
	}
	for i := range m.Sessions {
		if g.IntN(2) == 0 {
			m.Sessions[i].Init = nil
		}
	}
	for i := range m.Items {
		item := &m.Items[i]
		item.Header = g.header(m.Sessions, uint8(g.IntN(len(m.Sessions))))
		binary.BigEndian.PutUint64(item.Header.ID[:], g.Uint64N(3))
		m.Place(item, g.IntN(3) == 0)
	}
}
