package envelope_test

import (
	"fmt"
	"time"

	"github.com/sealmq/sealmq/envelope"
)

// The owner of a mailbox publishes a key record; a sender seals to it; the owner opens. What lies between them, and who
// is trusted, is the client's work.
func Example() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	now := time.Now()
	owner, err := envelope.NewIdentity("warehouse")
	must(err)
	key, err := envelope.GenerateEpochKey(1, now, now.Add(7*24*time.Hour))
	must(err)
	record := &envelope.KeyRecord{
		MailboxID: [16]byte{1}, // 16 random bytes, drawn when the mailbox is made
		Name:      "warehouse.orders",
		Version:   1,
		NotAfter:  now.Add(envelope.MaxValidity),
		Policy:    envelope.PolicySealed,
		Epochs:    []envelope.EpochPublic{key.Public()},
	}
	published, err := record.Sign(owner)
	must(err)

	sender, err := envelope.NewIdentity("billing")
	must(err)
	record, err = envelope.ParseKeyRecord(published)
	must(err)
	must(record.Verify(now, "warehouse.orders"))
	epoch, err := record.Choose(now)
	must(err)
	session, err := envelope.OpenSession(sender, record, epoch.Number, now)
	must(err)
	header := []byte("the clear header, which says that the message is padded")
	sealed, err := session.Seal(nil, header, envelope.Message{Form: envelope.FormPadded, Body: []byte("order 17")})
	must(err)

	keys := func(id [8]byte, _ uint32) *envelope.EpochKey {
		if id == key.ID() {
			return key
		}
		return nil
	}
	received, err := envelope.AcceptSession(session.Init(), record.MailboxID, record.Name, owner.PublicKey(), keys)
	must(err)
	opened, err := received.Open(nil, header, sealed, envelope.FormPadded)
	must(err)
	fmt.Printf("%s from %s\n", opened.Body, received.Sender().Subject)
	// Output: order 17 from billing
}
