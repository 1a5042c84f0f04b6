package sealedfs

import "strings"

// kind is what a file is for, by its base name.
type kind byte

const (
	kindWhole    kind = iota // written once and finished: OPTIONS, and whatever else there is
	kindTable                // .sst, .blob
	kindManifest             // appended to as long as the store is open, and synced before it is pointed to
	kindLog                  // appended to
	kindMarker
	kindLock
)

func kindOf(base string) kind {
	switch {
	case base == "LOCK":
		return kindLock
	case strings.HasPrefix(base, "marker."):
		return kindMarker
	case strings.HasSuffix(base, ".sst"), strings.HasSuffix(base, ".blob"):
		return kindTable
	case strings.HasSuffix(base, ".log"):
		return kindLog
	case strings.HasPrefix(base, "MANIFEST-"), strings.HasPrefix(base, "REMOTE-OBJ-CATALOG-"):
		return kindManifest
	}
	return kindWhole
}

// boundName returns the name that a file is sealed under. It is the base name, but a temporary file is sealed under the
// name that Pebble will rename it to, so that the rename stays one atomic step.
func boundName(base string) string {
	rest, ok := strings.CutPrefix(base, "temporary.")
	if !ok {
		return base
	}
	number, ok := strings.CutSuffix(rest, ".dbtmp")
	if !ok {
		return base
	}
	return "OPTIONS-" + number
}

// birthName returns the name under which a log or marker is made before it gets its own. For all that our stores use it
// is one of a temporary file, which Pebble removes when it opens a store after a crash, with the number that Pebble gave
// to this file and so to no other: a log's own, or that of the manifest which a marker names.
func birthName(base string) string {
	number := base[len(strings.TrimRight(base, "0123456789")):]
	switch {
	case strings.HasPrefix(base, "marker.manifest."):
	case strings.HasPrefix(base, "marker."):
		number = "000000" // the format version's marker, of which there is one
	default:
		number = strings.TrimSuffix(base, ".log")
		if strings.Trim(number, "0123456789") != "" {
			return "sealing." + base // a log that failed over to another directory; several have one number
		}
	}
	return "temporary." + number + ".dbtmp"
}
