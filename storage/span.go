package storage

import (
	"encoding/binary"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// Files of state/ end where rows that are written all the time meet rows that are written once and stay: key records and
// session headers, which are most of the bytes of a busy node, and keyed ids of a window that is over. A file with both
// would have the latter read, opened, sealed and written again in every compaction of the former.
//
//	g 00 … 21 | g 22 key records | g 30, 31 | g 40 session headers | g 50 one window of keyed ids | … | g 51 … g+1 21 |
//
// It says nothing about which rows there are: stores written with other ends are read alike.

// spanEnd returns where a file must end that begins with this key of state/, nil if nowhere.
func spanEnd(key []byte) []byte {
	if len(key) < 3 {
		return nil
	}
	group, table := binary.BigEndian.Uint16(key), key[2]
	switch {
	case table < tableRecord:
		return newKey(nil, group, tableRecord)
	case table < tablePage:
		return newKey(nil, group, tablePage)
	case table < tableSession:
		return newKey(nil, group, tableSession)
	case table == tableSession:
		return newKey(nil, group, tableSession+1)
	case table < tableKeyed:
		return newKey(nil, group, tableKeyed)
	case table == tableKeyed:
		// A bare window is where a deletion of windows begins. It may be of millions, and would be cut into as many files.
		if len(key) <= 8 || key[3] != DedupClass || binary.BigEndian.Uint32(key[4:]) == math.MaxUint32 {
			return newKey(nil, group, tableKeyed+1)
		}
		return newKey(nil, group, tableKeyed).u8(DedupClass).u32(binary.BigEndian.Uint32(key[4:]) + 1)
	case group == formatGroup:
		return nil
	default:
		return newKey(nil, group+1, tableRecord)
	}
}

// spanPolicy has files end at spanEnd, and changes nothing else.
func spanPolicy(start []byte) (pebble.SpanPolicy, []byte, error) {
	return pebble.SpanPolicy{}, spanEnd(start), nil
}
