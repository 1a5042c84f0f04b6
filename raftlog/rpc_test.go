package raftlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/internal/testkit"
)

// vector is one frame of the protocol: encode makes it, decode reads its payload back.
type vector struct {
	name   string
	typ    frameType
	value  any
	encode func(v any) []byte
	decode func(b []byte) (any, error)
}

func testConfiguration() []byte {
	return raft.EncodeConfiguration(configurationOf([]Member{
		{Node: "n2", Address: "b:1"}, {Node: "n1", Address: "a:1", Voter: true},
	}))
}

func vectors() []vector {
	process := [16]byte{9, 8, 7}
	return []vector{
		{"hello", frameHello, hello{1, 1, channelBulk, testCluster, process, "n1", "n2"},
			func(v any) []byte { return appendHello(nil, v.(hello)) },
			func(b []byte) (any, error) { return parseHello(b) }},
		{"welcome", frameWelcome, welcome{accepted, 1, testCluster, process, "n2"},
			func(v any) []byte { return appendWelcome(nil, v.(welcome)) },
			func(b []byte) (any, error) { return parseWelcome(b) }},
		{"refused", frameWelcome, welcome{refusal: refusedDuplicate},
			func(v any) []byte { return appendWelcome(nil, v.(welcome)) },
			func(b []byte) (any, error) { return parseWelcome(b) }},
		{"failure", frameFailure, failRefused,
			func(v any) []byte { return []byte{byte(v.(failure))} },
			func(b []byte) (any, error) { return parseFailure(b) }},
		{"vote", frameVote, vote{7, 100, 6, true},
			func(v any) []byte { return appendVote(nil, v.(vote)) },
			func(b []byte) (any, error) { return parseVote(b, frameVote) }},
		{"vote reply", frameVoteReply, voteReply{7, true},
			func(v any) []byte { return appendVoteReply(nil, v.(voteReply)) },
			func(b []byte) (any, error) { return parseVoteReply(b) }},
		{"pre-vote", framePreVote, vote{7, 100, 6, false},
			func(v any) []byte { return appendVote(nil, v.(vote)) },
			func(b []byte) (any, error) { return parseVote(b, framePreVote) }},
		{"append", frameAppend, &raft.AppendEntriesRequest{
			Term: 7, PrevLogEntry: 100, PrevLogTerm: 5, LeaderCommitIndex: 102, Entries: []*raft.Log{
				{Index: 101, Term: 6, Type: raft.LogNoop},
				{Index: 102, Term: 6, Type: raft.LogCommand, Data: []byte("body")},
				{Index: 103, Term: 7, Type: raft.LogConfiguration, Data: testConfiguration()},
			}}, encodeAppend, decodeAppend},
		{"heartbeat", frameAppend, &raft.AppendEntriesRequest{Term: 7, Entries: []*raft.Log{}}, encodeAppend, decodeAppend},
		{"append reply", frameAppendReply, appendReply{7, 103, false, true},
			func(v any) []byte { return appendAppendReply(nil, v.(appendReply)) },
			func(b []byte) (any, error) { return parseAppendReply(b) }},
		{"timeout now", frameTimeoutNow, uint64(7),
			func(v any) []byte { return appendTimeoutNow(nil, v.(uint64)) },
			func(b []byte) (any, error) { return parseTimeoutNow(b) }},
		{"standing reply", frameStandingReply, standing{7, 103},
			func(v any) []byte { return appendStanding(nil, v.(standing)) },
			func(b []byte) (any, error) { return parseStanding(b) }},
		{"read index reply", frameReadIndexReply, readIndex(102),
			func(v any) []byte { return appendReadIndex(nil, v.(readIndex)) },
			func(b []byte) (any, error) { return parseReadIndex(b) }},
	}
}

func encodeAppend(v any) []byte {
	a := v.(*raft.AppendEntriesRequest)
	b := appendAppendHead(nil, a)
	for _, e := range a.Entries {
		b = append(b, e.Data...)
	}
	return b
}

func decodeAppend(b []byte) (any, error) {
	r := bytes.NewReader(b)
	a, err := readAppend(r, len(b))
	if err == nil && r.Len() > 0 {
		err = errors.New("did not read the whole frame")
	}
	return a, err
}

// golden returns the frames of testdata/rpc.txt: a name, a colon, and the frame in hex, over as many lines as it takes.
func golden(t *testing.T, file string) (names []string, frames map[string][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	must(t, err)
	frames = make(map[string][]byte)
	for _, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if name, rest, ok := strings.Cut(line, ":"); ok {
			names = append(names, name)
			line = rest
		}
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		must(t, err)
		if len(b) > 0 {
			frames[names[len(names)-1]] = append(frames[names[len(names)-1]], b...)
		}
	}
	return names, frames
}

func TestGoldenFrames(t *testing.T) {
	_, frames := golden(t, "rpc.txt")
	for _, v := range vectors() {
		payload := v.encode(v.value)
		frame := append(appendHead(nil, head{typ: v.typ, group: 3, id: 0x1122, size: len(payload)}), payload...)
		if want := frames[v.name]; !bytes.Equal(frame, want) {
			t.Errorf("%s is %x, the file has %x", v.name, frame, want)
		}
		h, err := readHead(bytes.NewReader(frames[v.name]), bulkFrameBytes)
		if err != nil || h != (head{typ: v.typ, group: 3, id: 0x1122, size: len(payload)}) {
			t.Errorf("%s: head %+v, %v", v.name, h, err)
		}
	}
	if len(frames) != len(vectors()) {
		t.Errorf("%d frames in the file, %d in the table", len(frames), len(vectors()))
	}
}

func TestFramesRoundTrip(t *testing.T) {
	for _, v := range vectors() {
		b := v.encode(v.value)
		got, err := v.decode(b)
		if err != nil || !reflect.DeepEqual(got, v.value) {
			t.Errorf("%s came back as %+v, %v", v.name, got, err)
		}
		for n := range b {
			if _, err := v.decode(b[:n]); err == nil {
				t.Errorf("%s parses from its first %d bytes of %d", v.name, n, len(b))
			}
		}
		if _, err := v.decode(append(b[:len(b):len(b)], 0)); err == nil {
			t.Errorf("%s parses with a byte more", v.name)
		}
	}
}

// Each of these is a frame that a peer must not send; each would otherwise reach Raft, which panics on some.
func TestMalformedFramesAreRefused(t *testing.T) {
	ok := func() *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 10, PrevLogTerm: 5, LeaderCommitIndex: 11,
			Entries: []*raft.Log{
				{Index: 11, Term: 6, Data: []byte("a")}, {Index: 12, Term: 7, Data: []byte("b")},
			}}
	}
	if _, err := decodeAppend(encodeAppend(ok())); err != nil {
		t.Fatal(err)
	}
	spoil := map[string]func(a *raft.AppendEntriesRequest){
		"commit index beyond the entries": func(a *raft.AppendEntriesRequest) { a.LeaderCommitIndex = 13 },
		"previous entry of a later term":  func(a *raft.AppendEntriesRequest) { a.PrevLogTerm = 8 },
		"previous entry without a term":   func(a *raft.AppendEntriesRequest) { a.PrevLogTerm = 0 },
		"previous entry 0 with a term":    func(a *raft.AppendEntriesRequest) { a.PrevLogEntry, a.LeaderCommitIndex = 0, 0 },
		"previous index overflows":        func(a *raft.AppendEntriesRequest) { a.PrevLogEntry = 1 << 63 },
		"entry of a later term":           func(a *raft.AppendEntriesRequest) { a.Entries[1].Term = 8 },
		"terms go back":                   func(a *raft.AppendEntriesRequest) { a.Entries[0].Term, a.Entries[1].Term = 7, 6 },
		"term below the previous entry's": func(a *raft.AppendEntriesRequest) { a.Entries[0].Term = 4 },
		"unknown kind":                    func(a *raft.AppendEntriesRequest) { a.Entries[0].Type = 9 },
		"deprecated kind":                 func(a *raft.AppendEntriesRequest) { a.Entries[0].Type = raft.LogRemovePeerDeprecated },
		"no-op with data":                 func(a *raft.AppendEntriesRequest) { a.Entries[0].Type = raft.LogNoop },
		"configuration without data": func(a *raft.AppendEntriesRequest) {
			a.Entries[0].Type, a.Entries[0].Data = raft.LogConfiguration, nil
		},
		"configuration that does not parse": func(a *raft.AppendEntriesRequest) { a.Entries[0].Type = raft.LogConfiguration },
		"configuration without a voter": func(a *raft.AppendEntriesRequest) {
			a.Entries[0].Type = raft.LogConfiguration
			a.Entries[0].Data = raft.EncodeConfiguration(configurationOf([]Member{{Node: "n1", Address: "a:1"}}))
		},
	}
	for name, f := range spoil {
		a := ok()
		f(a)
		if _, err := decodeAppend(encodeAppend(a)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"unknown vote flag":     append(appendVote(nil, vote{})[:24], 2),
		"transfer in a prevote": append(appendVote(nil, vote{})[:24], 1),
	} {
		if _, err := parseVote(b, framePreVote); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Lengths are compared with the frame before memory is taken.
func TestLengthsAreCheckedBeforeMemoryIsTaken(t *testing.T) {
	for what, size := range map[string]string{"2 GiB": "\x7f\xff\xff\xff", "less than its head": "\x00\x00\x00\x0a"} {
		_, err := readHead(strings.NewReader(size+strings.Repeat("x", 11)), bulkFrameBytes)
		if !errors.Is(err, errFrame) {
			t.Errorf("frame of %s: %v", what, err)
		}
	}
	entries := []*raft.Log{{Index: 1, Term: 6, Data: make([]byte, 10)}}
	b := encodeAppend(&raft.AppendEntriesRequest{Term: 7, Entries: entries})
	b[appendFixedBytes+9], b[appendFixedBytes+10] = 0x00, 0x30 // 3 MiB in a frame of some bytes
	allocated := testkit.AllocatedBytes(func() {
		if _, err := readAppend(io.MultiReader(bytes.NewReader(b), neverReader{t}), len(b)); !errors.Is(err, errFrame) {
			t.Errorf("entry longer than its frame: %v", err)
		}
	})
	if allocated > 64<<10 {
		t.Errorf("refusing took %d bytes", allocated)
	}
}

type neverReader struct{ t *testing.T }

func (r neverReader) Read([]byte) (int, error) {
	r.t.Error("read on after the lengths did not add up")
	return 0, io.EOF
}

func FuzzRequest(f *testing.F) {
	for _, v := range vectors() {
		f.Add(byte(v.typ), v.encode(v.value))
	}
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		r := bytes.NewReader(b)
		command, err := readRequest(r, head{typ: frameType(typ), size: len(b)})
		if err != nil {
			return
		}
		var again []byte
		switch c := command.(type) {
		case *raft.AppendEntriesRequest:
			again = encodeAppend(c)
			if max := c.PrevLogEntry + uint64(len(c.Entries)); c.LeaderCommitIndex > max {
				t.Fatalf("commit index %d, entries end at %d", c.LeaderCommitIndex, max)
			}
		case *raft.RequestVoteRequest:
			again = appendVote(nil, vote{c.Term, c.LastLogIndex, c.LastLogTerm, c.LeadershipTransfer})
		case *raft.RequestPreVoteRequest:
			again = appendVote(nil, vote{c.Term, c.LastLogIndex, c.LastLogTerm, false})
		case timeoutNow:
			again = appendTimeoutNow(nil, c.term)
		}
		if r.Len() != 0 || !bytes.Equal(again, b) {
			t.Fatalf("%x re-encodes as %x, %d bytes left", b, again, r.Len())
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, v := range vectors() {
		f.Add(v.encode(v.value))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range vectors() {
			if v.typ == frameAppend || v.typ == frameFailure {
				continue
			}
			if got, err := v.decode(b); err == nil && !bytes.Equal(v.encode(got), b) {
				t.Fatalf("%s: %x re-encodes as %x", v.name, b, v.encode(got))
			}
		}
	})
}

func TestRefusalCodesHaveErrors(t *testing.T) {
	for r := refusedVersion; r <= refusedDuplicate; r++ {
		if _, known := refusals[r]; !known || r.err() == nil {
			t.Errorf("refusal %d means %v", r, r.err())
		}
	}
	if accepted.err() != nil || refusal(99).err() == nil {
		t.Error("accepted is an error, or an unknown code none")
	}
}

// Error texts never repeat what a peer sent: Raft reads meaning into them.
func TestErrorsCarryNoPeerText(t *testing.T) {
	_, failed := reply{typ: frameFailure, payload: []byte("unexpected command")}.result(framePreVote)
	_, strange := reply{typ: frameFailure, payload: []byte{99}}.result(framePreVote)
	for _, err := range []error{failed, strange, refusal(99).err()} {
		if err == nil || strings.Contains(fmt.Sprint(err), "unexpected command") {
			t.Errorf("got %v", err)
		}
	}
}

// Everything that Raft writes as a configuration is read, as Raft itself reads it.
func TestConfigurationsOfRaft(t *testing.T) {
	for _, count := range []int{1, 3, 15, 16, 40} {
		for _, length := range []int{1, 5, 31, 32, 255} {
			var members []Member
			for i := range count {
				name := fmt.Sprintf("%0*d", length, i)
				if length < 3 && i > 9 {
					break
				}
				members = append(members, Member{Node: name, Address: strings.Repeat("a", 300) + name, Voter: i%2 == 0})
			}
			want := configurationOf(members)
			b := raft.EncodeConfiguration(want)
			got, err := parseConfiguration(b)
			if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(got, raft.DecodeConfiguration(b)) {
				t.Errorf("%d nodes, names of %d bytes: %v", count, length, err)
			}
			for n := 0; n < len(b); n += 1 + n/50 {
				if _, err := parseConfiguration(b[:n]); err == nil {
					t.Fatalf("parses from its first %d bytes of %d", n, len(b))
				}
			}
		}
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add(testConfiguration())
	f.Add([]byte("\x81\xa70000000\x96\x92\xc90\xff\xff\x7f\xff")) // 800 MB for Raft's own decoder
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfiguration(b)
		if err == nil && !reflect.DeepEqual(c, raft.DecodeConfiguration(b)) {
			t.Fatalf("%x is %+v", b, c)
		}
	})
}
