package wire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/internal/testkit"
)

// of returns n copies of v.
func of[T any](n int, v T) []T { return slices.Repeat([]T{v}, n) }

func ackOf(counts ...uint32) *Ack {
	m := &Ack{}
	next := uint64(1)
	for _, n := range counts {
		m.Seqs = append(m.Seqs, SeqRange{next, n})
		next += uint64(n) + 1
	}
	return m
}

// edge is a message that is at its limit with 0 and over it with 1.
type edge struct {
	message func(over int) Message
	want    error
}

func pullOf(p Pull) *Pull {
	p.MaxMessages, p.MaxBytes = max(p.MaxMessages, 1), max(p.MaxBytes, 1)
	return &p
}

var longestName = strings.Repeat("a", NameBytes)

var sendEdges = map[string]edge{
	"send items":    {func(n int) Message { return batch(BatchItems+n, SealedMinBytes) }, codec.ErrLimit},
	"sealed":        {func(n int) Message { return batch(1, SealedBytes+n) }, codec.ErrLimit},
	"sealed, least": {func(n int) Message { return batch(1, SealedMinBytes-n) }, ErrRange},
	"sessions": {func(n int) Message {
		return &Send{Sessions: of(BatchSessions+n, SessionRef{ID: [16]byte{1}})}
	}, codec.ErrLimit},
	"session header": {func(n int) Message {
		return &SessionPut{Inits: [][]byte{make([]byte, SessionInitBytes+n)}}
	}, codec.ErrLimit},
	"session header, least": {func(n int) Message {
		return &SessionPut{Inits: [][]byte{make([]byte, SessionInitMinBytes-n)}}
	}, ErrRange},
	"session headers": {func(n int) Message {
		return &SessionPut{Inits: of(BatchSessions+n, make([]byte, SessionInitMinBytes))}
	}, codec.ErrLimit},
	"session ids": {func(n int) Message {
		return &SessionGet{IDs: make([][16]byte, BatchSessions+n)}
	}, codec.ErrLimit},
	"results": {func(n int) Message {
		return &SendReply{Runs: []SendRun{{Count: BatchItems + uint32(n)}}}
	}, ErrRange},
	"results, least": {func(n int) Message {
		return &SendReply{Runs: []SendRun{{Count: 1 - uint32(n)}}}
	}, ErrRange},
	"options": {func(n int) Message { return &Ping{optionsTo(OptionCount + n)} }, codec.ErrLimit},
	"option value": {func(n int) Message {
		return &Ping{Options{{1, make([]byte, OptionBytes+n)}}}
	}, codec.ErrLimit},
	"header options": {func(n int) Message {
		m := batch(1, SealedMinBytes)
		m.Items[0].Header.Options = optionsTo(HeaderOptionCount + n + 3)[3:]
		return m
	}, codec.ErrLimit},
	"header option bytes": {func(n int) Message {
		m := batch(1, SealedMinBytes)
		m.Items[0].Header.Options = Options{{5, make([]byte, 100)}, {6, make([]byte, HeaderOptionBytes-104+n)}}
		return m
	}, codec.ErrLimit},
}

var receiveEdges = map[string]edge{
	"deliver items": {func(n int) Message {
		return delivery(BatchItems+n, SealedMinBytes, 1)
	}, codec.ErrLimit},
	"lowest seq": {func(n int) Message { return delivery(1, SealedMinBytes, uint64(1-n)) }, ErrRange},
	"wait": {func(n int) Message {
		return pullOf(Pull{WaitMillis: WaitMillis + uint32(n)})
	}, ErrRange},
	"pulled": {func(n int) Message {
		return pullOf(Pull{MaxMessages: BatchItems + uint32(n)})
	}, ErrRange},
	"pulled, 2^31": {func(n int) Message { return pullOf(Pull{MaxMessages: 1 + uint32(n)<<31}) }, ErrRange},
	"pulled, none": {func(n int) Message {
		return &Pull{MaxMessages: uint32(1 - n), MaxBytes: 1}
	}, ErrRange},
	"pulled bytes": {func(n int) Message {
		return &Pull{MaxMessages: 1, MaxBytes: uint32(1 - n)}
	}, ErrRange},
	"lease": {func(n int) Message {
		return pullOf(Pull{LeaseMillis: LeaseMaxMillis + uint32(n)})
	}, ErrRange},
	"lease, least": {func(n int) Message {
		return pullOf(Pull{LeaseMillis: LeaseMinMillis - uint32(n)})
	}, ErrRange},
	"epochs": {func(n int) Message {
		return pullOf(Pull{EpochLow: 5 + uint32(n), EpochHigh: 5})
	}, ErrRange},
	"credit":       {func(n int) Message { return &Credit{Messages: CreditMessages + uint32(n)} }, ErrRange},
	"credit bytes": {func(n int) Message { return &Credit{Bytes: CreditBytes + uint32(n)} }, ErrRange},
	"ack ranges":   {func(n int) Message { return ackOf(of(BatchItems+n, uint32(1))...) }, codec.ErrLimit},
	"acked":        {func(n int) Message { return ackOf(BatchItems-1, 1+uint32(n)) }, codec.ErrLimit},
	"acked, none":  {func(n int) Message { return ackOf(of(1-n, uint32(1))...) }, ErrRange},
	"highest acked": {func(n int) Message {
		return &Ack{Seqs: []SeqRange{{1<<64 - 10, 10 + uint32(n)}}}
	}, ErrRange},
	"nack code": {func(n int) Message {
		return &Nack{Seqs: ackOf(1).Seqs, Code: NackRelease + NackCode(n)}
	}, ErrRange},
	"nack code, 0": {func(n int) Message {
		return &Nack{Seqs: ackOf(1).Seqs, Code: NackCode(1 - n)}
	}, ErrRange},
	"nack detail": {func(n int) Message {
		return &Nack{Seqs: ackOf(1).Seqs, Code: 1, Detail: make([]byte, NackDetailBytes+n)}
	}, codec.ErrLimit},
	"nack delay": {func(n int) Message {
		return &Nack{Seqs: ackOf(1).Seqs, Code: 1, DelayMillis: NackDelayMillis + uint32(n)}
	}, ErrRange},
	"lease results": {func(n int) Message {
		return &LeaseReply{Runs: []LeaseRun{{BatchItems - 1, 0}, {1 + uint32(n), 1}}}
	}, ErrRange},
}

var manageEdges = map[string]edge{
	"name": {func(n int) Message {
		return &Resolve{Name: longestName + strings.Repeat("a", n)}
	}, codec.ErrLimit},
	"name, least": {func(n int) Message { return &Resolve{Name: longestName[:1-n]} }, ErrName},
	"new ones": {func(n int) Message {
		return &MailboxCreate{Items: of(CreateItems+n, MailboxNew{Name: "a"})}
	}, codec.ErrLimit},
	"page":        {func(n int) Message { return &MailboxList{Limit: PageItems + uint32(n)} }, ErrRange},
	"page, least": {func(n int) Message { return &MailboxList{Limit: 1 - uint32(n)} }, ErrRange},
	"slot": {func(n int) Message {
		return pullOf(Pull{Mailbox: MailboxRef{Slot: Slots - 1 + uint16(n)}})
	}, ErrRange},
	"group": {func(n int) Message {
		return &MailboxList{Limit: 1, Group: Groups - 1 + uint16(n)}
	}, ErrRange},
	"key record": {func(n int) Message {
		return &KeyRecordPublish{Name: "a", Version: 1, Record: make([]byte, KeyRecordBytes+n)}
	}, codec.ErrLimit},
	"no record": {func(n int) Message {
		return &KeyRecordPublish{Name: "a", Version: 1, Record: make([]byte, 1-n)}
	}, ErrRange},
	"version 0": {func(n int) Message {
		return &KeyRecordPublish{Name: "a", Version: uint64(1 - n), Record: []byte{1}}
	}, ErrRange},
	"text": {func(n int) Message {
		return &Hello{MinVersion: 1, MaxVersion: 1, Client: strings.Repeat(" ", TextBytes+n)}
	}, codec.ErrLimit},
	"versions": {func(n int) Message {
		return &Hello{MinVersion: 2, MaxVersion: uint8(2 - n)}
	}, ErrRange},
	"actions": {func(n int) Message {
		return &GrantAdd{Subject: "a", Resource: ">", Actions: AllActions + Actions(n)}
	}, ErrRange},
	"no actions": {func(n int) Message {
		return &GrantAdd{Subject: "a", Resource: ">", Actions: Actions(1 - n)}
	}, ErrRange},
}

func TestLimitsAtTheEdge(t *testing.T) {
	for _, edges := range []map[string]edge{sendEdges, receiveEdges, manageEdges} {
		for name, tt := range edges {
			t.Run(name, func(t *testing.T) {
				m := tt.message(0)
				if _, err := Decode(m.Type(), m.Append(nil)); err != nil {
					t.Errorf("at the limit: %v", err)
				}
				m = tt.message(1)
				_, err := Decode(m.Type(), m.Append(nil))
				if !errors.Is(err, tt.want) {
					t.Errorf("over the limit: %v, want %v", err, tt.want)
				}
				if code, closes := CodeOf(err); closes || code != CodeTooLarge && code != CodeBadRequest {
					t.Errorf("%v, closes %v: the connection should live", code, closes)
				}
			})
		}
	}
}

func optionsTo(n int) Options {
	var o Options
	for i := range n {
		o = o.Set(uint8(i+1), nil)
	}
	return o
}

// The largest message, with a large session header, its options and a full batch's fields, fits a frame.
func TestLargestMessageFitsAFrame(t *testing.T) {
	m := batch(1, SealedBytes)
	m.Sessions[0].Init = make([]byte, SessionInitBytes)
	m.Sessions[0].ID = SessionID(m.Mailbox.ID, m.Sessions[0].Init)
	item := &m.Items[0]
	item.Header.Session = m.Sessions[0].ID
	item.Header.Options = Options{{5, make([]byte, HeaderOptionBytes-2-1)}}
	item.Options = Options{{1, make([]byte, OptionBytes)}}
	if n := len(AppendFrame(nil, 1, m)) - frameLengthBytes; n > FrameBytes {
		t.Errorf("send: %d bytes, a frame holds %d", n, FrameBytes)
	}
	d := &Deliver{Sessions: m.Sessions}
	it := DeliverItem{Seq: 1, Attempts: 9, Birth: [16]byte{1}, Sealed: item.Sealed}
	it.Header, it.Options = item.Header, item.Options
	if !d.Place(&it, true) {
		t.Fatal("no place")
	}
	d.Items = []DeliverItem{it}
	if n := len(AppendFrame(nil, 1, d)) - frameLengthBytes; n > FrameBytes {
		t.Errorf("deliver: %d bytes, a frame holds %d", n, FrameBytes)
	}
	// A padded body: Padmé adds less than 1/32 at this size, and the seal 28 bytes.
	if inside := BodyBytes + 60<<10; inside+inside/32+SealedMinBytes > SealedBytes {
		t.Errorf("%d bytes inside the seal do not fit SealedBytes", inside)
	}
}

func TestSizeBoundsHold(t *testing.T) {
	for i := range 500 {
		g := seeded(uint64(i))
		send := g.message(TypeSend).(*Send)
		bound := send.SizeBound()
		for j := range send.Items {
			bound += send.Items[j].SizeBound()
		}
		if n := len(AppendFrame(nil, 1, send)); n > bound {
			t.Errorf("send of %d bytes, bound %d", n, bound)
		}
		deliver := g.message(TypeDeliver).(*Deliver)
		bound = deliver.SizeBound()
		for j := range deliver.Items {
			bound += deliver.Items[j].SizeBound()
		}
		if n := len(AppendFrame(nil, 1, deliver)); n > bound {
			t.Errorf("delivery of %d bytes, bound %d", n, bound)
		}
	}
}

// A count of 2^32 and one that the bytes cannot hold are refused before memory is taken for them.
func TestHugeCountsTakeNoMemory(t *testing.T) {
	ref := make([]byte, mailboxBytes)
	var headers [][]byte
	for _, count := range []uint64{1 << 32, 1<<64 - 1, 1024} {
		headers = append(headers, slices.Concat(ref, make([]byte, 8), []byte{0, 0}, codec.AppendUvarint(nil, count)))
	}
	counted := map[Type][]byte{
		TypeMailboxCreate: nil, TypeMailboxCreateReply: nil, TypeMailboxListReply: nil, TypeKeyLookupReply: nil,
		TypeGrantListReply: nil, TypeSessionPut: ref, TypeSessionGet: ref, TypeSendReply: nil, TypeLeaseReply: nil,
		TypeAck: append(slices.Clone(ref), make([]byte, 8)...),
	}
	took := testkit.AllocatedBytes(func() {
		for _, header := range headers {
			if err := new(Send).Decode(header); err == nil {
				t.Error("send: parses")
			}
			count := header[mailboxBytes+10:]
			for typ, front := range counted {
				if err := New(typ).Decode(slices.Concat(front, count)); err == nil {
					t.Errorf("%v: parses", typ)
				}
			}
		}
	})
	if took > 64<<10 {
		t.Errorf("refusing took %d bytes", took)
	}
}
