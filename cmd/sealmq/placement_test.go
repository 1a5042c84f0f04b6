package main

import (
	"maps"
	"testing"
)

func TestShareOut(t *testing.T) {
	names := []string{"client", "n1", "n2", "n3"}
	for _, test := range []struct {
		processors []int
		want       placement
		shown      string
	}{
		{[]int{5}, placement{"client": 5, "n1": 5, "n2": 5, "n3": 5}, "client, n1, n2, n3"},
		{[]int{0, 1}, placement{"client": 0, "n1": 0, "n2": 1, "n3": 1}, "client, n1 | n2, n3"},
		{[]int{4, 6}, placement{"client": 4, "n1": 4, "n2": 6, "n3": 6}, "client, n1 | n2, n3"},
		{[]int{2, 4, 6}, nil, ""},
		{[]int{0, 1, 2, 3}, nil, ""},
		{[]int{0, 1, 2, 3, 4, 5, 6, 7}, nil, ""},
	} {
		got := shareOut(test.processors, names)
		if !maps.Equal(got, test.want) || (got == nil) != (test.want == nil) || got.String() != test.shown {
			t.Errorf("on %v: %v, %q", test.processors, map[string]int(got), got)
		}
	}
}
