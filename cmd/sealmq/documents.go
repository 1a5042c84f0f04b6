package main

import (
	"cmp"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// The documents that -o json prints. Their fields are an interface that scripts stand on: they are added to, never
// changed, and golden tests hold them. 64-bit identifiers are strings, because JSON readers lose their last digits.

type sentDoc struct {
	Kind        string  `json:"kind"`
	Mailbox     string  `json:"mailbox"`
	ID          string  `json:"id"`
	Seq         uint64  `json:"seq,string"`
	Duplicate   bool    `json:"duplicate"`
	BodyBytes   int     `json:"body_bytes"`
	SealedBytes int     `json:"sealed_bytes"`
	StoredMS    float64 `json:"stored_ms"`
}

func (d sentDoc) render(p *page) { p.table(nil, d.rows()) }

func (d sentDoc) rows() [][]string {
	again := ""
	if d.Duplicate {
		again = "already stored, nothing sent twice"
	}
	seq := "on a majority"
	if d.Seq != 0 {
		seq = "seq " + strconv.FormatUint(d.Seq, 10)
	}
	return [][]string{
		{"sealed", "to " + d.Mailbox, humanBytes(int64(d.BodyBytes)) + " -> " + humanBytes(int64(d.SealedBytes))},
		{"stored", seq, strings.TrimSpace(fmt.Sprintf("%.1f ms  %s", d.StoredMS, again))},
	}
}

type messageDoc struct {
	Kind    string `json:"kind"`
	Mailbox string `json:"mailbox"`
	Seq     uint64 `json:"seq,string"`
	Handle  string `json:"handle"`
	ID      string `json:"id"`
	Sender  string `json:"sender"`
	Trust   string `json:"trust"`
	Attempt int    `json:"attempt"`
	SentAt  stamp  `json:"sent_at"`
	Body    []byte `json:"body"`           // null when it went into a file
	File    string `json:"file,omitempty"` // where --out put it
}

func (d messageDoc) render(p *page) { p.b.Write(d.Body) }

type ackListDoc struct {
	Kind  string    `json:"kind"`
	Items []ackItem `json:"items"`
}

type ackItem struct {
	Handle string `json:"handle"`
	OK     bool   `json:"ok"`
	Code   string `json:"code,omitempty"`
}

func (d ackListDoc) render(p *page) {
	for _, i := range d.Items {
		if i.OK {
			p.line("ok          %s", i.Handle)
		} else {
			p.line("%-11s %s", i.Code, i.Handle)
		}
	}
}

type mailboxDoc struct {
	Kind     string `json:"kind,omitempty"` // absent inside a list
	Name     string `json:"name"`
	ID       string `json:"id"`
	Group    uint16 `json:"group"`
	Ready    uint64 `json:"ready"`
	Leased   uint64 `json:"leased"`
	Bytes    uint64 `json:"bytes"`
	OldestAt stamp  `json:"oldest_at"`
	Delayed  uint64 `json:"delayed"`        // put aside for a while, or for a key that no receiver has
	Dead     uint64 `json:"dead"`           // failed too often, or did not verify
	Code     string `json:"code,omitempty"` // `mailbox create` only: why it was not made
}

func (d mailboxDoc) render(p *page) { mailboxTable(p, []mailboxDoc{d}) }

type mailboxListDoc struct {
	Kind  string       `json:"kind"`
	Items []mailboxDoc `json:"items"`
	Next  string       `json:"next"`
}

func (d mailboxListDoc) render(p *page) { mailboxTable(p, d.Items) }

// createdDoc is the list that making several mailboxes answers, shown to people as a result for each.
type createdDoc struct{ mailboxListDoc }

func (d createdDoc) render(p *page) {
	for _, m := range d.Items {
		p.line("%-11s %s", cmp.Or(m.Code, "made"), m.Name)
	}
}

func mailboxTable(p *page, items []mailboxDoc) {
	rows := make([][]string, len(items))
	for i, m := range items {
		rows[i] = []string{m.Name, strconv.Itoa(int(m.Group)), humanCount(int64(m.Ready)), humanCount(int64(m.Leased)),
			humanCount(int64(m.Delayed)), humanCount(int64(m.Dead)), humanBytes(int64(m.Bytes)), m.OldestAt.String(), m.ID}
	}
	p.table([]string{"NAME", "GROUP", "READY", "LEASED", "DELAYED", "DEAD", "BYTES", "OLDEST", "ID"}, rows)
}

type identityDoc struct {
	Kind        string `json:"kind,omitempty"` // absent inside a list
	Name        string `json:"name"`
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	Request     string `json:"request,omitempty"` // PEM of the certificate request, when no authority was at hand
}

func (d identityDoc) render(p *page) {
	if d.Request != "" {
		p.b.WriteString(d.Request)
		return
	}
	identityTable(p, []identityDoc{d})
}

type identityListDoc struct {
	Kind  string        `json:"kind"`
	Items []identityDoc `json:"items"`
}

func (d identityListDoc) render(p *page) { identityTable(p, d.Items) }

func identityTable(p *page, items []identityDoc) {
	rows := make([][]string, len(items))
	for i, d := range items {
		rows[i] = []string{d.Name, d.Fingerprint}
	}
	p.table([]string{"NAME", "FINGERPRINT"}, rows)
}

type pinDoc struct {
	Kind        string `json:"kind,omitempty"` // absent inside a list
	Name        string `json:"name"`
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	PinnedAt    stamp  `json:"pinned_at"`
	// Refused is a key that the name was seen with since, and that `trust accept` would pin instead.
	RefusedKey         string `json:"refused_key,omitempty"`
	RefusedFingerprint string `json:"refused_fingerprint,omitempty"`
}

func (d pinDoc) render(p *page) { pinTable(p, []pinDoc{d}) }

type pinListDoc struct {
	Kind  string   `json:"kind"`
	Items []pinDoc `json:"items"`
}

func (d pinListDoc) render(p *page) { pinTable(p, d.Items) }

func pinTable(p *page, items []pinDoc) {
	rows := make([][]string, len(items))
	for i, d := range items {
		rows[i] = []string{d.Name, d.Fingerprint, d.PinnedAt.String(), d.RefusedFingerprint}
	}
	p.table([]string{"NAME", "FINGERPRINT", "SINCE", "REFUSED"}, rows)
}

type grantDoc struct {
	Kind     string   `json:"kind,omitempty"` // absent inside a list
	ID       string   `json:"id"`
	Subject  string   `json:"subject"`
	Actions  []string `json:"actions"`
	Resource string   `json:"resource"`
}

func (d grantDoc) render(p *page) { grantTable(p, []grantDoc{d}) }

type grantListDoc struct {
	Kind  string     `json:"kind"`
	Items []grantDoc `json:"items"`
}

func (d grantListDoc) render(p *page) { grantTable(p, d.Items) }

func grantTable(p *page, items []grantDoc) {
	rows := make([][]string, len(items))
	for i, d := range items {
		rows[i] = []string{d.ID, d.Subject, strings.Join(d.Actions, ","), d.Resource}
	}
	p.table([]string{"ID", "SUBJECT", "ACTIONS", "RESOURCE"}, rows)
}

type statusDoc struct {
	Kind    string        `json:"kind"`
	Cluster string        `json:"cluster"`
	Health  string        `json:"health"` // ok, degraded or no_quorum
	CanLose int           `json:"can_lose"`
	Nodes   []statusNode  `json:"nodes"`
	Groups  []statusGroup `json:"groups"`
}

type statusNode struct {
	Node    string `json:"node"`
	Address string `json:"address"`
	State   string `json:"state"` // ok, starting, unreachable, quarantined or locked
	Version string `json:"version"`
}

type statusGroup struct {
	Group   int                `json:"group"`
	Leader  string             `json:"leader"`
	Term    uint64             `json:"term,string"`
	Commit  uint64             `json:"commit,string"`
	Applied map[string]index64 `json:"applied"`
}

// index64 is a 64-bit number that stands in JSON as a string also inside a map.
type index64 uint64

func (i index64) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(i), 10), nil }

func (d statusDoc) render(p *page) {
	lose := fmt.Sprintf("can lose %d more node(s)", d.CanLose)
	if d.Health == "no_quorum" {
		lose = "cannot store messages"
	}
	p.line("cluster %s   %s   %s", d.Cluster, strings.ToUpper(d.Health), lose)
	leads := map[string][]string{}
	for _, g := range d.Groups {
		leads[g.Leader] = append(leads[g.Leader], strconv.Itoa(g.Group))
	}
	rows := make([][]string, len(d.Nodes))
	for i, n := range d.Nodes {
		rows[i] = []string{n.Node, n.Address, n.State, strings.Join(leads[n.Node], ","), n.Version}
	}
	p.table([]string{"NODE", "ADDRESS", "STATE", "LEADS GROUPS", "VERSION"}, rows)
	rows = nil
	for _, g := range d.Groups {
		var applied []string
		for node, index := range g.Applied {
			applied = append(applied, fmt.Sprintf("%s=%d", node, index))
		}
		sort.Strings(applied)
		leader := g.Leader
		if leader == "" {
			leader = "none"
		}
		rows = append(rows, []string{strconv.Itoa(g.Group), leader, strconv.FormatUint(g.Term, 10),
			strconv.FormatUint(g.Commit, 10), strings.Join(applied, " ")})
	}
	p.table([]string{"GROUP", "LEADER", "TERM", "COMMIT", "APPLIED"}, rows)
}

type configDoc struct {
	Kind  string       `json:"kind"`
	File  string       `json:"file"`
	Items []configItem `json:"items,omitempty"` // `config show` only
	Notes []string     `json:"notes,omitempty"` // `config check` only: settings that change nothing
}

type configItem struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // flag, environment, file or default
	Line   int    `json:"line,omitempty"`
}

func (d configDoc) render(p *page) {
	if d.Items == nil {
		for _, note := range d.Notes {
			p.line("note: %s", note)
		}
		p.line("%s: ok", d.File)
		return
	}
	rows := make([][]string, len(d.Items))
	for i, s := range d.Items {
		from := s.Origin
		if s.Line > 0 {
			from += " line " + strconv.Itoa(s.Line)
		}
		rows[i] = []string{s.Key, s.Value, from}
	}
	p.table([]string{"KEY", "VALUE", "FROM"}, rows)
}

type versionDoc struct {
	Kind     string `json:"kind"`
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Protocol int    `json:"protocol"`
}

func (d versionDoc) render(p *page) {
	p.line("sealmq %s (commit %s, %s, protocol %d)", d.Version, d.Commit, d.Go, d.Protocol)
}

type doneDoc struct {
	Kind string `json:"kind"`
	What string `json:"what"` // removed, accepted, ...
	Name string `json:"name"`
}

func (d doneDoc) render(p *page) { p.line("%s %s", d.What, d.Name) }

type errorDoc struct {
	Kind      string `json:"kind"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Hint      string `json:"hint"`
	Outcome   string `json:"outcome"` // definite or unknown
	Retryable bool   `json:"retryable"`
}
