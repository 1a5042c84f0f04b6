package client

import (
	"context"
	"os"

	"github.com/sealmq/sealmq/envelope"
)

// ConnectTwo connects two services to a cluster that lives as long as an example does.
func ConnectTwo() (alice, bob *Client, stop func()) {
	dir, err := os.MkdirTemp("", "sealmq-example")
	if err != nil {
		panic(err)
	}
	f := makeFake(3, false)
	service := func(name string) *Client {
		id, err := envelope.NewIdentity(name)
		if err != nil {
			panic(err)
		}
		keys, err := OpenKeyStore(dir + "/" + name)
		if err != nil {
			panic(err)
		}
		c, err := Connect(context.Background(), f.optionsFor(name, id, keys))
		if err != nil {
			panic(err)
		}
		return c
	}
	alice, bob = service("alice"), service("bob")
	return alice, bob, func() {
		alice.Close()
		bob.Close()
		f.close()
		os.RemoveAll(dir)
	}
}
