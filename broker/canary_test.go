package broker_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/broker"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/internal/pki"
	"github.com/sealmq/sealmq/wire"
)

// canaries are bytes that must not be found on a disk, and every form in which they might stand there.
func canaries(names map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for name, b := range names {
		all[name] = b
		all[name+" in hex"] = []byte(hex.EncodeToString(b))
		all[name+" in HEX"] = []byte(strings.ToUpper(hex.EncodeToString(b)))
		// Base64 of what begins at any of three places; the ends depend on the neighbours.
		for shift := range 3 {
			text := base64.StdEncoding.EncodeToString(append(make([]byte, shift), b...))
			all[name+" in base64"+string(rune('0'+shift))] = []byte(text[4 : len(text)-4])
		}
	}
	return all
}

// scan reads every byte of a directory and reports what it finds.
func scan(t *testing.T, dir string, all map[string][]byte) (bytesRead int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for name, canary := range all {
			if strings.Contains(d.Name(), string(canary)) {
				t.Errorf("%s: its name holds %s", path, name)
			}
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		bytesRead += len(b)
		for name, canary := range all {
			if bytes.Contains(b, canary) {
				t.Errorf("%s holds %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytesRead
}

// TestNothingReadableOnDisk plants known bytes everywhere that clients can put some, in the log, in the stores after a
// flush and after a restart, and looks for them.
func TestNothingReadableOnDisk(t *testing.T) {
	c := startCluster(t, 3, 2, nil)
	owner, mailbox := "canaryowner", "canary.mailbox-name"
	box := c.owned(t, owner, mailbox)
	c.grant(t, "canarysubject", wire.ActionSend, "canary.granted-pattern.*")
	conn := c.leading(t, owner, mailbox)
	s := newSender(box)
	copy(s.init[20:], "canary in the session header")
	s.session = wire.SessionID(box.ID, s.init)
	copy(s.producer[:], "canaryPR")
	body := sealed(3000)
	copy(body[1000:], "canary in what the client sealed")
	small := sealed(60)
	copy(small[20:], "canary in a small message")
	results(t, conn.call(s.batch(body, small)), wire.CodeOK)
	s.put(conn, 200)
	record := sealed(500)
	copy(record, "canary in a key record")
	expect[*wire.Done](t, conn.call(&wire.KeyRecordPublish{Mailbox: box, Name: mailbox, Version: 1,
		OwnerKey: [32]byte{1}, Record: record}))
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	m := nack(d, wire.NackReject, 2)
	m.Detail = []byte("canary in a nack detail")
	conn.call(m)
	conn.call(ack(d, 5, 6, 7))

	key, err := os.ReadFile(c.nodes["n1"].RootKey)
	if err != nil {
		t.Fatal(err)
	}
	all := canaries(map[string][]byte{
		"an owner": []byte(owner), "a mailbox": []byte(mailbox), "a subject": []byte("canarysubject"),
		"a pattern": []byte("canary.granted-pattern"), "a session header": s.init[20:60], "a body": body[1000:1040],
		"a small body": small[15:50], "a record": record[:40], "a nack detail": m.Detail, "a producer": s.producer[:],
		"the root key": key[:32], "a mailbox id": box.ID[:],
	})
	// The scanner finds what is there.
	probe := t.TempDir()
	write(t, filepath.Join(probe, "x"), []byte("..."+base64.StdEncoding.EncodeToString([]byte("12"+owner))+"..."))
	found := false
	for _, canary := range all {
		b, _ := os.ReadFile(filepath.Join(probe, "x"))
		found = found || bytes.Contains(b, canary)
	}
	if !found {
		t.Fatal("the scanner is blind")
	}
	look := func(when string) {
		t.Helper()
		for _, name := range c.names {
			if n := scan(t, c.nodes[name].DataDir, all); n < 10_000 {
				t.Errorf("%s: only %d bytes of %s were looked at", when, n, name)
			}
		}
	}
	look("running")
	if err := c.stop(); err != nil { // flushes the stores
		t.Fatal(err)
	}
	look("stopped")
	if err := c.start(c.names...); err != nil {
		t.Fatal(err)
	}
	look("restarted")
	again := c.leading(t, owner, mailbox)
	if got := retry[*wire.Deliver](t, again, pull(box)); len(got.Items) == 0 || got.Items[0].Seq != 2 {
		t.Errorf("after the restart: %v", seqs(got))
	}
	// The logs do not name anybody either.
	for _, word := range []string{owner, mailbox, "canarysubject"} {
		if strings.Contains(c.logs.String(), word) {
			t.Errorf("the logs say %q", word)
		}
	}
}

// reissue gives a node other certificates for a listener until the test ends.
func reissue(t *testing.T, c *cluster, kind, node string, files broker.TLSFiles) {
	t.Helper()
	a, err := pki.LoadAuthority(local.CADir(c.dir), pki.Kind(kind))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.IssueNode(node, []string{"127.0.0.1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{files.Cert: leaf.CertPEM, files.Key: leaf.KeyPEM} {
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { write(t, path, before) })
		write(t, path, b)
	}
}

// TestOperatorListener: probes and metrics for operators only, and no names in them.
func TestOperatorListener(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, func(o *broker.Options) { o.Operator.Address = "127.0.0.1:0" })
	box := c.owned(t, "metricowner", "metric.box")
	conn := c.leading(t, "metricowner", "metric.box")
	s := newSender(box)
	s.put(conn, 3)
	bad := s.batch(sealed(50))
	bad.Items[0].Header.NotAfterMinutes -= 60
	conn.call(bad)
	d := expect[*wire.Deliver](t, conn.call(pull(box)))
	conn.call(ack(d, 1, 2))

	address := c.node("n1").OperatorAddress().String()
	get := func(who, path string) (int, string) {
		t.Helper()
		config := c.tlsConfig(c.certificate(t, who))
		config.NextProtos = nil
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: patience}
		defer client.CloseIdleConnections()
		response, err := client.Get("https://" + address + path)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(b)
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/": 404,
		"/debug/pprof/": 404} {
		if status, body := get("operator/admin", path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, who := range []string{"metricowner"} {
		if status, _ := get(who, "/metrics"); status != 0 {
			t.Errorf("%s gets in: %d", who, status)
		}
	}
	_, metrics := get("operator/admin", "/metrics")
	for _, line := range []string{
		`sealmq_sends_total{node="n1"} 3`, `sealmq_deliveries_total{node="n1"} 3`, `sealmq_acks_total{node="n1"} 2`,
		`sealmq_errors_total{code="clock_skew",node="n1"} 1`, `sealmq_group_leading{group="1",node="n1"} 1`,
		`sealmq_commit_seconds_count{node="n1"}`, `sealmq_fsync_seconds_count{node="n1"}`,
		`sealmq_connections{node="n1"} 1`,
		`sealmq_journal_bytes{node="n1"}`, `sealmq_state_bytes{node="n1"}`, `sealmq_memory_entries_bytes{node="n1"}`,
		`sealmq_memory_outboxes_bytes{node="n1"}`, `sealmq_certificate_expiry_seconds{listener="client",node="n1"}`,
		`sealmq_certificate_expiry_seconds{listener="peer",node="n1"}`,
		`sealmq_certificate_expiry_seconds{listener="operator",node="n1"}`,
		`sealmq_group_applied_index{group="0",node="n1"}`, `sealmq_group_commit_index{group="1",node="n1"}`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("there is no %s", line)
		}
	}
	for _, word := range []string{"metric.box", "metricowner", "admin", "mailbox=", "principal=", `code="ok"`} {
		if strings.Contains(metrics, word) {
			t.Errorf("the metrics say %q", word)
		}
	}
	operating, err := os.ReadFile(filepath.Join("..", "docs", "OPERATING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile("`(sealmq_[a-z_]+)").FindAllStringSubmatch(string(operating), -1) {
		if !strings.Contains(metrics, "# TYPE "+name[1]+" ") {
			t.Errorf("docs/OPERATING.md says to watch %s, which there is not", name[1])
		}
	}
	random := make([]byte, 1<<20)
	rand.Read(random)
	config := c.tlsConfig(c.certificate(t, "operator/admin"))
	config.NextProtos = nil
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: patience}
	defer client.CloseIdleConnections()
	if response, err := client.Post("https://"+address+"/livez", "text/plain", bytes.NewReader(random)); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("a post: %v", response.Status)
		}
	}
}

// TestReload: new certificates are taken without a restart, bad ones change nothing and are named.
func TestReload(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, 1, nil)
	b, files := c.node("n1"), c.nodes["n1"].Client.TLS
	shown := func() string {
		conn := c.handshake(t, "n1", c.certificate(t, "you"))
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	old := c.dial(t, "n1", "you")
	reissue(t, c, "client", "n1", files)
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	second := shown()
	if second == first {
		t.Error("the certificate is still the old one")
	}
	expect[*wire.Pong](t, old.call(&wire.Ping{}))
	for name, damage := range map[string]func(){
		"another node's": func() { reissue(t, c, "client", "n2", files) },
		"another kind":   func() { reissue(t, c, "peer", "n1", files) },
		"garbage":        func() { write(t, files.Cert, []byte("garbage")) },
	} {
		damage()
		if err := b.Reload(); err == nil || !strings.Contains(err.Error(), "client") {
			t.Errorf("%s: %v", name, err)
		}
		if shown() != second {
			t.Errorf("%s: the certificate has changed", name)
		}
	}
}
