package storage

import (
	"crypto/sha256"
	"encoding/binary"
)

// Tables, the third byte of every key.
const (
	tableApplied  = 0x00
	tableConfig   = 0x01
	tableGroup    = 0x02
	tableName     = 0x10
	tableID       = 0x11
	tableOwner    = 0x12
	tableIdentity = 0x13
	tableMailbox  = 0x20
	tableState    = 0x21
	tableRecord   = 0x22
	tablePage     = 0x30
	tableAddress  = 0x31
	tableSession  = 0x40
	tableKeyed    = 0x50
	tableProducer = 0x51
	tableExpiry   = 0x60
	tableGrant    = 0x70

	tableSecret = 0x10 // in keys/

	tableFormat = 0x00 // of formatGroup
	tableSeed   = 0x01
)

// formatGroup is the group of rows that are about a whole store.
const formatGroup = 0xffff

// DedupClass is how long ids are remembered. It leads the key, so that each class's windows are dropped whole.
const DedupClass = 0

const (
	sessionCount  = 0
	sessionHeader = 1
)

// Hash16 is how principals stand in keys: the first half of SHA-256.
func Hash16(s string) (h [16]byte) {
	var buf [256]byte
	sum := sha256.Sum256(append(buf[:0], s...))
	copy(h[:], sum[:])
	return h
}

// key is a key that is being built. Its array is big enough for every key but those with a name in them.
type key []byte

func newKey(buf []byte, group uint16, table byte) key {
	return append(binary.BigEndian.AppendUint16(buf[:0], group), table)
}

func (k key) u8(v byte) key      { return append(k, v) }
func (k key) u16(v uint16) key   { return binary.BigEndian.AppendUint16(k, v) }
func (k key) u32(v uint32) key   { return binary.BigEndian.AppendUint32(k, v) }
func (k key) u64(v uint64) key   { return binary.BigEndian.AppendUint64(k, v) }
func (k key) bytes(v []byte) key { return append(k, v...) }
func (k key) str(v string) key   { return append(k, v...) }

// maxKey is the capacity of a key buffer: the longest key without a name, a producer's, with room to spare.
const maxKey = 64

// after returns the smallest key that does not begin with prefix, nil if there is none.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func dayKey(buf []byte, group uint16, day uint32, mailbox uint64, kind byte, id [16]byte) key {
	return newKey(buf, group, tableSession).u32(day).u64(mailbox).u8(kind).bytes(id[:])
}

func producerKey(buf []byte, group uint16, window uint32, mailbox uint64, sender [16]byte, producer [8]byte) key {
	return newKey(buf, group, tableProducer).u8(DedupClass).u32(window).u64(mailbox).bytes(sender[:]).bytes(producer[:])
}
