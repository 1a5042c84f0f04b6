package main

import (
	"strings"
)

// tomlLines finds the line of every key and table of a TOML file, by its dotted name. The TOML library tells where a
// file does not parse, but not where a key that parsed stands. It looks at line starts only, which is where the keys
// of a configuration are; members of an inline list are found at their list.
func tomlLines(data string) map[string]int {
	lines := map[string]int{}
	note := func(name string, line int) {
		if _, seen := lines[name]; !seen {
			lines[name] = line
		}
	}
	prefix, number := "", 0
	for line := range strings.Lines(data) {
		number++
		line = strings.TrimSpace(line)
		if header, ok := strings.CutPrefix(line, "["); ok {
			header, _, ok = strings.Cut(strings.TrimPrefix(header, "["), "]")
			if ok && !strings.ContainsAny(header, "{=") {
				name := dotted(header)
				note(name, number)
				prefix = name + "."
			}
			continue
		}
		left, right, ok := strings.Cut(line, "=")
		if !ok || line == "" || strings.ContainsAny(line[:1], "#{]") {
			continue
		}
		name := prefix + dotted(left)
		note(name, number)
		noteInline(note, name, right, number)
	}
	return lines
}

// noteInline finds the keys of an inline table: key = { a = 1, b = 2 }.
func noteInline(note func(string, int), name, value string, number int) {
	value = strings.TrimSpace(value)
	if !strings.HasPrefix(value, "{") {
		return
	}
	for part := range strings.SplitSeq(strings.Trim(value, "{} "), ",") {
		if left, _, ok := strings.Cut(part, "="); ok {
			note(name+"."+dotted(left), number)
		}
	}
}

// dotted takes the spaces and quotes out of a key.
func dotted(text string) string {
	parts := strings.Split(text, ".")
	for i, p := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(p), `"'`)
	}
	return strings.Join(parts, ".")
}

// distance is the number of single-letter changes from a to b (Levenshtein), for "did you mean".
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
