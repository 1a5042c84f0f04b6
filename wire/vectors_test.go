package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

// vector is one entry of testdata/vectors; README.md there describes the form.
type vector struct {
	file, name, typ, expect string
	bytes                   []byte
	fields                  []string
}

// vectors reads all of testdata/vectors.
func vectors(t testing.TB) []vector {
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split("\n"+string(text), "\nvector: ") {
			if i == 0 {
				continue
			}
			v, err := parseVector(block)
			if err != nil {
				t.Fatalf("%s: %q: %v", file, v.name, err)
			}
			v.file = filepath.Base(file)
			all = append(all, v)
		}
	}
	return all
}

// parseVector reads what follows "vector: ".
func parseVector(block string) (vector, error) {
	lines := strings.Split(strings.TrimSpace(block), "\n")
	v := vector{name: lines[0]}
	section := ""
	for _, line := range lines[1:] {
		if strings.HasPrefix(line, "  ") {
			switch section {
			case "hex":
				digits, _, _ := strings.Cut(line, "#")
				b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
				if err != nil {
					return v, err
				}
				v.bytes = append(v.bytes, b...)
			case "fields":
				v.fields = append(v.fields, strings.TrimSpace(line))
			default:
				return v, errors.New("indented line outside a section")
			}
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); {
		case key == "type":
			v.typ = value
		case key == "expect":
			v.expect = value
		case line == "", strings.HasPrefix(line, "#"), key == "hex", key == "fields":
		default:
			return v, fmt.Errorf("unknown line %q", line)
		}
		section = key
	}
	return v, nil
}

// expectations are the errors that vectors name.
var expectations = map[string]error{
	"short": codec.ErrShort, "trailing": codec.ErrTrailing, "varint": codec.ErrVarint, "limit": codec.ErrLimit,
	"range": ErrRange, "form": ErrForm, "flags": ErrFlags, "version": ErrVersion, "name": ErrName, "text": ErrText,
	"magic": ErrMagic, "plain": ErrPlain, "body_type": ErrBodyType, "handle": ErrHandle, "unknown_type": ErrUnknownType,
	"bad_frame": ErrBadFrame, "too_large": ErrFrameTooLarge,
}

// typeByName returns the type with this name or number.
func typeByName(name string) Type {
	for _, typ := range Types() {
		if typ.String() == name {
			return typ
		}
	}
	n, _ := strconv.ParseUint(name, 10, 8)
	return Type(n)
}

// run decodes the vector. fields are what it says, again is how that encodes.
func (v *vector) run() (fields []string, again []byte, err error) {
	switch v.typ {
	case "frames", "frames_open":
		return v.runFrames()
	case "clear_header":
		h, err := ParseClearHeader(v.bytes)
		return dumpAny(h), AppendClearHeader(nil, &h), err
	case "name":
		name := string(v.bytes)
		return []string{fmt.Sprintf("slot = %d", SlotOf(name))}, v.bytes, CheckName(name)
	case "pattern":
		return nil, v.bytes, CheckPattern(string(v.bytes))
	case "handle":
		h, err := ParseHandle(string(v.bytes))
		return dumpAny(h), []byte(EncodeHandle(h)), err
	case "session_id":
		id := SessionID([16]byte(v.bytes[:16]), v.bytes[16:])
		return []string{fmt.Sprintf("id = %x", id)}, v.bytes, nil
	}
	m, err := Decode(typeByName(v.typ), v.bytes)
	if err != nil {
		return nil, nil, err
	}
	return dump(m), m.Append(nil), nil
}

func (v *vector) runFrames() (fields []string, again []byte, err error) {
	f := NewFrameReader(bytes.NewReader(v.bytes))
	if v.typ == "frames_open" {
		f.SetLimit(FrameBytes)
	}
	got, err := readAll(f)
	for i, frame := range got {
		request := uint32(frame[5])<<24 | uint32(frame[6])<<16 | uint32(frame[7])<<8 | uint32(frame[8])
		fields = append(fields, fmt.Sprintf("%d.type = %d", i, frame[4]), fmt.Sprintf("%d.request_id = %d", i, request),
			fmt.Sprintf("%d.payload = %s", i, hexOrEmpty(frame[FrameHeaderBytes:])))
		again = append(again, frame...)
	}
	switch err {
	case io.EOF:
		err = nil
	case io.ErrUnexpectedEOF:
		err = codec.ErrShort
	}
	return fields, again, err
}

func TestVectors(t *testing.T) {
	names := map[string]bool{}
	for _, v := range vectors(t) {
		if names[v.name] {
			t.Errorf("two vectors are called %q", v.name)
		}
		names[v.name] = true
		t.Run(v.name, func(t *testing.T) {
			fields, again, err := v.run()
			if v.expect == "ok" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if !slices.Equal(fields, v.fields) {
					t.Errorf("%s: got\n  %s\nwant\n  %s", v.file, strings.Join(fields, "\n  "), strings.Join(v.fields, "\n  "))
				}
				if !bytes.Equal(again, v.bytes) {
					t.Errorf("%s: encodes to\n%x\nwant\n%x", v.file, again, v.bytes)
				}
				return
			}
			var option *OptionError
			if want := expectations[v.expect]; want != nil && !errors.Is(err, want) ||
				want == nil && (v.expect != "option" || !errors.As(err, &option)) {
				t.Errorf("%s: %v, want %s", v.file, err, v.expect)
			}
		})
	}
}

// Every message has a vector that is good and one that is not, and every way to be wrong has one.
func TestVectorsCoverEverything(t *testing.T) {
	good, bad, expected := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, v := range vectors(t) {
		good[v.typ] = good[v.typ] || v.expect == "ok"
		bad[v.typ] = bad[v.typ] || v.expect != "ok"
		expected[v.expect] = true
	}
	for _, typ := range Types() {
		if !good[typ.String()] || !bad[typ.String()] {
			t.Errorf("%v: good vector %v, bad vector %v", typ, good[typ.String()], bad[typ.String()])
		}
	}
	for name := range expectations {
		if !expected[name] {
			t.Errorf("no vector is refused with %s", name)
		}
	}
}
