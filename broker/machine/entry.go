package machine

import "github.com/sealmq/sealmq/internal/codec"

// EntryVersion is the first byte of every entry.
const EntryVersion = 1

// Entry is one committed Raft entry of a group. Entries of Raft's own (no-ops, configurations) do not reach the
// machine, except that their indexes may be missing from the sequence.
type Entry struct {
	Index, Term uint64
	Data        []byte
}

// AppendEntryHeader begins an entry: the leader's stamp of time and the control index that its commands were decided
// under. Commands follow, each by its own Append.
func AppendEntryHeader(dst []byte, timeMillis int64, controlIndex uint64) []byte {
	dst = append(dst, EntryVersion)
	dst = codec.AppendU64(dst, uint64(timeMillis))
	return codec.AppendUvarint(dst, controlIndex)
}

// entryHeader is what stands before the commands of an entry.
type entryHeader struct {
	timeMillis   int64
	controlIndex uint64
}

// readEntry reads the header of an entry and walks over its commands without looking into them, so that an entry whose
// framing is broken is refused before any command of it has had an effect. It returns a reader that stands at the first
// of count commands.
func readEntry(data []byte) (h entryHeader, commands codec.Reader, count int, err error) {
	r := codec.NewReader(data)
	if r.U8() != EntryVersion {
		r.Fail(errUnsupported)
	}
	stamp := r.U64()
	if int64(stamp) < 0 {
		r.Fail(errRange)
	}
	h = entryHeader{timeMillis: int64(stamp), controlIndex: r.Uvarint()}
	commands = r
	for r.Len() > 0 {
		r.Bytes(len(data))
		count++
	}
	return h, commands, count, r.Done()
}
