package wire

import (
	"fmt"
	"strings"
)

// Actions is a set of what a grant allows.
type Actions uint32

// The actions. Bits are only ever appended.
const (
	ActionSend    Actions = 1 << 0 // put messages into a mailbox
	ActionReceive Actions = 1 << 1 // lease messages and read them
	ActionAck     Actions = 1 << 2 // ack, nack and extend
	ActionPeek    Actions = 1 << 3 // read messages without a lease
	ActionStat    Actions = 1 << 4 // read counts and sequence numbers
	ActionManage  Actions = 1 << 5 // create, change and delete mailboxes
	ActionKeys    Actions = 1 << 6 // publish key records
	ActionAdmin   Actions = 1 << 7 // grants, members, cluster status

	// AllActions is every action that this version knows.
	AllActions Actions = 1<<8 - 1
)

var actionNames = [...]string{"send", "receive", "ack", "peek", "stat", "manage", "keys", "admin"}

// Names returns the names of the actions in a, in the order of their bits. Bits without a name are left out.
func (a Actions) Names() []string {
	var names []string
	for bit, name := range actionNames {
		if a&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String returns the names with commas between them.
func (a Actions) String() string { return strings.Join(a.Names(), ",") }

// ParseActions reads names with commas between them.
func ParseActions(s string) (Actions, error) {
	var all Actions
	for name := range strings.SplitSeq(s, ",") {
		bit := -1
		for i := range actionNames {
			if actionNames[i] == name {
				bit = i
			}
		}
		if bit < 0 {
			return 0, fmt.Errorf("unknown action %q: the actions are %v", name, AllActions)
		}
		all |= 1 << bit
	}
	return all, nil
}
