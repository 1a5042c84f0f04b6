package raftlog

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/sealmq/sealmq/internal/codec"
)

// maxConfigurationBytes bounds the encoding of a configuration; a node costs a few dozen bytes in it.
const maxConfigurationBytes = 64 << 10

// errConfiguration means bytes that Raft would not have written as a configuration.
var errConfiguration = errors.New("not a configuration")

// parseConfiguration reads what raft.EncodeConfiguration writes, and nothing else. Raft's own decoder panics on bad
// bytes, and takes memory for lengths that are not there; it sees only what has passed here.
//
//	0x81 "Servers" array of (0x83 "Address" text "ID" text "Suffrage" small integer), in MessagePack
func parseConfiguration(b []byte) (raft.Configuration, error) {
	var c raft.Configuration
	if len(b) > maxConfigurationBytes {
		return c, errConfiguration
	}
	r := codec.NewReader(b)
	expect(&r, "\x81\xa7Servers")
	servers := int(r.U8())
	switch {
	case servers&0xf0 == 0x90:
		servers &= 0x0f
	case servers == 0xdc:
		servers = int(r.U16())
	default:
		r.Fail(errConfiguration)
	}
	for i := 0; i < servers && r.Err() == nil; i++ {
		expect(&r, "\x83\xa7Address")
		address := packedText(&r)
		expect(&r, "\xa2ID")
		id := packedText(&r)
		expect(&r, "\xa8Suffrage")
		suffrage := raft.ServerSuffrage(r.U8())
		if suffrage != raft.Voter && suffrage != raft.Nonvoter {
			r.Fail(errConfiguration)
		}
		c.Servers = append(c.Servers, raft.Server{
			Suffrage: suffrage, ID: raft.ServerID(id), Address: raft.ServerAddress(address),
		})
	}
	if r.Done() != nil {
		return raft.Configuration{}, errConfiguration
	}
	return c, checkConfiguration(c)
}

func expect(r *codec.Reader, text string) {
	if string(r.Take(len(text))) != text {
		r.Fail(errConfiguration)
	}
}

// packedText reads a MessagePack string of up to 65,535 bytes.
func packedText(r *codec.Reader) string {
	switch n := r.U8(); {
	case n&0xe0 == 0xa0:
		return string(r.Take(int(n & 0x1f)))
	case n == 0xd9:
		return string(r.Bytes8())
	case n == 0xda:
		return string(r.Bytes16(maxConfigurationBytes))
	}
	r.Fail(errConfiguration)
	return ""
}

// checkConfiguration makes the checks that Raft makes of a configuration before it writes one.
func checkConfiguration(c raft.Configuration) error {
	nodes, addresses, voters := make(map[raft.ServerID]bool), make(map[raft.ServerAddress]bool), 0
	for _, s := range c.Servers {
		if s.ID == "" || len(s.ID) > maxNodeBytes || s.Address == "" || nodes[s.ID] || addresses[s.Address] {
			return fmt.Errorf("%w: an empty or repeated node or address", errConfiguration)
		}
		nodes[s.ID], addresses[s.Address] = true, true
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	if voters == 0 {
		return fmt.Errorf("%w: no voter", errConfiguration)
	}
	return nil
}
