package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The client's two text files, context.toml and pins.toml, are a subset of TOML that any TOML parser reads:
//
//	# comment
//	key = "basic string"        escapes: \" \\ \t \n \r \uXXXX
//	key = 123                   decimal, not negative
//	[table]   [table.key]   [table."any key"]
//
// Everything else is refused with the file's line, unknown and repeated keys included: a setting that is skipped
// silently is one that somebody relies on.

// tomlBytes is the largest file that is read.
const tomlBytes = 16 << 20

// tomlTable is one table; the first of a file is the root, without a path.
type tomlTable struct {
	file string
	path []string
	line int
	keys map[string]tomlValue
}

type tomlValue struct {
	text   string
	number uint64
	isText bool
	line   int
}

// tomlError names the file and the line.
type tomlError struct {
	file   string
	line   int
	reason string
}

func (e *tomlError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.reason) }

// parseTOML reads the tables of a file, the root first.
func parseTOML(file string, b []byte) ([]*tomlTable, error) {
	if len(b) > tomlBytes {
		return nil, &tomlError{file, 1, fmt.Sprintf("the file is larger than %d bytes", tomlBytes)}
	}
	tables := []*tomlTable{{file: file, line: 1, keys: map[string]tomlValue{}}}
	seen := map[string]bool{}
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		fail := func(format string, args ...any) ([]*tomlTable, error) {
			return nil, &tomlError{file, number, fmt.Sprintf(format, args...)}
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if !printable(line) {
			return fail("control character or not UTF-8")
		}
		s := tomlScanner{rest: line}
		s.space()
		current := tables[len(tables)-1]
		switch {
		case s.end():
			continue
		case s.take('['):
			path, err := s.header()
			if err != nil {
				return fail("%v", err)
			}
			id := fmt.Sprintf("%q", path)
			if seen[id] {
				return fail("table %s stands twice", strings.Join(path, "."))
			}
			seen[id] = true
			tables = append(tables, &tomlTable{file: file, path: path, line: number, keys: map[string]tomlValue{}})
		default:
			key, value, err := s.assignment()
			if err != nil {
				return fail("%v", err)
			}
			if _, twice := current.keys[key]; twice {
				return fail("key %s stands twice", key)
			}
			value.line = number
			current.keys[key] = value
		}
	}
	return tables, nil
}

func printable(line string) bool {
	if !utf8.ValidString(line) {
		return false
	}
	return !strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// text takes a string out of the table.
func (t *tomlTable) text(key string) (string, error) {
	v, err := t.take(key)
	if err == nil && !v.isText {
		return "", t.fail(v.line, "%s must be a string in quotes", key)
	}
	return v.text, err
}

// number takes a whole number out of the table.
func (t *tomlTable) number(key string) (uint64, error) {
	v, err := t.take(key)
	if err == nil && v.isText {
		return 0, t.fail(v.line, "%s must be a number without quotes", key)
	}
	return v.number, err
}

func (t *tomlTable) take(key string) (tomlValue, error) {
	v, ok := t.keys[key]
	if !ok {
		return v, t.fail(t.line, "%s is missing", key)
	}
	delete(t.keys, key)
	return v, nil
}

func (t *tomlTable) has(key string) bool { _, ok := t.keys[key]; return ok }

// done refuses keys that nobody took.
func (t *tomlTable) done() error {
	for _, key := range slices.Sorted(maps.Keys(t.keys)) {
		return t.fail(t.keys[key].line, "unknown key %s", key)
	}
	return nil
}

func (t *tomlTable) fail(line int, format string, args ...any) error {
	return &tomlError{t.file, line, fmt.Sprintf(format, args...)}
}

// tomlScanner reads one line.
type tomlScanner struct{ rest string }

func (s *tomlScanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

// end reports whether nothing but a comment is left.
func (s *tomlScanner) end() bool {
	s.space()
	return s.rest == "" || s.rest[0] == '#'
}

func (s *tomlScanner) take(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// header reads what follows the bracket of a table's header.
func (s *tomlScanner) header() (path []string, err error) {
	for {
		s.space()
		key, err := s.key()
		if err != nil {
			return nil, err
		}
		path = append(path, key)
		s.space()
		switch {
		case s.take('.'):
		case s.take(']'):
			if !s.end() {
				return nil, fmt.Errorf("something follows the table's header")
			}
			return path, nil
		default:
			return nil, fmt.Errorf("a table's header needs a closing bracket")
		}
	}
}

func (s *tomlScanner) assignment() (key string, v tomlValue, err error) {
	if key, err = s.key(); err != nil {
		return "", v, err
	}
	s.space()
	if !s.take('=') {
		return "", v, fmt.Errorf("expected = after %s", key)
	}
	s.space()
	if s.rest != "" && s.rest[0] == '"' {
		v.isText = true
		v.text, err = s.quoted()
	} else {
		v.number, err = s.digits()
	}
	if err == nil && !s.end() {
		err = fmt.Errorf("something follows the value of %s", key)
	}
	return key, v, err
}

// key reads a bare or quoted key.
func (s *tomlScanner) key() (string, error) {
	if s.rest != "" && s.rest[0] == '"' {
		return s.quoted()
	}
	n := 0
	for n < len(s.rest) && isBareKey(s.rest[n]) {
		n++
	}
	if n == 0 {
		return "", fmt.Errorf("expected a key of letters, digits, - and _, or one in quotes")
	}
	key := s.rest[:n]
	s.rest = s.rest[n:]
	return key, nil
}

func isBareKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func (s *tomlScanner) digits() (uint64, error) {
	n := 0
	for n < len(s.rest) && s.rest[n] >= '0' && s.rest[n] <= '9' {
		n++
	}
	text := s.rest[:n]
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil || strconv.FormatUint(v, 10) != text {
		return 0, fmt.Errorf("expected a string in quotes or a decimal number")
	}
	s.rest = s.rest[n:]
	return v, nil
}

// quoted reads a basic string, the opening quote included.
func (s *tomlScanner) quoted() (string, error) {
	s.rest = s.rest[1:]
	var b strings.Builder
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch c {
		case '"':
			return b.String(), nil
		case '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("the string has no closing quote")
}

func (s *tomlScanner) escape() (rune, error) {
	if s.rest == "" {
		return 0, fmt.Errorf("the string has no closing quote")
	}
	c := s.rest[0]
	s.rest = s.rest[1:]
	switch c {
	case '"', '\\':
		return rune(c), nil
	case 't':
		return '\t', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 'u':
		if len(s.rest) >= 4 {
			v, err := strconv.ParseUint(s.rest[:4], 16, 32)
			if r := rune(v); err == nil && utf8.ValidRune(r) {
				s.rest = s.rest[4:]
				return r, nil
			}
		}
	}
	return 0, fmt.Errorf("unknown escape in a string")
}

// quoteTOML returns s as a basic string that parseTOML reads back.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
