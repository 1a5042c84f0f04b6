package pki

import (
	"net/url"
	"strings"
	"testing"
)

var testCluster = [16]byte{0xab, 15: 0xcd}

func TestNames(t *testing.T) {
	for _, n := range []Name{
		{Peer, testCluster, Node, "n1"},
		{Client, testCluster, Service, "team.billing-2_x"},
		{Client, testCluster, Node, "n1"},
		{Operator, testCluster, Human, "ann"},
	} {
		got, err := ParseName(n.URL())
		if err != nil || got != n {
			t.Errorf("%s came back as %v, %v", n, got, err)
		}
	}
	const cluster = "ab0000000000000000000000000000cd"
	for _, bad := range []string{
		"https://peer." + cluster + "/node/n1",          // scheme
		"spiffe://peer." + cluster + "/svc/billing",     // the peer authority signs no services
		"spiffe://operator." + cluster + "/svc/billing", // nor the operators'
		"spiffe://client." + cluster + "/operator/ann",  // a client is no operator
		"spiffe://client." + cluster[2:] + "/svc/a",     // cluster too short
		"spiffe://client." + strings.ToUpper(cluster) + "/svc/a",
		"spiffe://client." + cluster + "/svc/",      // no id
		"spiffe://client." + cluster + "/svc/a/b",   // more than an id
		"spiffe://client." + cluster + "/svc/A",     // upper case
		"spiffe://client." + cluster + "/svc/.a",    // begins with a dot
		"spiffe://client." + cluster + "/svc/a%2fb", // hidden slash
		"spiffe://client." + cluster + "/svc/a?x=1", // query
		"spiffe://client." + cluster + "/svc/a#x",   // fragment
		"spiffe://u@client." + cluster + "/svc/a",   // user
		"spiffe://client." + cluster + ":1/svc/a",   // port
		"spiffe://client." + cluster + "/svc/" + strings.Repeat("a", 65),
		"spiffe://client/svc/a",
		"",
	} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatalf("%q: %v", bad, err)
		}
		if n, err := ParseName(u); err == nil {
			t.Errorf("%q was taken for %v", bad, n)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("spiffe://client.ab0000000000000000000000000000cd/svc/billing")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		if n, err := ParseName(u); err == nil && n.String() != u.String() {
			t.Fatalf("%q was taken for %s", s, n)
		}
	})
}
