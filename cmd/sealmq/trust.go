package main

import (
	"encoding/hex"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/envelope"
)

const trustHelp = `A name belongs to the key that it was first seen with: whoever sends or receives under another key
later is refused, and the message is neither shown nor acknowledged. Compare the new fingerprint
with its owner by another way than this cluster, then accept it.`

func newTrust(a *app) *cobra.Command {
	c := group("trust", "Show and accept the identity keys of others",
		&cobra.Command{
			Use: "ls", Short: "List the names and keys that are trusted", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				pins, err := a.pins()
				if err != nil {
					return err
				}
				all, err := pins.List()
				if err != nil {
					return err
				}
				d := pinListDoc{Kind: "PinList", Items: []pinDoc{}}
				for _, p := range all {
					d.Items = append(d.Items, pinOf("", p))
				}
				return a.out.document(d)
			},
		},
		&cobra.Command{
			Use: "show NAME", Short: "Show the key of a name, and the one that was refused", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				pins, err := a.pins()
				if err != nil {
					return err
				}
				pin, found, err := pins.Lookup(args[0])
				if err != nil {
					return err
				}
				if !found {
					return notThere("it is pinned with the first message to or from it", "%q has not been seen yet", args[0])
				}
				return a.out.document(pinOf("Pin", pin))
			},
		},
		&cobra.Command{
			Use: "accept NAME", Short: "Trust the key that a name came with last", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				pins, err := a.pins()
				if err != nil {
					return err
				}
				pin, err := pins.Accept(args[0])
				if errors.Is(err, client.ErrNotOffered) {
					return notThere("sealmq trust ls shows what there is", "no other key of %q waits to be accepted", args[0])
				}
				if err != nil {
					return err
				}
				a.out.say("messages that were refused for it come again within a minute")
				if pin.Name != args[0] {
					// It is the owner of a mailbox that was accepted: the pin is another's, or not there yet.
					return a.out.document(doneDoc{Kind: "Done", What: "accepted", Name: args[0]})
				}
				return a.out.document(pinOf("Pin", pin))
			},
		})
	c.Long = trustHelp
	return c
}

func (a *app) pins() (*client.Pins, error) {
	dir, err := a.identityDir()
	if err != nil {
		return nil, err
	}
	return client.OpenPins(filepath.Join(dir, pinsFile))
}

func pinOf(kind string, p client.Pin) pinDoc {
	d := pinDoc{
		Kind: kind, Name: p.Name, Key: hex.EncodeToString(p.Key[:]), Fingerprint: p.Fingerprint(),
		PinnedAt: stamp(p.FirstSeen),
	}
	if p.Changed() {
		d.RefusedKey, d.RefusedFingerprint = hex.EncodeToString(p.Offered[:]), envelope.Fingerprint(p.Offered)
	}
	return d
}
