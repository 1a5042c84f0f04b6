package raftlog

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/raftlog/journal"
)

func TestStartRefusesWhatDoesNotBelongTogether(t *testing.T) {
	config := testConfiguration()
	entries := []journal.Entry{
		{Index: 1, Term: 1, Kind: uint8(raft.LogConfiguration), Data: config},
		{Index: 2, Term: 2, Kind: uint8(raft.LogNoop)}, {Index: 3, Term: 2, Data: []byte("a")},
	}
	tests := map[string]struct {
		durable Applied
		ok      bool
	}{
		"nothing applied":       {Applied{}, true},
		"applied to the end":    {Applied{Index: 3, Term: 2, ConfigIndex: 1, Config: config}, true},
		"log too short":         {Applied{Index: 4, Term: 2, ConfigIndex: 1, Config: config}, false},
		"other term":            {Applied{Index: 3, Term: 1, ConfigIndex: 1, Config: config}, false},
		"no configuration":      {Applied{Index: 3, Term: 2}, false},
		"broken configuration":  {Applied{Index: 3, Term: 2, ConfigIndex: 1, Config: []byte("x")}, false},
		"configuration index 0": {Applied{Index: 3, Term: 2, Config: config}, false},
	}
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		n1 := c.nodes["n1"]
		for name, tt := range tests {
			n1.logs[0] = &memLog{entries: slices.Clone(entries), term: 2}
			h, err := NewHost(c.options(n1))
			must(t, err)
			_, err = h.Start(0, &memMachine{applied: tt.durable, durable: tt.durable}, nil)
			if tt.ok != (err == nil) || !tt.ok && !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", name, err)
			}
			h.Close()
		}
	})
}

// A crash may fall between the two writes of a bootstrap. Anything more in the log means that it has been used.
func TestBootstrapHappensOnce(t *testing.T) {
	tests := map[string]struct {
		log  *memLog
		want bool
	}{
		"new":                {&memLog{}, true},
		"term without entry": {&memLog{term: 1}, true},
		"has seen a leader":  {&memLog{term: 2}, false},
		"has voted":          {&memLog{term: 1, voteTerm: 1, candidate: "n2"}, false},
		"bootstrapped already": {&memLog{term: 1, entries: []journal.Entry{
			{Index: 1, Term: 1, Kind: 5, Data: testConfiguration()},
		}}, false},
	}
	for name, tt := range tests {
		log := tt.log
		before := len(log.entries)
		s, v := newStores(log)
		s.host.o.Members = []Member{{Node: "n2", Address: "b", Voter: true}, {Node: "n1", Address: "a", Voter: true}}
		must(t, s.host.bootstrap(log, Applied{}, s, v))
		if wrote := len(log.entries) > before; wrote != tt.want {
			t.Errorf("%s: wrote %v", name, wrote)
		}
		if tt.want && (log.term != 1 || log.entries[0].Index != 1 || log.entries[0].Term != 1) {
			t.Errorf("%s: term %d, entry %+v", name, log.term, log.entries[0])
		}
	}
	// Every node writes the same bytes, whatever the order of its members.
	a := configurationOf([]Member{{Node: "n2", Address: "b", Voter: true}, {Node: "n1", Address: "a"}})
	b := configurationOf([]Member{{Node: "n1", Address: "a"}, {Node: "n2", Address: "b", Voter: true}})
	if string(raft.EncodeConfiguration(a)) != string(raft.EncodeConfiguration(b)) {
		t.Error("the first entry depends on the order of the members")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	c := newTestNet(t, 0)
	spoil := map[string]func(o *Options){
		"no cluster":            func(o *Options) { o.Cluster = [16]byte{} },
		"no log":                func(o *Options) { o.Log = nil },
		"no listener":           func(o *Options) { o.Listener = nil },
		"no dial":               func(o *Options) { o.Dial = nil },
		"no members":            func(o *Options) { o.Members = nil },
		"not a member":          func(o *Options) { o.Node = "n9" },
		"twice":                 func(o *Options) { o.Members[1].Node = "n1" },
		"one address":           func(o *Options) { o.Members[1].Address = o.Members[0].Address },
		"no voter":              func(o *Options) { o.Members = []Member{{Node: "n1", Address: "a"}} },
		"name too long":         func(o *Options) { o.Members[1].Node = strings.Repeat("n", 256) },
		"preferred stranger":    func(o *Options) { o.Preferred = map[uint16]string{3: "n9"} },
		"timeout too small":     func(o *Options) { o.Timeout = time.Millisecond },
		"negative cache":        func(o *Options) { o.CacheBytes = -1 },
		"negative proposals":    func(o *Options) { o.InFlightBytes = -1 },
		"preferred is no voter": func(o *Options) { o.Members[2].Voter = false; o.Preferred = map[uint16]string{0: "n3"} },
	}
	for name, f := range spoil {
		o := c.options(c.nodes["n1"])
		o.Members = slices.Clone(o.Members)
		f(&o)
		if h, err := NewHost(o); err == nil {
			t.Errorf("%s: accepted", name)
			h.Close()
		}
	}
	o := c.options(c.nodes["n1"])
	o.Timeout, o.Fatal = 0, nil
	must(t, o.check())
	if o.Timeout != defaultTimeout || o.CacheBytes != defaultCacheBytes || o.InFlightBytes != defaultInFlightBytes ||
		o.PeerName == nil {
		t.Errorf("defaults %+v", o)
	}
	defer func() {
		if recover() == nil {
			t.Error("without Fatal an error of the log passes")
		}
	}()
	o.Fatal(errors.New("broken"))
}

func TestGroupStartsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newTestNet(t, 0)
		c.start("n1")
		h := c.nodes["n1"].host
		if _, err := h.Start(0, &memMachine{}, nil); err == nil {
			t.Error("a group was started twice")
		}
		must(t, h.Close())
		must(t, h.Close())
		if _, err := h.Start(1, &memMachine{}, nil); err == nil {
			t.Error("a group was started on a closed host")
		}
	})
}
