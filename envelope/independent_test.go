package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// vectors is what this decoder wants from the file.
type vectors struct {
	NowMillis uint64   `json:"now_ms"`
	Mailbox   text     `json:"mailbox_id"`
	Name      string   `json:"mailbox_name"`
	Sender    identity `json:"sender"`
	Owner     identity `json:"owner"`
	EpochKeys []struct {
		Private text `json:"private"`
		Number  uint64
		KeyID   text `json:"key_id"`
		Public  text
	} `json:"epoch_keys"`
	Records []struct {
		Bytes, Hash text
		Choose      uint64
	} `json:"key_records"`
	Session  struct{ Init, ID text }
	Messages []struct {
		Header, Sealed, Body text
		Signed, Padded       bool
		Sequence             uint64
		ContentType          string `json:"content_type"`
		SentMillis           uint64 `json:"sent_ms"`
		Correlation          text
		ReplyTo              string `json:"reply_to"`
		TraceContext         text   `json:"trace_context"`
	}
	Keyed []struct {
		Key           string
		ID, Body, Tag text
	} `json:"keyed_ids"`
	Padded [][2]int `json:"padded_lengths"`
	Bad    []struct {
		What, Kind, Error string
		Bytes, Header     text
		Signed, Padded    bool
	}
}

type identity struct {
	Name, Fingerprint          string
	Private, Public, Statement text
}

type text []byte

func (x *text) UnmarshalText(b []byte) (err error) { *x, err = hex.AppendDecode(nil, b); return err }

func readVectors(t *testing.T) (v vectors) {
	b, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSecondDecoderAgrees(t *testing.T) {
	v := readVectors(t)
	fips140.WithoutEnforcement(func() { // NewGCM with a caller's nonce and plain X25519 are refused there
		if err := decode(func() { checkKeys(t, v); checkConversation(t, v); checkKeyed(t, v) }); err != nil {
			t.Fatal(err)
		}
		checkBad(t, v)
	})
}

func checkKeys(t *testing.T, v vectors) {
	minute := v.NowMillis / 60000
	for _, id := range []identity{v.Sender, v.Owner} {
		c := readPrivate(id.Private, "sealmq identity private key", "sealmq/identity-file/v1")
		name, seed := c.bytes8(), c.take(32)
		key := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		s := readStatement(id.Statement)
		print := base32.StdEncoding.EncodeToString(digest(pae("sealmq/fingerprint/v1", key))[:20])
		if string(name) != id.Name || len(c.b) != 0 || !bytes.Equal(key, id.Public) || s.subject != id.Name ||
			!bytes.Equal(s.key, key) || s.from > minute || s.until < minute ||
			strings.ReplaceAll(id.Fingerprint, "-", "") != strings.ToLower(print) {
			t.Errorf("identity %s differs", id.Name)
		}
	}
	for i, w := range v.Records {
		r := readRecord(w.Bytes)
		chosen := uint64(0)
		for j, e := range r.epochs {
			if e.from <= minute {
				chosen = e.number
			}
			if k := v.EpochKeys[j]; e.number != k.Number || !bytes.Equal(e.id, k.KeyID) || !bytes.Equal(e.public, k.Public) {
				t.Errorf("epoch %d differs", e.number)
			}
		}
		previous := make([]byte, 32)
		if i > 0 {
			previous = v.Records[i-1].Hash
		}
		if r.name != v.Name || !bytes.Equal(r.mailbox, v.Mailbox) || !bytes.Equal(digest(w.Bytes), w.Hash) ||
			chosen != w.Choose || !bytes.Equal(r.owner.key, v.Owner.Public) || r.version != uint64(i+1) ||
			!bytes.Equal(r.previous, previous) {
			t.Errorf("record %d differs", i)
		}
	}
}

// epochSeed reads the private form of the first epoch key.
func epochSeed(v vectors) []byte {
	c := readPrivate(v.EpochKeys[0].Private, "sealmq epoch private key", "sealmq/epoch-key-file/v1")
	c.want("number", c.u(4) == v.EpochKeys[0].Number)
	c.want("suite", c.u(1) == 1)
	c.take(8)
	seed := c.take(32)
	c.want("end", len(c.b) == 0)
	return seed
}

func checkConversation(t *testing.T, v vectors) {
	sender, created, key := readSession(v.Session.Init, epochSeed(v), v.EpochKeys[0].KeyID, v.Mailbox, []byte(v.Name),
		v.Owner.Public)
	id := digest(pae("sealmq/session-id/v1", v.Mailbox, v.Session.Init))[:16]
	if !bytes.Equal(sender.key, v.Sender.Public) || created != v.NowMillis || !bytes.Equal(id, v.Session.ID) {
		t.Error("session differs")
	}
	for i, w := range v.Messages {
		m := readMessage(key, sender.key, v.Mailbox, w.Header, w.Sealed, w.Signed, w.Padded)
		sent := uint64(0)
		if b := m.options[2]; b != nil {
			sent = binary.BigEndian.Uint64(b)
		}
		if m.sequence != w.Sequence || !bytes.Equal(m.body, w.Body) || string(m.options[1]) != w.ContentType ||
			sent != w.SentMillis || !bytes.Equal(m.options[3], w.Correlation) || string(m.options[4]) != w.ReplyTo ||
			!bytes.Equal(m.options[5], w.TraceContext) {
			t.Errorf("message %d differs", i)
		}
	}
	for _, p := range v.Padded {
		if padded(p[0]) != p[1] {
			t.Errorf("Padded(%d) = %d, want %d", p[0], padded(p[0]), p[1])
		}
	}
}

func checkKeyed(t *testing.T, v vectors) {
	c := readPrivate(v.Sender.Private, "sealmq identity private key", "sealmq/identity-file/v1")
	c.bytes8()
	key, err := hkdf.Key(sha256.New, c.take(32), nil, string(pae("sealmq/dedup-key/v1")), 32)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(b []byte) []byte { h := hmac.New(sha256.New, key); h.Write(b); return h.Sum(nil)[:16] }
	for _, w := range v.Keyed {
		id := mac(pae("sealmq/keyed-id/v1", v.Mailbox, []byte(w.Key)))
		if !bytes.Equal(id, w.ID) || !bytes.Equal(mac(pae("sealmq/body-tag/v1", v.Mailbox, id, w.Body)), w.Tag) {
			t.Errorf("key %q differs", w.Key)
		}
	}
}

func checkBad(t *testing.T, v vectors) {
	owner := []byte(v.Owner.Public)
	seed := epochSeed(v)
	sender, _, key := readSession(v.Session.Init, seed, v.EpochKeys[0].KeyID, v.Mailbox, []byte(v.Name), owner)
	read := map[string]func(i int){
		"identity": func(i int) { readPrivate(v.Bad[i].Bytes, "sealmq identity private key", "sealmq/identity-file/v1") },
		"epoch_key": func(i int) {
			readPrivate(v.Bad[i].Bytes, "sealmq epoch private key", "sealmq/epoch-key-file/v1")
		},
		"statement":  func(i int) { readStatement(v.Bad[i].Bytes) },
		"key_record": func(i int) { readRecord(v.Bad[i].Bytes) },
		"session": func(i int) {
			readSession(v.Bad[i].Bytes, seed, v.EpochKeys[0].KeyID, v.Mailbox, []byte(v.Name), owner)
		},
		"message": func(i int) {
			b := v.Bad[i]
			readMessage(key, sender.key, v.Mailbox, b.Header, b.Bytes, b.Signed, b.Padded)
		},
	}
	for i, b := range v.Bad {
		if err := decode(func() { read[b.Kind](i) }); err == nil {
			t.Errorf("%s, %s: accepted", b.Kind, b.What)
		}
	}
}
