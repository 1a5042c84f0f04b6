package client

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/internal/codec"
)

// The bytes of a keyring file, one for each mailbox, big-endian:
//
//	u8 version | u8 length, "sealmq keyring" | 16 mailbox id | u8 length, mailbox name | u16 count |
//	count times (u64 published | u64 replaced, unix ms | u16 length, epoch key) | 32 SHA-256 of all before
//
// Keys ascend by the number of their epoch. published is the version of the first key record that holds the public
// key, 0 while none does; replaced is when a record was published under which senders use a later epoch, 0 before.
const (
	keyringVersion = 1
	keyringPurpose = "sealmq keyring"
	keyringMax     = 1 << 10 // epochs of one mailbox
	keyringBytes   = 1 << 20
	epochKeyBytes  = 1 << 10
)

// keyring is the private keys of one mailbox. It is not changed once others can see it.
type keyring struct {
	mailbox [16]byte
	name    string
	keys    []ringKey
}

type ringKey struct {
	*envelope.EpochKey
	published uint64
	replaced  time.Time
}

// find returns the key of an id, nil if it is not here.
func (k *keyring) find(id [8]byte, _ uint32) *envelope.EpochKey {
	if k == nil {
		return nil
	}
	for i := range k.keys {
		if k.keys[i].ID() == id {
			return k.keys[i].EpochKey
		}
	}
	return nil
}

// epochs returns the lowest and the highest epoch that there is a key for; ok is false without any.
func (k *keyring) epochs() (low, high uint32, ok bool) {
	if k == nil || len(k.keys) == 0 {
		return 0, 0, false
	}
	return k.keys[0].Number(), k.keys[len(k.keys)-1].Number(), true
}

// clone returns a copy whose keys may be changed.
func (k *keyring) clone() *keyring {
	c := *k
	c.keys = append([]ringKey(nil), k.keys...)
	return &c
}

// append returns the file's bytes.
func (k *keyring) marshal() []byte {
	b := []byte{keyringVersion}
	b = codec.AppendBytes8(b, []byte(keyringPurpose))
	b = append(b, k.mailbox[:]...)
	b = codec.AppendBytes8(b, []byte(k.name))
	b = codec.AppendU16(b, uint16(len(k.keys)))
	for _, key := range k.keys {
		b = codec.AppendU64(b, key.published)
		b = codec.AppendU64(b, unixMillis(key.replaced))
		b = codec.AppendBytes16(b, key.Marshal())
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// parseKeyring reads what marshal wrote.
func parseKeyring(b []byte) (*keyring, error) {
	if len(b) < sha256.Size {
		return nil, codec.ErrShort
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	r := codec.NewReader(body)
	if v := r.U8(); r.Err() == nil && v != keyringVersion {
		return nil, fmt.Errorf("version %d is not known to this program", v)
	}
	if string(r.Bytes8()) != keyringPurpose {
		return nil, fmt.Errorf("not a keyring")
	}
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return nil, fmt.Errorf("damaged: digest does not match")
	}
	k := &keyring{mailbox: r.Array16(), name: string(r.Bytes8())}
	n := int(r.U16())
	if n > keyringMax {
		r.Fail(codec.ErrLimit)
	}
	for range n {
		key := ringKey{published: r.U64()}
		key.replaced = fromUnixMillis(&r)
		private := r.Bytes16(epochKeyBytes)
		if r.Err() != nil {
			break
		}
		var err error
		if key.EpochKey, err = envelope.ParseEpochKey(private); err != nil {
			return nil, err
		}
		if last := len(k.keys) - 1; last >= 0 && k.keys[last].Number() >= key.Number() {
			return nil, fmt.Errorf("epochs are not in ascending order")
		}
		k.keys = append(k.keys, key)
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return k, nil
}

func unixMillis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}

func fromUnixMillis(r *codec.Reader) time.Time {
	v := r.U64()
	switch {
	case v == 0:
		return time.Time{}
	case v > math.MaxInt64/1_000_000:
		r.Fail(fmt.Errorf("a time is out of range"))
	}
	return time.UnixMilli(int64(v)).UTC()
}
