package envelope

import (
	"bytes"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// makeGolden makes the vectors. All randomness is drawn in one order, so the same seed gives the same file.
func makeGolden(t *testing.T) *golden {
	g := &golden{About: "Vectors of the formats of package envelope, version 1. Bytes are hex, times unix milliseconds. " +
		"Everything is valid at now_ms.", NowMillis: testNow.UnixMilli(), Name: "team.orders-eu_1"}
	p := &parties{now: testNow}
	p.mailbox = [16]byte{0xc0, 0xff, 0xee, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
	g.Mailbox = p.mailbox[:]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.sender, err = NewIdentity("billing")
	must(err)
	p.owner, err = NewIdentity("warehouse.eu")
	must(err)
	g.Sender, g.Owner = makeGoldenIdentity(p.sender), makeGoldenIdentity(p.owner)

	week := 7 * 24 * time.Hour
	var epochs []EpochPublic
	var previous [32]byte
	for i := range 2 {
		from := testNow.Add(time.Duration(i) * week)
		key, err := GenerateEpochKey(uint32(7+i), from, from.Add(week))
		must(err)
		id := key.ID()
		g.EpochKeys = append(g.EpochKeys, goldenEpoch{key.Marshal(), key.Number(), id[:], key.Public().Key})
		epochs = append(epochs, key.Public())
		if i == 0 {
			p.key = key
		}
		p.record = &KeyRecord{MailboxID: p.mailbox, Name: g.Name, Version: uint64(i + 1), Previous: previous,
			NotAfter: testNow.Add(MaxValidity), Policy: PolicySealed, Epochs: epochs}
		b, err := p.record.Sign(p.owner)
		must(err)
		previous = p.record.Hash()
		chosen, err := p.record.Choose(testNow)
		must(err)
		g.Records = append(g.Records, goldenRecord{b, bytes.Clone(previous[:]), chosen.Number})
	}

	s, err := OpenSession(p.sender, p.record, 7, testNow)
	must(err)
	s.now = func() time.Time { return testNow }
	id := s.ID()
	g.Session = goldenSession{s.Init(), id[:], s.Epoch()}
	makeGoldenMessages(t, g, s)
	for _, key := range []string{"order-17", ""} {
		id := p.sender.KeyedID(p.mailbox, key)
		body := []byte("body of " + key)
		tag := p.sender.BodyTag(p.mailbox, id, body)
		g.Keyed = append(g.Keyed, goldenKeyed{key, id[:], body, tag[:]})
	}
	lengths := []int{0, 1, 63, 64, 65, 100, 128, 129, 255, 256, 257, 1000, 1024, 1025, 4097, 65535, 1 << 20, 1<<20 + 1}
	for _, n := range lengths {
		g.Padded = append(g.Padded, [2]int{n, PaddedLen(n)})
	}
	makeGoldenBad(g, s)
	return g
}

func makeGoldenIdentity(i *Identity) goldenIdentity {
	public := i.PublicKey()
	return goldenIdentity{i.Name(), i.Marshal(), public[:], i.Fingerprint(), i.StatementAt(testNow)}
}

func makeGoldenMessages(t *testing.T, g *golden, s *SendSession) {
	all := Options{
		ContentType:  "text/plain; charset=utf-8",
		Sent:         testNow,
		Correlation:  []byte{0, 1, 2},
		ReplyTo:      "billing.inbox",
		TraceContext: bytes.Repeat([]byte{0xab}, 26),
	}
	for i, m := range []Message{
		{Body: nil},
		{Body: []byte("hello")},
		{Body: []byte("hello"), Form: FormPadded},
		{Body: []byte("hello"), Form: FormSigned},
		{Body: bytes.Repeat([]byte("0123456789"), 30), Form: FormSigned | FormPadded, Options: all},
		{Body: []byte{0}, Options: Options{Sent: testNow}, Form: FormPadded},
	} {
		if i == 4 {
			s.next.Store(300) // a sequence number of two bytes
		}
		header := bytes.Clone(testHeader)
		header[3] = byte(m.Form)
		header[43] = byte(i)
		sequence := s.next.Load()
		sealed, err := s.Seal(nil, header, m)
		if err != nil {
			t.Fatal(err)
		}
		v := goldenMessage{Header: header, Signed: m.Form&FormSigned != 0, Padded: m.Form&FormPadded != 0, Sealed: sealed,
			Sequence: sequence, Body: m.Body, ContentType: m.ContentType, Correlation: m.Correlation, ReplyTo: m.ReplyTo,
			TraceContext: m.TraceContext}
		if !m.Sent.IsZero() {
			v.SentMillis = m.Sent.UnixMilli()
		}
		g.Messages = append(g.Messages, v)
	}
}

// makeGoldenBad damages good bytes, and seals insides that no honest sender writes.
func makeGoldenBad(g *golden, s *SendSession) {
	change := func(b []byte, at int, xor byte) hexed {
		b = bytes.Clone(b)
		b[at] ^= xor
		return b
	}
	add := func(what, kind, class string, b []byte) {
		g.Bad = append(g.Bad, goldenBad{What: what, Kind: kind, Bytes: b, Error: class})
	}
	add("version 0", "identity", "unsupported", change(g.Sender.Private, 0, 1))
	add("seed changed", "identity", "malformed", change(g.Sender.Private, 45, 1))
	add("an epoch key", "identity", "malformed", g.EpochKeys[0].Private)
	add("an identity", "epoch_key", "malformed", g.Sender.Private)
	add("seed changed", "epoch_key", "malformed", change(g.EpochKeys[0].Private, 50, 1))
	add("version 2", "statement", "unsupported", change(g.Sender.Statement, 0, 3))
	add("unknown flag", "statement", "unsupported", change(g.Sender.Statement, 2, 2))
	add("subject changed", "statement", "signature", change(g.Sender.Statement, 44, 1))
	add("signature changed", "statement", "signature", change(g.Sender.Statement, len(g.Sender.Statement)-1, 1))
	add("one byte more", "statement", "malformed", append(bytes.Clone(g.Sender.Statement), 0))
	add("unknown policy", "key_record", "unsupported", change(g.Records[1].Bytes, 2, 0x80))
	add("unknown suite", "key_record", "unsupported", change(g.Records[1].Bytes, 64+len(g.Name)+1+4, 3))
	add("public key changed", "key_record", "signature", change(g.Records[1].Bytes, 200, 1))
	add("cut", "key_record", "malformed", g.Records[1].Bytes[:len(g.Records[1].Bytes)-1])
	add("unknown suite", "session", "unsupported", change(g.Session.Init, 1, 3))
	add("unknown flag", "session", "unsupported", change(g.Session.Init, 3, 1))
	add("another key id", "session", "no_key", change(g.Session.Init, 12, 1))
	add("not-after changed", "session", "bad_seal", change(g.Session.Init, 7, 1))
	add("enc changed", "session", "bad_seal", change(g.Session.Init, 100, 1))
	add("tag changed", "session", "bad_seal", change(g.Session.Init, len(g.Session.Init)-1, 1))

	good := g.Messages[2]
	addMessage := func(what, class string, f Form, header, sealed []byte) {
		g.Bad = append(g.Bad, goldenBad{What: what, Kind: "message", Bytes: sealed, Header: header,
			Signed: f&FormSigned != 0, Padded: f&FormPadded != 0, Error: class})
	}
	addMessage("header changed", "bad_seal", FormPadded, change(good.Header, 30, 1), good.Sealed)
	addMessage("ciphertext changed", "bad_seal", FormPadded, good.Header, change(good.Sealed, 20, 1))
	addMessage("read as not padded", "bad_seal", 0, good.Header, good.Sealed)
	addMessage("read as signed", "bad_seal", FormSigned|FormPadded, good.Header, good.Sealed)
	inside := func(what, class string, f Form, b []byte) {
		addMessage(what, class, f, testHeader, s.sealer.sealInside(testHeader, b))
	}
	long := codec.AppendUvarint(nil, MaxSessionMessages)
	pad := make([]byte, 64)
	dirty := append([]byte{0, 0, 1, 'x'}, pad[4:]...)
	dirty[63] = 1
	inside("sequence at the limit", "bad_seal", 0, append(long, 0, 0))
	inside("sequence not minimal", "bad_seal", 0, []byte{0x80, 0, 0, 0})
	inside("body cut", "bad_seal", 0, []byte{0, 0, 2, 'x'})
	inside("a byte after the body", "bad_seal", 0, []byte{0, 0, 1, 'x', 0})
	inside("padding not zero", "bad_seal", FormPadded, dirty)
	inside("padding too short", "bad_seal", FormPadded, append([]byte{0, 0, 1, 'x'}, pad[5:]...))
	inside("padding too long", "bad_seal", FormPadded, append([]byte{0, 0, 1, 'x'}, pad...))
	inside("unknown critical option", "unsupported", 0, []byte{0, 1, 0x80 | 9, 1, 'v', 1, 'x'})
	inside("options out of order", "bad_seal", 0, []byte{0, 2, 3, 1, 'c', 1, 1, 't', 1, 'x'})
	inside("an option twice", "bad_seal", 0, []byte{0, 2, 3, 1, 'c', 3, 1, 'd', 1, 'x'})
	inside("an empty option", "bad_seal", 0, []byte{0, 1, 3, 0, 1, 'x'})
	inside("no signature", "bad_seal", FormSigned, []byte{0, 0, 1, 'x'})
	inside("nothing", "bad_seal", 0, nil)
}
