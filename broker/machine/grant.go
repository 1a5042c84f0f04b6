package machine

import (
	"bytes"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Actions is a set of what a principal may do.
type Actions uint32

const (
	ActionSend Actions = 1 << iota
	ActionReceive
	ActionAck
	ActionPeek
	ActionStat
	ActionManage
	ActionKeys
	ActionAdmin

	// AllActions has every action that this version knows.
	AllActions = ActionAdmin<<1 - 1
)

// GrantAdd gives principals that match Subject the Actions on resources that match Resource. The id is drawn by the
// leader. If the same is granted already nothing changes and the outcome names that grant: who repeats what may have
// been done must not make two, of which taking one back would leave the other.
type GrantAdd struct {
	Principal string // who grants
	ID        [8]byte
	Subject   string
	Actions   Actions
	Resource  string
}

// Append appends the command to an entry.
func (c *GrantAdd) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindGrantAdd)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.ID[:]...)
	dst = codec.AppendBytes8(dst, []byte(c.Subject))
	dst = codec.AppendU32(dst, uint32(c.Actions))
	dst = codec.AppendBytes8(dst, []byte(c.Resource))
	return frame(dst, start)
}

func (c *GrantAdd) decode(r *codec.Reader, n names) {
	c.Principal, c.ID = n.read(r), array8(r)
	c.Subject, c.Actions, c.Resource = string(r.Bytes8()), Actions(r.U32()), string(r.Bytes8())
	switch {
	case c.Actions&^AllActions != 0:
		r.Fail(errUnsupported)
	case c.Actions == 0, CheckPattern(c.Subject) != nil, CheckPattern(c.Resource) != nil:
		r.Fail(errRange)
	}
}

// GrantRemove takes a grant back.
type GrantRemove struct {
	Principal string // who takes it back
	ID        [8]byte
}

// Append appends the command to an entry.
func (c *GrantRemove) Append(dst []byte) []byte {
	start := len(dst)
	dst = begin(dst, KindGrantRemove)
	dst = appendPrincipal(dst, c.Principal)
	dst = append(dst, c.ID[:]...)
	return frame(dst, start)
}

func (c *GrantRemove) decode(r *codec.Reader, n names) { c.Principal, c.ID = n.read(r), array8(r) }

func (c *Control) grantAdd(cmd *GrantAdd, o *Outcome) {
	row := storage.Grant{
		ID: cmd.ID, Subject: cmd.Subject, Resource: cmd.Resource, Grantor: cmd.Principal,
		Actions: uint32(cmd.Actions), CreatedMillis: c.now,
	}
	if same, ok := c.same(&row); ok {
		o.Grant = same
		return
	}
	if _, ok := c.rows[cmd.ID]; ok {
		o.Code = CodeExists
		return
	}
	o.Grant = cmd.ID
	if len(c.rows) >= MaxGrants {
		o.Code = CodeFull
		return
	}
	c.rows[cmd.ID] = row
	c.changed = true
	c.batch.PutGrant(&row)
}

// same returns the grant that says what row says, the first by id if there are several.
func (c *Control) same(row *storage.Grant) (id [8]byte, found bool) {
	for _, have := range c.rows {
		if have.Subject != row.Subject || have.Actions != row.Actions || have.Resource != row.Resource {
			continue
		}
		if !found || bytes.Compare(have.ID[:], id[:]) < 0 {
			id, found = have.ID, true
		}
	}
	return id, found
}

func (c *Control) grantRemove(cmd *GrantRemove, o *Outcome) {
	if _, ok := c.rows[cmd.ID]; !ok {
		o.Code = CodeNotFound
		return
	}
	delete(c.rows, cmd.ID)
	c.changed = true
	c.batch.DeleteGrant(cmd.ID)
}
