package wire

import (
	"crypto/sha256"
	"unicode"
	"unicode/utf8"
)

// SlotOf returns the slot of a mailbox name, 0 to Slots-1. Slots are given to groups when a cluster is made.
func SlotOf(name string) uint16 {
	h := sha256.New()
	h.Write([]byte("sealmq/slot/v1"))
	h.Write([]byte(name))
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return uint16(sum[0])<<4 | uint16(sum[1])>>4
}

// CheckName refuses a mailbox name that is not 1 to NameBytes bytes of dotted tokens. A token is made of a-z, 0-9, '-'
// and '_' and begins with a letter or a digit: two names never differ by case or look only, no name reads as a flag or
// a pattern, and tokens that begin with '_' are left for names that the system gives.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > NameBytes {
		return ErrName
	}
	start := true
	for i := range len(name) {
		c := name[i]
		switch {
		case isAlphanumeric(c):
			start = false
		case start:
			return ErrName
		case c == '.':
			start = true
		case c != '-' && c != '_':
			return ErrName
		}
	}
	if start {
		return ErrName
	}
	return nil
}

// CheckPattern refuses a resource pattern that is not a name in which any whole token may be '*' (one token) and the
// last may be '>' (one or more tokens).
func CheckPattern(pattern string) error {
	if len(pattern) == 0 || len(pattern) > NameBytes {
		return ErrName
	}
	for start := 0; start <= len(pattern); {
		end := start
		for end < len(pattern) && pattern[end] != '.' {
			end++
		}
		token := pattern[start:end]
		last := end == len(pattern)
		if token != "*" && !(token == ">" && last) && CheckName(token) != nil {
			return ErrName
		}
		start = end + 1
	}
	return nil
}

// checkPrefix refuses what no name can begin with or follow in a listing.
func checkPrefix(prefix string) error {
	for i := range len(prefix) {
		if c := prefix[i]; !isAlphanumeric(c) && c != '.' && c != '-' && c != '_' {
			return ErrName
		}
	}
	return nil
}

// CheckPrincipal refuses a principal, subject pattern, node name or address that is not 1 to NameBytes bytes of
// printable ASCII without spaces.
func CheckPrincipal(s string) error {
	if len(s) == 0 || len(s) > NameBytes {
		return ErrText
	}
	return checkToken(s)
}

// checkToken is [CheckPrincipal] for a value that may be empty and whose length is known to be right.
func checkToken(s string) error {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return ErrText
		}
	}
	return nil
}

// checkText refuses text for people that could deceive a terminal or a reader: control, format and line-separating
// characters, and what is not UTF-8.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return ErrText
	}
	for _, c := range s {
		if unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ErrText
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
