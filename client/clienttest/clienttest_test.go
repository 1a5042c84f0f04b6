package clienttest_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestMessage sends a message from one identity to another, across a restart of the node.
func TestMessage(t *testing.T) {
	ctx := t.Context()
	cluster := clienttest.Start(t)
	shop, billing := cluster.Client("shop"), cluster.Client("billing")
	if _, err := billing.CreateMailbox(ctx, "billing"); err != nil {
		t.Fatal(err)
	}
	sent, err := shop.Send(ctx, "billing", []byte("order 17"))
	if err != nil {
		t.Fatal(err)
	}
	cluster.Restart()
	messages, err := billing.Receive(ctx, "billing", client.Max(10), client.Wait(20*time.Second))
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	m := messages[0]
	if string(m.Body) != "order 17" || m.Sender != "shop" || m.ID != sent.ID {
		t.Errorf("%q from %s, id %s", m.Body, m.Sender, m.ID)
	}
	if err := m.Ack(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := billing.Receive(ctx, "billing"); err != nil || len(again) != 0 {
		t.Errorf("%d messages after the acknowledgement, %v", len(again), err)
	}
}
