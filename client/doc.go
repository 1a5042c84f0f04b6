// Package client sends sealed messages to mailboxes of a SealMQ cluster and receives them.
//
//	c, err := client.Connect(ctx, client.FromContext(path))
//	sent, err := c.Send(ctx, "team.box", body, client.Key("order-17"))
//	err = c.Subscribe(ctx, "team.box", func(ctx context.Context, m *client.Message) error { ... })
//
// What is sent is sealed here, to the keys that the mailbox's owner has signed, and opened here: no node can read it,
// and there is no way to send anything else. The name of a sender, or of a mailbox's owner, belongs to the identity key
// that it first came with ([Pins]); another key under it is an error until somebody accepts it.
//
// It knows nodes and who leads what, what may be tried again and under which id, when to seal and open, private keys
// and pins and the files that they lie in. It must not know how nodes agree, store or decide.
//
// Laws:
//
//   - Every failure is an [*Error] that says whether what was asked for certainly did not happen or may have. A message
//     is tried again under its id until its time is up or the cluster may have forgotten the id, and the cluster
//     stores an id once.
//   - Every call ends: with its context, or after 30 s if that has no deadline. Subscribe alone goes on.
//   - Nothing is sealed to a key whose record does not verify, is out of date, or belongs to an owner other than the
//     pinned one; nothing is shown whose sender is not the pinned one. There is no downgrade.
//   - A private key is on disk, and was read back from it, before its public half is published.
//   - Memory is bounded: by a sender's buffer, by a subscription's credit, by the limits that nodes announce.
//   - The hot path has no goroutine and no timer for each message: a connection asks senders for their next batch when
//     its last write has returned, and answers come by the batch.
//   - There is no global state but pools of buffers; everything is safe for concurrent use.
//
// Bytes (docs/FORMATS.md):
//
//	DIR/keyring/MAILBOX.keys   version 1 | label | mailbox id 16 | name | keys (published 8 | replaced 8 | epoch key)* |
//	                           digest 32
//	DIR/pins.toml, context.toml   a subset of TOML, see toml.go
package client
