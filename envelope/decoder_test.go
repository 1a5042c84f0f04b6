package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A second decoder of every format, written from the tables of docs/FORMATS.md alone: it shares no code with the
// package, not even HPKE. What the package froze in testdata/v1.json must mean the same to it.

func pae(label string, fields ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(label)))
	b = append(b, label...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return b
}

func digest(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }

// cursor cuts pieces off the front; running past the end panics, which decode turns into an error.
type cursor struct{ b []byte }

func (c *cursor) take(n int) []byte { p := c.b[:n]; c.b = c.b[n:]; return p }
func (c *cursor) u(n int) (v uint64) {
	for _, x := range c.take(n) {
		v = v<<8 | uint64(x)
	}
	return v
}
func (c *cursor) bytes8() []byte { return c.take(int(c.u(1))) }
func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	c.want("varint", n > 0 && (n == 1 || c.b[n-1] != 0))
	c.take(n)
	return v
}
func (c *cursor) want(what string, ok bool) {
	if !ok {
		panic(errors.New(what))
	}
}

func decode(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	f()
	return nil
}

type statement struct {
	from, until uint64
	key         []byte
	subject     string
}

func readStatement(b []byte) (s statement) {
	c := &cursor{b}
	c.want("version", c.u(1) == 1)
	c.want("flags", c.u(2) == 0)
	s.from, s.until = c.u(4), c.u(4)
	c.want("window", s.from < s.until && s.until-s.from <= 43200)
	s.key = c.take(32)
	s.subject = string(c.bytes8())
	for range c.u(1) {
		c.bytes8()
	}
	c.want("organisation", c.u(8) == 0)
	body := b[:len(b)-len(c.b)]
	c.want("signature", ed25519.Verify(s.key, pae("sealmq/identity-statement/v1", body), c.take(64)) && len(c.b) == 0)
	return s
}

type epoch struct {
	number      uint64
	from, until uint64
	public, id  []byte
}

type record struct {
	mailbox, previous []byte
	version, notAfter uint64
	name              string
	epochs            []epoch
	owner             statement
}

func readRecord(b []byte) (r record) {
	c := &cursor{b}
	c.want("version", c.u(1) == 1)
	c.want("policy", c.u(2) < 8)
	r.mailbox, r.version, r.previous, r.notAfter = c.take(16), c.u(8), c.take(32), c.u(4)
	r.name = string(c.bytes8())
	for range c.u(1) {
		whole := c.b[:1229]
		e := epoch{number: c.u(4), id: digest(pae("sealmq/epoch-key-id/v1", whole))[:8]}
		c.want("suite", c.u(1) == 1)
		e.from, e.until = c.u(4), c.u(4)
		e.public = c.take(1216)
		r.epochs = append(r.epochs, e)
	}
	r.owner = readStatement(c.take(int(c.u(2))))
	body := b[:len(b)-len(c.b)]
	c.want("signature", ed25519.Verify(r.owner.key, pae("sealmq/key-record/v1", body), c.take(64)) && len(c.b) == 0)
	return r
}

// readPrivate checks the frame of a private form and returns what stands in it.
func readPrivate(b []byte, purpose, label string) *cursor {
	c := &cursor{b[:len(b)-32]}
	c.want("digest", bytes.Equal(digest(pae(label, c.b)), b[len(b)-32:]))
	c.want("version", c.u(1) == 1)
	c.want("purpose", string(c.bytes8()) == purpose)
	return c
}

// xwing is the shared secret of X-Wing: the seed expands to the ML-KEM-768 seed and the X25519 key.
func xwing(seed, enc []byte) []byte {
	expanded := sha3.SumSHAKE256(seed, 96)
	pq, err1 := mlkem.NewDecapsulationKey768(expanded[:64])
	dh, err2 := ecdh.X25519().NewPrivateKey(expanded[64:])
	share, err3 := ecdh.X25519().NewPublicKey(enc[1088:])
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(err)
	}
	ssM, err1 := pq.Decapsulate(enc[:1088])
	ssX, err2 := dh.ECDH(share)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	sum := sha3.Sum256(bytes.Join([][]byte{ssM, ssX, enc[1088:], dh.PublicKey().Bytes(), []byte(`\.//^\`)}, nil))
	return sum[:]
}

// exportKey is RFC 9180: the key schedule in base mode for X-Wing, HKDF-SHA256, export-only, and one export of 32
// bytes.
func exportKey(shared, info, context []byte) []byte {
	const suite = "HPKE\x64\x7a\x00\x01\xff\xff"
	extract := func(salt []byte, label string, ikm []byte) []byte {
		prk, _ := hkdf.Extract(sha256.New, append([]byte("HPKE-v1"+suite+label), ikm...), salt)
		return prk
	}
	expand := func(prk []byte, label string, info []byte) []byte {
		out, _ := hkdf.Expand(sha256.New, prk, "\x00\x20HPKE-v1"+suite+label+string(info), 32)
		return out
	}
	schedule := append([]byte{0}, extract(nil, "psk_id_hash", nil)...)
	schedule = append(schedule, extract(nil, "info_hash", info)...)
	return expand(expand(extract(shared, "secret", nil), "exp", schedule), "sec", context)
}

func openGCM(key, sealed, aad []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	b, err := gcm.Open(nil, sealed[:12], sealed[12:], aad)
	if err != nil {
		panic(err)
	}
	return b
}

// readSession returns the sender's statement, the time and k_msg.
func readSession(init, seed, keyID, mailbox, name, owner []byte) (s statement, created uint64, key []byte) {
	c := &cursor{init}
	c.want("version", c.u(1) == 1)
	c.want("suite", c.u(1) == 1)
	c.want("flags", c.u(2) == 0)
	notAfter := c.u(4)
	c.u(4)
	c.want("key id", bytes.Equal(c.take(8), keyID))
	clear, enc := init[:20], c.take(1120)
	sealed := c.take(int(c.u(2)))
	c.want("end", len(c.b) == 0)

	shared := xwing(seed, enc)
	info := pae("sealmq/session/v1", []byte{1}, mailbox, name, keyID, owner)
	inside := openGCM(exportKey(shared, info, pae("sealmq/init-key/v1")), sealed,
		pae("sealmq/session-init/v1", mailbox, clear, enc))
	text, signature := inside[8:len(inside)-64], inside[len(inside)-64:]
	s = readStatement(text)
	c.want("signature", ed25519.Verify(s.key, pae("sealmq/session-sig/v1", clear, digest(enc), mailbox, name, owner,
		digest(text), inside[:8]), signature))
	created = binary.BigEndian.Uint64(inside)
	c.want("lifetime", created < notAfter*60000 && notAfter*60000 <= created+24*3600*1000)
	id := digest(pae("sealmq/session-id/v1", mailbox, init))[:16]
	return s, created, exportKey(shared, info, pae("sealmq/msg-key/v1", id, s.key))
}

type message struct {
	sequence uint64
	options  map[byte][]byte
	body     []byte
}

func padded(n int) int {
	if n <= 64 {
		return 64
	}
	e := math.Floor(math.Log2(float64(n)))
	unit := int(math.Pow(2, e-math.Floor(math.Log2(e))-1))
	return (n + unit - 1) / unit * unit
}

func readMessage(key, sender, mailbox, header, sealed []byte, isSigned, isPadded bool) (m message) {
	inside := openGCM(key, sealed, pae("sealmq/m/v1", mailbox, header))
	c := &cursor{inside}
	if isSigned {
		signature := c.take(64)
		c.want("signature", ed25519.Verify(sender, pae("sealmq/msg/v1", mailbox, header, digest(c.b)), signature))
	}
	m.sequence = c.uvarint()
	m.options = make(map[byte][]byte)
	last := -1
	for range c.u(1) {
		tag := byte(c.u(1))
		c.want("order", int(tag&0x7f) > last)
		last = int(tag & 0x7f)
		value := c.take(int(c.uvarint()))
		c.want("critical", tag < 0x80)
		c.want("empty", len(value) > 0 || tag > 5)
		m.options[tag] = value
	}
	m.body = c.take(int(c.uvarint()))
	zeros := 0
	if isPadded {
		zeros = padded(len(inside)-len(c.b)) - (len(inside) - len(c.b))
	}
	c.want("padding", bytes.Equal(c.b, make([]byte, zeros)))
	c.want("sequence", m.sequence < 1<<20)
	return m
}
