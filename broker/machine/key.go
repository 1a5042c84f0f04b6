package machine

import (
	"errors"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// KeyPut stores the secret of a mailbox under a generation, unless there already is one: the leader draws it, and
// everybody uses the one that is stored after apply. It writes keys/ and goes before the mailbox's create.
type KeyPut struct {
	Mailbox    [16]byte
	Generation uint32
	Key        [32]byte
}

// Append appends the command to an entry.
func (c *KeyPut) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindKeyPut)
	dst = append(dst, c.Mailbox[:]...)
	dst = codec.AppendU32(dst, c.Generation)
	dst = append(dst, c.Key[:]...)
	return frame(dst, start)
}

func (c *KeyPut) decode(r *codec.Reader, _ names) {
	c.Mailbox, c.Generation, c.Key = r.Array16(), r.U32(), r.Array32()
}

// KeyDelete destroys every generation of a mailbox's secret. It writes keys/ and goes after the mailbox's delete.
type KeyDelete struct {
	Mailbox [16]byte
}

// Append appends the command to an entry.
func (c *KeyDelete) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindKeyDelete)
	dst = append(dst, c.Mailbox[:]...)
	return frame(dst, start)
}

func (c *KeyDelete) decode(r *codec.Reader, _ names) { c.Mailbox = r.Array16() }

func (m *Mail) keyPut(c *KeyPut, o *Outcome) {
	o.Mailbox = c.Mailbox
	slot := secretID{c.Mailbox, c.Generation}
	if m.secrets[slot] {
		return
	}
	if !m.secretsDeleted[c.Mailbox] {
		_, err := m.reader.Secret(c.Mailbox, c.Generation)
		if err == nil {
			return
		}
		if !errors.Is(err, storage.ErrNotFound) {
			m.failed(err)
			return
		}
	}
	m.batch.PutSecret(c.Mailbox, c.Generation, c.Key)
	m.secrets[slot] = true
}

func (m *Mail) keyDelete(c *KeyDelete, o *Outcome) {
	o.Mailbox = c.Mailbox
	m.batch.DeleteSecrets(c.Mailbox)
	m.secretsDeleted[c.Mailbox] = true
	for slot := range m.secrets {
		if slot.mailbox == c.Mailbox {
			delete(m.secrets, slot)
		}
	}
}

// secretID is the place of a secret in keys/.
type secretID struct {
	mailbox    [16]byte
	generation uint32
}
