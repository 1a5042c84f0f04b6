package machine

import (
	"sync/atomic"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// controlGroup is the group that every node carries.
const controlGroup = 0

// Control is the machine of the control group: what is small and needed everywhere. Apply is for one goroutine;
// everything else that is exported is for any.
type Control struct {
	*base
	rows     map[[8]byte]storage.Grant
	changed  bool // in this run
	compiled atomic.Pointer[Grants]

	commands struct {
		grantAdd    GrantAdd
		grantRemove GrantRemove
		tick        Tick
	}
}

// OpenControl opens the machine of the control group on what its stores hold.
func OpenControl(stores *storage.Stores) (*Control, error) {
	b, err := openBase(stores, controlGroup)
	if err != nil {
		return nil, err
	}
	grants, err := b.reader.Grants()
	if err != nil {
		return nil, err
	}
	c := &Control{base: b, rows: make(map[[8]byte]storage.Grant, len(grants))}
	for _, g := range grants {
		c.rows[g.ID] = g
	}
	c.compiled.Store(compile(grants, b.inState.Index))
	return c, nil
}

// Apply applies a run of entries; see [Mail.Apply].
func (c *Control) Apply(entries []Entry, config *Applied, outcomes bool) ([][]Outcome, error) {
	return c.run(entries, config, outcomes, c)
}

// Grants returns the grants as they are after what has been applied. A caller that decides more than once under the
// same rights keeps the result and compares versions.
func (c *Control) Grants() *Grants { return c.compiled.Load() }

func (c *Control) command(kind Kind, r *codec.Reader, o *Outcome) {
	switch kind {
	case KindGrantAdd:
		if cmd := &c.commands.grantAdd; c.decode(cmd, r, o) {
			c.grantAdd(cmd, o)
		}
	case KindGrantRemove:
		if cmd := &c.commands.grantRemove; c.decode(cmd, r, o) {
			c.grantRemove(cmd, o)
		}
	case KindTick:
		c.decode(&c.commands.tick, r, o)
	default:
		o.Code = CodeUnsupported
	}
}

func (c *Control) warm(codec.Reader, int) {}

func (c *Control) timeMoved(int64) {}

func (c *Control) mayHold() bool { return false }

func (c *Control) write() {}

func (c *Control) written() {
	if !c.changed {
		return
	}
	c.changed = false
	rows := make([]storage.Grant, 0, len(c.rows))
	for _, row := range c.rows {
		rows = append(rows, row)
	}
	c.compiled.Store(compile(rows, c.inState.Index))
}
