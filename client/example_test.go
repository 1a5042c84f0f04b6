package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/sealmq/sealmq/client"
)

func Example() {
	ctx := context.Background()
	alice, bob, stop := client.ConnectTwo()
	defer stop()

	if _, err := bob.CreateMailbox(ctx, "bob.orders"); err != nil {
		log.Fatal(err)
	}
	sent, err := alice.Send(ctx, "bob.orders", []byte("two of each"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("stored as number", sent.Seq)

	messages, err := bob.Receive(ctx, "bob.orders", client.Max(10), client.Wait(20*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range messages {
		fmt.Printf("from %s: %s\n", m.Sender, m.Body)
		if err := m.Ack(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// stored as number 1
	// from alice: two of each
}

func ExampleConnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, client.FromContext("sealmq-dev/context.toml"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Println("connected as", c.Principal())
}

// A key makes a message be stored once, however often it is sent: by a retry, or by a program that starts again.
func ExampleKey() {
	ctx := context.Background()
	alice, bob, stop := client.ConnectTwo()
	defer stop()
	if _, err := bob.CreateMailbox(ctx, "bob.orders"); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		sent, err := alice.Send(ctx, "bob.orders", []byte("two of each"), client.Key("order-17"))
		fmt.Println(sent.Seq, sent.Duplicate, err)
	}
	_, err := alice.Send(ctx, "bob.orders", []byte("three of each"), client.Key("order-17"))
	var e *client.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, e.Outcome, e.Retryable)
	}
	// Output:
	// 1 false <nil>
	// 1 true <nil>
	// id_conflict definite false
}

// A sender has many messages on their way at once and keeps their order.
func ExampleClient_Sender() {
	ctx := context.Background()
	alice, bob, stop := client.ConnectTwo()
	defer stop()
	if _, err := bob.CreateMailbox(ctx, "bob.log"); err != nil {
		log.Fatal(err)
	}
	s := alice.Sender("bob.log")
	for i := range 1000 {
		s.Send(ctx, fmt.Appendf(nil, "line %d", i))
	}
	last := s.Send(ctx, []byte("the end"))
	if err := s.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	sent, err := last.Wait(ctx)
	fmt.Println(sent.Seq, err)
	// Output: 1001 <nil>
}

// A program that keeps many messages on their way goes on with each as its answer comes.
func ExampleThen() {
	ctx := context.Background()
	alice, bob, stop := client.ConnectTwo()
	defer stop()
	if _, err := bob.CreateMailbox(ctx, "bob.log"); err != nil {
		log.Fatal(err)
	}
	places := make(chan error, 8) // never more than so many without an answer
	for range cap(places) {
		places <- nil
	}
	s := alice.Sender("bob.log")
	for i := range 100 {
		if err := <-places; err != nil {
			log.Fatal(err)
		}
		s.Send(ctx, fmt.Appendf(nil, "line %d", i), client.Then(func(_ client.Sent, err error) { places <- err }))
	}
	for range cap(places) {
		if err := <-places; err != nil {
			log.Fatal(err)
		}
	}
	info, err := bob.ShowMailbox(ctx, "bob.log")
	fmt.Println(info.Ready, err)
	// Output: 100 <nil>
}

// A subscription acks what its handler returns nil for, and gives back what it returns an error for.
func ExampleClient_Subscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	alice, bob, stop := client.ConnectTwo()
	defer stop()
	if _, err := bob.CreateMailbox(ctx, "bob.orders"); err != nil {
		log.Fatal(err)
	}
	for _, order := range []string{"tea", "coffee", "enough"} {
		if _, err := alice.Send(ctx, "bob.orders", []byte(order)); err != nil {
			log.Fatal(err)
		}
	}
	err := bob.Subscribe(ctx, "bob.orders", func(ctx context.Context, m *client.Message) error {
		switch string(m.Body) {
		case "coffee":
			if m.Attempt == 1 {
				return client.NackWith(errors.New("the machine is cold"), client.Delay(50*time.Millisecond))
			}
		case "enough":
			if m.Attempt == 1 {
				return client.NackWith(errors.New("not yet"), client.Delay(200*time.Millisecond))
			}
			defer cancel()
		}
		fmt.Println("served", string(m.Body))
		return nil
	})
	fmt.Println(err)
	// Output:
	// served tea
	// served coffee
	// served enough
	// <nil>
}

// Whether it is safe to do something else instead follows from the outcome of an error.
func ExampleError() {
	var c *client.Client
	_, err := c.Send(context.Background(), "team.box", []byte("x"), client.Key("order-17"))
	var e *client.Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Outcome == client.Definite:
		fmt.Println("it was not stored:", e.Code)
	default:
		fmt.Println("it may be stored: send it again under the same key")
	}
}

// A name whose key has changed is refused until somebody who has asked its owner accepts the new one.
func ExamplePins() {
	pins, err := client.OpenPins("sealmq-dev/id/you/pins.toml")
	if err != nil {
		log.Fatal(err)
	}
	all, err := pins.List()
	if err != nil {
		log.Fatal(err)
	}
	for _, pin := range all {
		if pin.Changed() {
			fmt.Println(pin.Name, "was", pin.Fingerprint())
		}
	}
	if _, err := pins.Accept("billing"); err != nil {
		log.Fatal(err)
	}
}
