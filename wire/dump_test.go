package wire

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// dump returns the fields of a message, one per line as "path = value": numbers in decimal, bytes in hex or
// "empty", text quoted, lists by their index and "path = []" where they are empty. The vectors under testdata use the
// same form.
func dump(m Message) []string { return dumpValue(nil, "", reflect.ValueOf(m).Elem()) }

// dumpAny is dump of a struct that is no message.
func dumpAny(v any) []string { return dumpValue(nil, "", reflect.ValueOf(v)) }

func dumpValue(lines []string, path string, v reflect.Value) []string {
	line := func(format string, value any) []string {
		return append(lines, fmt.Sprintf("%s = "+format, path, value))
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			at := snake(v.Type().Field(i).Name)
			if path != "" {
				at = path + "." + at
			}
			lines = dumpValue(lines, at, v.Field(i))
		}
		return lines
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return line("%s", hexOrEmpty(b))
		}
		if v.Len() == 0 {
			return line("%s", "[]")
		}
		for i := range v.Len() {
			lines = dumpValue(lines, path+"."+strconv.Itoa(i), v.Index(i))
		}
		return lines
	case reflect.String:
		return line("%q", v.String())
	case reflect.Bool:
		return line("%t", v.Bool())
	case reflect.Int64:
		return line("%d", v.Int())
	}
	return line("%d", v.Uint())
}

func hexOrEmpty(b []byte) string {
	if len(b) == 0 {
		return "empty"
	}
	return hex.EncodeToString(b)
}

// snake turns NotAfterMinutes into not_after_minutes and IDs into ids.
func snake(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, c := range letters {
		if unicode.IsUpper(c) && i > 0 {
			before := unicode.IsUpper(letters[i-1])
			ends := i+1 < len(letters) && unicode.IsLower(letters[i+1]) && name != "IDs" && name != "TTLMillis"
			if !before || ends || name == "TTLMillis" && c == 'M' {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
