package wire

import (
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func protocolPage(t *testing.T) string {
	page, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// section returns the page from the heading to the next one of its kind.
func section(t *testing.T, page, heading string) string {
	_, after, ok := strings.Cut(page, "\n"+heading)
	if !ok {
		t.Fatalf("the page has no %q", heading)
	}
	kind, _, _ := strings.Cut(heading, " ")
	text, _, _ := strings.Cut(after, "\n"+kind+" ")
	return text
}

// rows returns the cells of the table rows that begin with a number and a name.
func rows(text string) map[int][]string {
	found := map[int][]string{}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| `(\\w+)` \\|(.*)\\|$")
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		cells := []string{m[2]}
		for cell := range strings.SplitSeq(m[3], "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		found[n] = cells
	}
	return found
}

func TestPageHasTheCodes(t *testing.T) {
	table := rows(section(t, protocolPage(t), "## 5. "))
	if len(table) != Codes() {
		t.Errorf("the page has %d codes, there are %d", len(table), Codes())
	}
	for i := range Codes() {
		c := Code(i)
		retry := "no"
		if c.Retryable() {
			retry = "yes"
		}
		if row := table[i]; len(row) < 4 || row[0] != c.String() || row[1] != c.Outcome().String() || row[2] != retry {
			t.Errorf("code %d is %v, %v, retry %s; the page says %q", i, c, c.Outcome(), retry, row)
		}
	}
	nacks := rows(section(t, protocolPage(t), "## 9. "))
	for c := NackCode(1); c.valid(); c++ {
		if row := nacks[int(c)]; len(row) == 0 || row[0] != c.String() {
			t.Errorf("nack code %d is %v, the page says %q", c, c, row)
		}
		delete(nacks, int(c))
	}
	if len(nacks) != 0 {
		t.Errorf("the page has more nack codes: %v", nacks)
	}
	actions := rows(section(t, protocolPage(t), "### grant_add, "))
	for _, name := range AllActions.Names() {
		bit, _ := ParseActions(name)
		if row := actions[int(bit)]; len(row) == 0 || row[0] != name {
			t.Errorf("action %d is %s, the page says %q", bit, name, row)
		}
	}
}

func TestPageHasTheTypes(t *testing.T) {
	overview, _, _ := strings.Cut(section(t, protocolPage(t), "## 10. "), "\n### ")
	table := rows(overview)
	senders := map[side]string{fromClient: "client", fromServer: "node", fromClient | fromServer: "both"}
	for _, typ := range Types() {
		from := senders[types[typ].from]
		row := table[int(typ)]
		if len(row) < 3 || row[0] != typ.String() || row[1] != from {
			t.Errorf("type %d is %v from %s, the page says %q", typ, typ, from, row)
			continue
		}
		for answer := range strings.SplitSeq(row[2], "`") {
			if strings.Contains(answer, "_") && typeByName(answer) == 0 {
				t.Errorf("%v is answered by %s, which is no message", typ, answer)
			}
		}
	}
	for n, row := range table {
		if !Type(n).Known() {
			t.Errorf("the page has type %d, %s", n, row[0])
		}
	}
}

// Every field of every message stands in the part of the page about that message.
func TestPageHasTheFields(t *testing.T) {
	page := section(t, protocolPage(t), "## 10. ")
	headings := regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(page, -1)
	parts := map[string]string{}
	for _, h := range headings {
		for name := range strings.SplitSeq(h[1], ", ") {
			parts[name] = section(t, page, "### "+h[1])
		}
	}
	for _, typ := range Types() {
		part, ok := parts[typ.String()]
		if !ok {
			t.Errorf("no part about %v", typ)
			continue
		}
		for _, field := range fieldNames(reflect.TypeOf(New(typ)).Elem()) {
			if !strings.Contains(part, field+"`") {
				t.Errorf("%v has a field %s, the page does not", typ, field)
			}
		}
	}
}

// fieldNames returns the names of a message's fields, without its options, and those of the structs in its lists.
func fieldNames(typ reflect.Type) []string {
	var names []string
	for i := range typ.NumField() {
		field, name := typ.Field(i), snake(typ.Field(i).Name)
		inner := field.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		switch {
		case name == "options", inner == reflect.TypeFor[ClearHeader](), inner == reflect.TypeFor[MailboxInfo]():
		case inner == reflect.TypeFor[MailboxRef]():
			names = append(names, name)
		case inner.Kind() == reflect.Struct:
			names = append(names, fieldNames(inner)...)
		default:
			names = append(names, name)
		}
	}
	return names
}

func TestPageHasTheLimits(t *testing.T) {
	limits := map[string]int{
		"body, before padding and sealing":          BodyBytes,
		"sealed bytes of a message":                 SealedBytes,
		"frame length":                              FrameBytes,
		"frame length before an identity is proved": PreAuthFrameBytes,
		"time until an identity is proved, ms":      PreAuthMillis,
		"long poll, ms":                             WaitMillis,
		"lease, ms":                                 LeaseMaxMillis,
		"items of a batch":                          BatchItems,
		"sessions of a batch":                       BatchSessions,
		"producers of a delivery":                   BatchProducers,
		"sessions that a connection remembers":      SessionWindow,
		"header of a session":                       SessionInitBytes,
		"credit, messages":                          CreditMessages,
		"credit, bytes":                             CreditBytes,
		"name, token":                               NameBytes,
		"node name":                                 NodeBytes,
		"text":                                      TextBytes,
		"detail of a nack":                          NackDetailBytes,
		"key record":                                KeyRecordBytes,
		"page of a listing":                         PageItems,
		"options of an area":                        OptionCount,
		"value of an option":                        OptionBytes,
		"options of a clear header":                 HeaderOptionCount,
		"bytes of a clear header's options":         HeaderOptionBytes,
	}
	text := section(t, protocolPage(t), "## 11. ")
	row := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([\d,]+) \|$`)
	found := row.FindAllStringSubmatch(text, -1)
	if len(found) != len(limits) {
		t.Errorf("the page has %d limits, the test %d", len(found), len(limits))
	}
	for _, m := range found {
		value, _ := strconv.Atoi(strings.ReplaceAll(m[2], ",", ""))
		if want, ok := limits[m[1]]; !ok || want != value {
			t.Errorf("the page says %s: %d, want %d", m[1], value, want)
		}
	}
}
