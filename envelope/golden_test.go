package envelope

import (
	"bytes"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"testing/cryptotest"
	"time"
)

var update = flag.Bool("update", false, "write testdata/v1.json anew: only before version 1 is frozen")

const goldenPath = "testdata/v1.json"

// golden is the vector file: one conversation with all its secrets, for implementations in other languages too. The
// types in it are plain; times are unix milliseconds.
type golden struct {
	About     string          `json:"about"`
	NowMillis int64           `json:"now_ms"`
	Mailbox   hexed           `json:"mailbox_id"`
	Name      string          `json:"mailbox_name"`
	Sender    goldenIdentity  `json:"sender"`
	Owner     goldenIdentity  `json:"owner"`
	EpochKeys []goldenEpoch   `json:"epoch_keys"`
	Records   []goldenRecord  `json:"key_records"`
	Session   goldenSession   `json:"session"`
	Messages  []goldenMessage `json:"messages"`
	Keyed     []goldenKeyed   `json:"keyed_ids"`
	Padded    [][2]int        `json:"padded_lengths"`
	Bad       []goldenBad     `json:"bad"`
}

type goldenIdentity struct {
	Name        string `json:"name"`
	Private     hexed  `json:"private"`
	Public      hexed  `json:"public"`
	Fingerprint string `json:"fingerprint"`
	Statement   hexed  `json:"statement"`
}

type goldenEpoch struct {
	Private hexed  `json:"private"`
	Number  uint32 `json:"number"`
	KeyID   hexed  `json:"key_id"`
	Public  hexed  `json:"public"`
}

type goldenRecord struct {
	Bytes  hexed  `json:"bytes"`
	Hash   hexed  `json:"hash"`
	Choose uint32 `json:"choose"` // the epoch that a sender takes at now
}

type goldenSession struct {
	Init  hexed  `json:"init"`
	ID    hexed  `json:"id"`
	Epoch uint32 `json:"epoch"`
}

type goldenMessage struct {
	Header       hexed  `json:"header"`
	Signed       bool   `json:"signed"`
	Padded       bool   `json:"padded"`
	Sealed       hexed  `json:"sealed"`
	Sequence     uint64 `json:"sequence"`
	Body         hexed  `json:"body"`
	ContentType  string `json:"content_type,omitempty"`
	SentMillis   int64  `json:"sent_ms,omitempty"`
	Correlation  hexed  `json:"correlation,omitempty"`
	ReplyTo      string `json:"reply_to,omitempty"`
	TraceContext hexed  `json:"trace_context,omitempty"`
}

type goldenKeyed struct {
	Key  string `json:"key"`
	ID   hexed  `json:"id"`
	Body hexed  `json:"body"`
	Tag  hexed  `json:"tag"`
}

// goldenBad is something that must be refused, with the error's class.
type goldenBad struct {
	What   string `json:"what"`
	Kind   string `json:"kind"`
	Bytes  hexed  `json:"bytes"`
	Header hexed  `json:"header,omitempty"` // of messages, which belong to the session
	Signed bool   `json:"signed,omitempty"`
	Padded bool   `json:"padded,omitempty"`
	Error  string `json:"error"`
}

var goldenErrors = map[string]error{
	"malformed": ErrMalformed, "unsupported": ErrUnsupported, "weak_key": ErrWeakKey, "signature": ErrSignature,
	"bad_seal": ErrBadSeal, "no_key": ErrNoKey, "expired": ErrExpired, "not_yet_valid": ErrNotYetValid,
	"wrong_name": ErrWrongName, "too_large": ErrTooLarge,
}

func form(signed, padded bool) (f Form) {
	if signed {
		f |= FormSigned
	}
	if padded {
		f |= FormPadded
	}
	return f
}

func readGolden(t testing.TB) *golden {
	t.Helper()
	b, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	g := new(golden)
	if err := json.Unmarshal(b, g); err != nil {
		t.Fatal(err)
	}
	return g
}

// The frozen bytes come out again, to the last one.
func TestGoldenIsReproduced(t *testing.T) {
	if fips140.Version() == "v1.0.0" {
		t.Skip("cryptotest.SetGlobalRandom is not supported with this module")
	}
	cryptotest.SetGlobalRandom(t, 20300102)
	b, err := json.MarshalIndent(makeGolden(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile(goldenPath, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("a format changed: what is made now differs from testdata/v1.json")
	}
}

// goldenReceiver is the owner of the frozen mailbox, with all keys.
type goldenReceiver struct {
	g       *golden
	mailbox [16]byte
	owner   *Identity
	keys    map[[8]byte]*EpochKey
}

func newGoldenReceiver(t testing.TB, g *golden) *goldenReceiver {
	t.Helper()
	r := &goldenReceiver{g: g, mailbox: [16]byte(g.Mailbox), keys: make(map[[8]byte]*EpochKey)}
	var err error
	if r.owner, err = ParseIdentity(g.Owner.Private); err != nil {
		t.Fatal(err)
	}
	for _, e := range g.EpochKeys {
		key, err := ParseEpochKey(e.Private)
		if err != nil {
			t.Fatal(err)
		}
		r.keys[key.ID()] = key
	}
	return r
}

func (r *goldenReceiver) accept(init []byte) (*ReceiveSession, error) {
	return AcceptSession(init, r.mailbox, r.g.Name, r.owner.PublicKey(),
		func(id [8]byte, _ uint32) *EpochKey { return r.keys[id] })
}

func TestGoldenKeysAndRecords(t *testing.T) {
	g := readGolden(t)
	now := time.UnixMilli(g.NowMillis)
	for _, v := range []goldenIdentity{g.Sender, g.Owner} {
		id, err := ParseIdentity(v.Private)
		if err != nil {
			t.Fatal(err)
		}
		public := id.PublicKey()
		if id.Name() != v.Name || !bytes.Equal(public[:], v.Public) || id.Fingerprint() != v.Fingerprint ||
			!bytes.Equal(id.Marshal(), v.Private) || !bytes.Equal(id.StatementAt(now), v.Statement) {
			t.Errorf("identity %s came back different", v.Name)
		}
		s, err := ParseStatement(v.Statement)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(now); err != nil || s.Subject != v.Name || s.Key != public {
			t.Errorf("statement of %s: %v", v.Name, err)
		}
	}
	for _, v := range g.EpochKeys {
		key, err := ParseEpochKey(v.Private)
		if err != nil {
			t.Fatal(err)
		}
		id := key.ID()
		if key.Number() != v.Number || !bytes.Equal(id[:], v.KeyID) || !bytes.Equal(key.Public().Key, v.Public) ||
			!bytes.Equal(key.Marshal(), v.Private) {
			t.Errorf("epoch key %d came back different", v.Number)
		}
	}
	var before *KeyRecord
	for i, v := range g.Records {
		rec, err := ParseKeyRecord(v.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.Verify(now, g.Name); err != nil {
			t.Error(err)
		}
		hash := rec.Hash()
		chosen, err := rec.Choose(now)
		if !bytes.Equal(hash[:], v.Hash) || err != nil || chosen.Number != v.Choose || len(rec.Epochs) != i+1 {
			t.Errorf("record %d came back different", i)
		}
		if before != nil {
			if err := rec.Follows(before); err != nil {
				t.Error(err)
			}
		}
		before = rec
	}
}

func TestGoldenMessages(t *testing.T) {
	g := readGolden(t)
	s, err := newGoldenReceiver(t, g).accept(g.Session.Init)
	if err != nil {
		t.Fatal(err)
	}
	id := s.ID()
	if !bytes.Equal(id[:], g.Session.ID) || s.Epoch() != g.Session.Epoch || s.Created().UnixMilli() != g.NowMillis ||
		s.Sender().Subject != g.Sender.Name || !bytes.Equal(s.Sender().Bytes(), g.Sender.Statement) {
		t.Error("session came back different")
	}
	for i, v := range g.Messages {
		o, err := s.Open(nil, v.Header, v.Sealed, form(v.Signed, v.Padded))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		sent := int64(0)
		if !o.Sent.IsZero() {
			sent = o.Sent.UnixMilli()
		}
		if o.Sequence != v.Sequence || !bytes.Equal(o.Body, v.Body) || o.ContentType != v.ContentType ||
			sent != v.SentMillis || !bytes.Equal(o.Correlation, v.Correlation) || o.ReplyTo != v.ReplyTo ||
			!bytes.Equal(o.TraceContext, v.TraceContext) {
			t.Errorf("message %d came back different: %+v", i, o)
		}
	}
	sender, err := ParseIdentity(g.Sender.Private)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range g.Keyed {
		id := sender.KeyedID([16]byte(g.Mailbox), v.Key)
		tag := sender.BodyTag([16]byte(g.Mailbox), id, v.Body)
		if !bytes.Equal(id[:], v.ID) || !bytes.Equal(tag[:], v.Tag) {
			t.Errorf("key %q: id %x, tag %x", v.Key, id, tag)
		}
	}
	for _, v := range g.Padded {
		if got := PaddedLen(v[0]); got != v[1] {
			t.Errorf("PaddedLen(%d) = %d, want %d", v[0], got, v[1])
		}
	}
}

func TestGoldenBad(t *testing.T) {
	g := readGolden(t)
	r := newGoldenReceiver(t, g)
	session, err := r.accept(g.Session.Init)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range g.Bad {
		want, known := goldenErrors[v.Error]
		if !known {
			t.Fatalf("%s: unknown error class %q", v.What, v.Error)
		}
		if err := readBad(r, session, v); !errors.Is(err, want) {
			t.Errorf("%s, %s: %v, want %v", v.Kind, v.What, err, want)
		}
	}
}

func readBad(r *goldenReceiver, session *ReceiveSession, v goldenBad) error {
	now := time.UnixMilli(r.g.NowMillis)
	switch v.Kind {
	case "identity":
		_, err := ParseIdentity(v.Bytes)
		return err
	case "epoch_key":
		_, err := ParseEpochKey(v.Bytes)
		return err
	case "statement":
		s, err := ParseStatement(v.Bytes)
		if err != nil {
			return err
		}
		return s.Verify(now)
	case "key_record":
		k, err := ParseKeyRecord(v.Bytes)
		if err != nil {
			return err
		}
		return k.Verify(now, r.g.Name)
	case "session":
		_, err := r.accept(v.Bytes)
		return err
	case "message":
		_, err := session.Open(nil, v.Header, v.Bytes, form(v.Signed, v.Padded))
		return err
	}
	return errors.New("unknown kind " + v.Kind)
}
