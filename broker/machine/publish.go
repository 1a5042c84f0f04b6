package machine

import "github.com/sealmq/sealmq/internal/codec"

// KeyRecordPublish replaces a mailbox's key record by the next version. Only the owner may; Version must be one more
// than the current one's and Previous its hash (0 and zeros when there is none). Repeating the current version with
// the same hash is CodeOK. Hash and Identity, the owner's identity key, are read from the record by the leader.
type KeyRecordPublish struct {
	Principal string
	Mailbox   [16]byte
	Version   uint64
	Previous  [32]byte
	Hash      [32]byte
	Identity  [32]byte
	Record    []byte
}

// Append appends the command to an entry.
func (c *KeyRecordPublish) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindKeyRecordPublish)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.Mailbox[:]...)
	dst = codec.AppendUvarint(dst, c.Version)
	dst = append(dst, c.Previous[:]...)
	dst = append(dst, c.Hash[:]...)
	dst = append(dst, c.Identity[:]...)
	dst = codec.AppendBytes(dst, c.Record)
	return frame(dst, start)
}

func (c *KeyRecordPublish) decode(r *codec.Reader, n names) {
	c.Principal, c.Mailbox, c.Version = n.read(r), r.Array16(), r.Uvarint()
	c.Previous, c.Hash, c.Identity = r.Array32(), r.Array32(), r.Array32()
	c.Record = r.Bytes(MaxKeyRecordBytes)
	if c.Version == 0 || len(c.Record) == 0 {
		r.Fail(errRange)
	}
}

func (m *Mail) keyRecordPublish(c *KeyRecordPublish, o *Outcome) {
	mb := m.find(c.Mailbox, o)
	if mb == nil {
		return
	}
	switch row := mb.row; {
	case row.Owner != c.Principal:
		o.Code = CodeNotOwner
		return
	case c.Version == row.KeyVersion && c.Hash == row.KeyHash:
		return // published already
	case c.Version != row.KeyVersion+1, c.Previous != row.KeyHash:
		o.Code = CodePrecondition
		return
	}
	old := mb.row
	row := *old
	row.KeyVersion, row.KeyHash, row.Identity = c.Version, c.Hash, c.Identity
	m.batch.PutKeyRecord(row.Number, c.Version, c.Record)
	if old.KeyVersion == 0 || old.Identity != row.Identity {
		if old.KeyVersion > 0 {
			m.batch.DeleteIdentity(old)
		}
		m.batch.AddIdentity(&row)
	}
	m.batch.PutMailbox(&row)
	mb.row = &row
	m.forget = append(m.forget, row.ID)
}
