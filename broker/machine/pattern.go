package machine

import (
	"errors"
	"strings"
)

var errPattern = errors.New("a pattern is dotted tokens; * stands for one token, a last > for one or more")

// CheckPattern says whether p may be the subject or the resource of a grant: dotted tokens that are not empty, of which
// "*" stands for any one and a last ">" for any one or more. Neither is special inside a longer token.
func CheckPattern(p string) error {
	if p == "" || len(p) > MaxPatternBytes {
		return errPattern
	}
	for rest, more := p, true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		if token == "" || token == ">" && more {
			return errPattern
		}
	}
	return nil
}

// matches reports whether a name is one that the pattern stands for.
func matches(pattern, name string) bool {
	for {
		want, patternRest, patternMore := strings.Cut(pattern, ".")
		have, nameRest, nameMore := strings.Cut(name, ".")
		if want == ">" && !patternMore {
			return have != "" || nameMore
		}
		if want != "*" && want != have || want == "*" && have == "" || patternMore != nameMore {
			return false
		}
		if !patternMore {
			return true
		}
		pattern, name = patternRest, nameRest
	}
}

// isPattern reports whether a pattern stands for more than itself.
func isPattern(p string) bool {
	for rest, more := p, true; more; {
		var token string
		if token, rest, more = strings.Cut(rest, "."); token == "*" || token == ">" {
			return true
		}
	}
	return false
}
