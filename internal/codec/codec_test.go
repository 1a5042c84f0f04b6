package codec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

func TestPAEVectors(t *testing.T) {
	tests := []struct {
		label  string
		fields [][]byte
		want   string
	}{
		{"", nil, "0000" + "0000"},
		{"sealmq/m/v1", nil, "000b" + hex.EncodeToString([]byte("sealmq/m/v1")) + "0000"},
		{"a", [][]byte{nil}, "0001" + "61" + "0001" + "00000000"},
		{"a", [][]byte{{0xff}, {}, {1, 2}}, "0001" + "61" + "0003" + "00000001ff" + "00000000" + "000000020102"},
	}
	for _, tt := range tests {
		if got := hex.EncodeToString(codec.PAE(tt.label, tt.fields...)); got != tt.want {
			t.Errorf("PAE(%q, %x) = %s, want %s", tt.label, tt.fields, got, tt.want)
		}
	}
}

// Moving a byte over the border between label and field, or between two fields, must change the encoding.
func TestPAESeparates(t *testing.T) {
	same := [][]byte{
		codec.PAE("ab", []byte("c"), []byte("d")),
		codec.PAE("a", []byte("bc"), []byte("d")),
		codec.PAE("ab", []byte("cd"), nil),
		codec.PAE("ab", []byte("cd")),
		codec.PAE("ab", nil, []byte("cd")),
		codec.PAE("abcd"),
	}
	for i := range same {
		for j := range i {
			if bytes.Equal(same[i], same[j]) {
				t.Errorf("encodings %d and %d are equal: %x", i, j, same[i])
			}
		}
	}
}

func TestReaderRoundTrip(t *testing.T) {
	var b []byte
	b = append(b, 7)
	b = codec.AppendU16(b, 0x1234)
	b = codec.AppendU32(b, 0x12345678)
	b = codec.AppendU64(b, math.MaxUint64)
	b = codec.AppendUvarint(b, 300)
	b = codec.AppendBytes8(b, []byte("eight"))
	b = codec.AppendBytes16(b, []byte("sixteen"))
	b = codec.AppendBytes(b, []byte("varint"))

	decode := func(b []byte) error {
		r := codec.NewReader(b)
		ok := r.U8() == 7 && r.U16() == 0x1234 && r.U32() == 0x12345678 && r.U64() == math.MaxUint64 &&
			r.Uvarint() == 300 && string(r.Bytes8()) == "eight" && string(r.Bytes16(7)) == "sixteen" &&
			string(r.Bytes(6)) == "varint"
		if err := r.Done(); err != nil {
			return err
		}
		if !ok {
			return errors.New("a value came back different")
		}
		return nil
	}
	if err := decode(b); err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if err := decode(b[:n]); !errors.Is(err, codec.ErrShort) {
			t.Errorf("first %d bytes: %v, want ErrShort", n, err)
		}
	}
	if err := decode(append(b, 0)); !errors.Is(err, codec.ErrTrailing) {
		t.Errorf("one byte more: %v, want ErrTrailing", err)
	}
}

func TestUvarintIsMinimal(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 16383, 16384, 1 << 32, math.MaxUint64} {
		b := codec.AppendUvarint(nil, v)
		if len(b) != codec.UvarintLen(v) {
			t.Errorf("UvarintLen(%d) = %d, encodes to %d bytes", v, codec.UvarintLen(v), len(b))
		}
		r := codec.NewReader(b)
		if got := r.Uvarint(); got != v || r.Done() != nil {
			t.Errorf("%d came back as %d, %v", v, got, r.Err())
		}
	}
	for _, bad := range []string{"8000", "ff00", "80808000", "ffffffffffffffffff02", "ffffffffffffffffffff01"} {
		b, _ := hex.DecodeString(bad)
		r := codec.NewReader(b)
		r.Uvarint()
		if !errors.Is(r.Err(), codec.ErrVarint) {
			t.Errorf("%s: %v, want ErrVarint", bad, r.Err())
		}
	}
}

func TestLimitsComeBeforeLengths(t *testing.T) {
	huge := codec.AppendUvarint(nil, math.MaxUint64)
	tests := map[string]struct {
		read func(*codec.Reader)
		in   []byte
		want error
	}{
		"length":       {func(r *codec.Reader) { r.Length(10) }, huge, codec.ErrLimit},
		"bytes":        {func(r *codec.Reader) { r.Bytes(10) }, append([]byte{11}, make([]byte, 11)...), codec.ErrLimit},
		"bytes16":      {func(r *codec.Reader) { r.Bytes16(1) }, []byte{0, 2, 0, 0}, codec.ErrLimit},
		"count":        {func(r *codec.Reader) { r.Count(10, 1) }, []byte{11}, codec.ErrLimit},
		"count, short": {func(r *codec.Reader) { r.Count(10, 4) }, []byte{2, 0, 0, 0, 0, 0, 0, 0}, codec.ErrShort},
		"take":         {func(r *codec.Reader) { r.Take(-1) }, []byte{1}, codec.ErrShort},
	}
	for name, tt := range tests {
		r := codec.NewReader(tt.in)
		tt.read(&r)
		if !errors.Is(r.Err(), tt.want) {
			t.Errorf("%s: %v, want %v", name, r.Err(), tt.want)
		}
		if r.Len() != 0 || r.U8() != 0 {
			t.Errorf("%s: still reads after a failure", name)
		}
	}
}

// FuzzReader drives a Reader by a program of one-byte instructions: it must not panic, nor hand out a byte twice.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8}, []byte("some input that is read in pieces"))
	f.Fuzz(func(t *testing.T, program, input []byte) {
		r := codec.NewReader(input)
		left := r.Len()
		for _, op := range program {
			took := 0
			switch op % 9 {
			case 0:
				r.U8()
			case 1:
				r.U16()
			case 2:
				r.U32()
			case 3:
				r.U64()
			case 4:
				r.Uvarint()
			case 5:
				took = len(r.Bytes8())
			case 6:
				took = len(r.Bytes16(int(op)))
			case 7:
				took = len(r.Bytes(int(op)))
			case 8:
				r.Array16()
			}
			if r.Err() == nil && r.Len() >= left && left != 0 {
				t.Fatalf("op %d took nothing", op%9)
			}
			if r.Err() == nil && took > left-r.Len() {
				t.Fatalf("op %d returned %d bytes but moved %d", op%9, took, left-r.Len())
			}
			left = r.Len()
		}
	})
}
