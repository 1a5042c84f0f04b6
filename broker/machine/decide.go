package machine

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sealmq/sealmq/storage"
)

// OperatorPrefix begins the principals that the operators' authority vouches for. No client's principal can begin so:
// "/" is in no client name.
const OperatorPrefix = "operator/"

const (
	// ownerActions is what the owner of a mailbox may do with it, by the row of the mailbox.
	ownerActions = ActionSend | ActionReceive | ActionAck | ActionPeek | ActionStat | ActionManage | ActionKeys
	// operatorActions is what operators may do with everything. Never among them: to send, to receive or to ack.
	operatorActions = ActionAdmin | ActionStat | ActionManage
	// adminImplies is what a grant of admin covers besides.
	adminImplies = ActionStat | ActionManage
)

// DecidedBy says what a decision rests on.
type DecidedBy uint8

const (
	ByDefault  DecidedBy = iota // nothing allows it: denied
	ByGrant                     // Decision.Grant, and perhaps others
	ByOwner                     // the principal owns the mailbox
	ByOperator                  // the principal is an operator
)

// Decision is the answer of Decide and the reason for it.
type Decision struct {
	Allowed bool
	By      DecidedBy
	Grant   [8]byte // with ByGrant, the lowest id among the grants that were needed
	Version uint64  // of the grants that were asked
}

// Grants is every grant, compiled for deciding. It is never changed, only replaced.
type Grants struct {
	version uint64
	exact   map[string][]rule // by subject
	pattern []rule
}

type rule struct {
	id       [8]byte
	subject  string
	actions  Actions
	resource string
}

// Version grows whenever a grant was added or removed.
func (g *Grants) Version() uint64 { return g.version }

// compile makes Grants of rows, whatever their order.
func compile(rows []storage.Grant, version uint64) *Grants {
	g := &Grants{version: version, exact: map[string][]rule{}}
	for _, row := range rows {
		r := rule{row.ID, row.Subject, Actions(row.Actions), row.Resource}
		if r.actions&ActionAdmin != 0 {
			r.actions |= adminImplies
		}
		if isPattern(row.Subject) {
			g.pattern = append(g.pattern, r)
		} else {
			g.exact[row.Subject] = append(g.exact[row.Subject], r)
		}
	}
	byID := func(a, b rule) int { return bytes.Compare(a.id[:], b.id[:]) }
	slices.SortFunc(g.pattern, byID)
	for _, rules := range g.exact {
		slices.SortFunc(rules, byID)
	}
	return g
}

// Decide says whether a principal may do all of the actions on a resource. It is the only place that does, and nothing
// is allowed that is not named here: to the owner of a mailbox (owner is empty where there is no mailbox), to
// operators, and by grants.
func Decide(g *Grants, principal, owner string, actions Actions, resource string) Decision {
	d := Decision{Version: g.version}
	if actions == 0 || principal == "" {
		return d
	}
	if strings.HasPrefix(principal, OperatorPrefix) {
		if actions&^operatorActions == 0 {
			d.Allowed, d.By = true, ByOperator
		}
		return d
	}
	if principal == owner && actions&^ownerActions == 0 {
		d.Allowed, d.By = true, ByOwner
		return d
	}
	missing := actions
	if principal == owner {
		missing &^= ownerActions
	}
	missing = d.use(g.exact[principal], missing, func(rule) bool { return true }, resource)
	missing = d.use(g.pattern, missing, func(r rule) bool { return matches(r.subject, principal) }, resource)
	if missing != 0 {
		return Decision{Version: g.version}
	}
	d.Allowed, d.By = true, ByGrant
	return d
}

// use takes the actions that rules allow from those that are missing.
func (d *Decision) use(rules []rule, missing Actions, subject func(rule) bool, resource string) Actions {
	for _, r := range rules {
		if missing == 0 {
			break
		}
		if r.actions&missing == 0 || !subject(r) || !matches(r.resource, resource) {
			continue
		}
		missing &^= r.actions
		if d.Grant == ([8]byte{}) || bytes.Compare(r.id[:], d.Grant[:]) < 0 {
			d.Grant = r.id
		}
	}
	return missing
}
