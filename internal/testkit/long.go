// Package testkit holds what tests of several packages share: the -long flag, a reading of what a call allocates, and
// file systems that lose power or fail on purpose. Only tests import it.
package testkit

import (
	"flag"
	"testing"
)

var long = flag.Bool("long", false, "run the tests that take minutes or hours (make soak)")

// Long reports whether the run was asked to take its time. A test whose default size is small uses it to choose a
// larger one.
func Long(testing.TB) bool { return *long }
