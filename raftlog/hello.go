package raftlog

import (
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

const (
	helloMagic = 0x534d5150 // "SMQP"
	// protocolVersion is the only version of the peer protocol that this build speaks. The two hello frames are the
	// same in every version.
	protocolVersion = 1
	maxNodeBytes    = 255
)

// channel says what a connection is for. Votes and heartbeats must not wait behind entries.
type channel uint8

const (
	channelControl channel = 1 // all but AppendEntries with entries
	channelBulk    channel = 2 // AppendEntries with entries
)

func (c channel) String() string {
	if c == channelBulk {
		return "bulk"
	}
	return "control"
}

// hello is the dialling node's first frame.
type hello struct {
	minVersion, maxVersion uint8
	channel                channel
	cluster, process       [16]byte // process is drawn at the start of a process: it tells two with one node id apart
	from, to               string
}

func appendHello(dst []byte, h hello) []byte {
	dst = codec.AppendU32(dst, helloMagic)
	dst = append(dst, h.minVersion, h.maxVersion, byte(h.channel))
	dst = append(dst, h.cluster[:]...)
	dst = append(dst, h.process[:]...)
	dst = codec.AppendBytes8(dst, []byte(h.from))
	return codec.AppendBytes8(dst, []byte(h.to))
}

func parseHello(b []byte) (hello, error) {
	r := codec.NewReader(b)
	if r.U32() != helloMagic {
		r.Fail(errFrame)
	}
	h := hello{minVersion: r.U8(), maxVersion: r.U8(), channel: channel(r.U8())}
	if h.channel != channelControl && h.channel != channelBulk {
		r.Fail(errFrame)
	}
	h.cluster, h.process = r.Array16(), r.Array16()
	h.from, h.to = string(r.Bytes8()), string(r.Bytes8())
	return h, finish(&r, "hello")
}

// refusal is why a hello was not accepted. Numbers are never reused.
type refusal uint8

const (
	accepted         refusal = 0
	refusedVersion   refusal = 1
	refusedCluster   refusal = 2
	refusedWrongNode refusal = 3
	refusedIdentity  refusal = 4
	refusedNotMember refusal = 5
	refusedDuplicate refusal = 6
)

var refusals = map[refusal]error{
	refusedVersion:   errVersion,
	refusedCluster:   errCluster,
	refusedWrongNode: errWrongNode,
	refusedIdentity:  errIdentity,
	refusedNotMember: errNotMember,
	refusedDuplicate: errDuplicate,
}

// err returns what the refusal means, nil if it is none.
func (r refusal) err() error {
	if r == accepted {
		return nil
	}
	if err, ok := refusals[r]; ok {
		return err
	}
	return fmt.Errorf("%w: code %d", errRefused, r)
}

// welcome answers a hello. On a refusal version, cluster, process and node are empty.
type welcome struct {
	refusal          refusal
	version          uint8
	cluster, process [16]byte
	node             string
}

func appendWelcome(dst []byte, w welcome) []byte {
	dst = codec.AppendU32(dst, helloMagic)
	dst = append(dst, byte(w.refusal), w.version)
	dst = append(dst, w.cluster[:]...)
	dst = append(dst, w.process[:]...)
	return codec.AppendBytes8(dst, []byte(w.node))
}

func parseWelcome(b []byte) (welcome, error) {
	r := codec.NewReader(b)
	if r.U32() != helloMagic {
		r.Fail(errFrame)
	}
	w := welcome{refusal: refusal(r.U8()), version: r.U8(), cluster: r.Array16(), process: r.Array16()}
	w.node = string(r.Bytes8())
	return w, finish(&r, "welcome")
}
