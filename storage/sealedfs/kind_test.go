package sealedfs

import "testing"

// Two files that are made at once must not be born under one name, and Pebble must know the name for a temporary one.
func TestBirthNames(t *testing.T) {
	for base, want := range map[string]string{
		"000092.log":                             "temporary.000092.dbtmp",
		"000092-001.log":                         "sealing.000092-001.log",
		"marker.manifest.000003.MANIFEST-000017": "temporary.000017.dbtmp",
		"marker.format-version.000005.013":       "temporary.000000.dbtmp",
	} {
		if got := birthName(base); got != want {
			t.Errorf("%s is born as %s, want %s", base, got, want)
		}
		if kindOf(birthName(base)) == kindMarker {
			t.Errorf("%s is born under a name that Pebble takes for a marker", base)
		}
	}
}

func TestBoundNames(t *testing.T) {
	for base, want := range map[string]string{
		"temporary.000003.dbtmp": "OPTIONS-000003",
		"OPTIONS-000003":         "OPTIONS-000003",
		"temporary.dbtmp":        "temporary.dbtmp",
		"temporary.x":            "temporary.x",
		"000003.sst":             "000003.sst",
	} {
		if got := boundName(base); got != want {
			t.Errorf("%s is sealed for %s, want %s", base, got, want)
		}
	}
}
