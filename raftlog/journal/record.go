package journal

import (
	"errors"
	"fmt"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/codec"
)

const (
	// MaxEntryBytes bounds the data of one entry.
	MaxEntryBytes = 8 << 20
	// MaxGroups is how many groups one journal serves: their terms and votes must fit in the mark.
	MaxGroups = 64

	// maxBlockBytes bounds a state block or an index before memory is taken for it.
	maxBlockBytes = 256 << 20

	entryHeadBytes = 1 + 2 + 8 + 8 + 1 + 4
	blockHeadBytes = 1 + 4
)

type recordKind uint8

const (
	recordEntry      recordKind = 1
	recordVote       recordKind = 2
	recordTruncate   recordKind = 3
	recordBase       recordKind = 4
	recordInstalling recordKind = 5
	recordState      recordKind = 6
	recordIndex      recordKind = 7
)

func (k recordKind) String() string {
	names := [...]string{"", "entry", "vote", "truncate", "base", "installing", "state", "index"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("record kind %d", uint8(k))
	}
	return names[k]
}

// record is any of the seven kinds. Which fields count, and what they mean, depends on the kind.
type record struct {
	kind  recordKind
	group uint16
	// index is the entry's, the first that a truncation removes, the first that a base keeps, or the index of the state
	// being installed.
	index uint64
	// term is the entry's, the current term of a vote record, the term of the entry below a base, or that of the state
	// being installed.
	term      uint64
	voteTerm  uint64
	candidate string
	entryKind uint8
	// data is an entry's data or a block's body, length its length also where the data itself was not kept.
	data   []byte
	length int
}

var errRecord = errors.New("bad record")

func entryRecord(group uint16, e *Entry) record {
	return record{kind: recordEntry, group: group, index: e.Index, term: e.Term, entryKind: e.Kind, data: e.Data,
		length: len(e.Data)}
}

func blockRecord(kind recordKind, body []byte) record {
	return record{kind: kind, data: body, length: len(body)}
}

// appendHead appends everything but the data.
func (rec *record) appendHead(dst []byte) []byte {
	dst = append(dst, byte(rec.kind))
	if rec.kind == recordState || rec.kind == recordIndex {
		return codec.AppendU32(dst, uint32(rec.length))
	}
	dst = codec.AppendU16(dst, rec.group)
	switch rec.kind {
	case recordEntry:
		dst = codec.AppendU64(dst, rec.index)
		dst = codec.AppendU64(dst, rec.term)
		dst = append(dst, rec.entryKind)
		dst = codec.AppendU32(dst, uint32(rec.length))
	case recordVote:
		dst = codec.AppendU64(dst, rec.term)
		dst = codec.AppendU64(dst, rec.voteTerm)
		dst = codec.AppendBytes8(dst, []byte(rec.candidate))
	case recordTruncate:
		dst = codec.AppendU64(dst, rec.index)
	case recordBase, recordInstalling:
		dst = codec.AppendU64(dst, rec.index)
		dst = codec.AppendU64(dst, rec.term)
	}
	return dst
}

// readHead reads what appendHead wrote; length says how much data follows. The Reader's error says what was wrong.
func readHead(r *codec.Reader) record {
	rec := record{kind: recordKind(r.U8())}
	limit := 0
	switch rec.kind {
	case recordState, recordIndex:
		limit = maxBlockBytes
		rec.length = int(r.U32())
	case recordEntry:
		limit = MaxEntryBytes
		rec.group, rec.index, rec.term = r.U16(), r.U64(), r.U64()
		rec.entryKind, rec.length = r.U8(), int(r.U32())
	case recordVote:
		rec.group, rec.term, rec.voteTerm = r.U16(), r.U64(), r.U64()
		rec.candidate = string(r.Bytes8())
	case recordTruncate:
		rec.group, rec.index = r.U16(), r.U64()
	case recordBase, recordInstalling:
		rec.group, rec.index, rec.term = r.U16(), r.U64(), r.U64()
	default:
		r.Fail(fmt.Errorf("%w: kind %d", errRecord, uint8(rec.kind)))
	}
	if rec.length > limit {
		r.Fail(fmt.Errorf("%w: %v of %d bytes", errRecord, rec.kind, rec.length))
	}
	if rec.kind == recordVote && rec.voteTerm > rec.term {
		r.Fail(fmt.Errorf("%w: vote of a term that has not come", errRecord))
	}
	return rec
}

// diskBound is never less than what the records of a flush with that many bytes, heads included, take on disk. A chunk
// is closed only for a record that does not fit in it, so two chunks in a row hold more than one has room for.
func diskBound(records, bytes int) int {
	chunks := 2 + min(records+bytes/roomBytes, 2*bytes/roomBytes)
	return bytes + chunks*(chunkHeaderBytes+atrest.Overhead+unitBytes)
}
