package journal

import (
	"bytes"
	"testing"
)

// What a decoder takes must encode to the same bytes; nothing may panic or take memory on the word of a length.
func fuzzFormat(f *testing.F, name string) {
	for _, format := range formats(f) {
		if format.name != name {
			continue
		}
		for _, sample := range format.samples {
			f.Add(sample)
		}
		f.Fuzz(func(t *testing.T, b []byte) {
			again, err := format.decode(b)
			if err == nil && !bytes.Equal(again, b) {
				t.Errorf("%x parses, but encodes to %x", b, again)
			}
		})
		return
	}
	f.Fatalf("no format %s", name)
}

func FuzzRecordHead(f *testing.F)  { fuzzFormat(f, "record head") }
func FuzzChunkHeader(f *testing.F) { fuzzFormat(f, "chunk header") }
func FuzzStateBlock(f *testing.F)  { fuzzFormat(f, "state block") }
func FuzzIndex(f *testing.F)       { fuzzFormat(f, "index") }
func FuzzMark(f *testing.F)        { fuzzFormat(f, "mark") }

// FuzzRecords feeds an assembler with the plaintext of chunks, cut from the input by a program of lengths.
func FuzzRecords(f *testing.F) {
	var all []byte
	for _, r := range sampleRecords() {
		all = append(r.appendHead(all), r.data...)
	}
	f.Add([]byte{0, 255}, all)
	long := entryRecord(1, &Entry{Index: 1, Data: make([]byte, 100_000)})
	f.Add([]byte{254, 255, 255, 255}, append(long.appendHead(nil), long.data...))
	f.Fuzz(func(t *testing.T, program, input []byte) {
		a := assembler{withData: true}
		for _, op := range program {
			n := min(int(op)*200, len(input))
			if op >= 254 {
				n = min(roomBytes, len(input))
			}
			kind := chunkRecords
			if op%2 == 1 {
				kind = chunkPart
			}
			c := &chunk{chunkHeader: chunkHeader{kind: kind, length: uint32(n), place: firstPlace}, plain: input[:n]}
			input = input[n:]
			err := a.take(c, func(l *located) error {
				if l.length != len(l.data) {
					t.Errorf("%v of %d bytes comes with %d", l.kind, l.length, len(l.data))
				}
				return nil
			})
			if err != nil {
				return
			}
		}
	})
}
