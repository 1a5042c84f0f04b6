package local

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sealmq/sealmq/broker"
)

// inside is a node in this process.
type inside struct {
	broker *broker.Broker
	once   sync.Once
	done   chan struct{}
}

func (c *Cluster) startInside(n *Node) (instance, error) {
	o := n.Options
	o.Logger = slog.New(slog.DiscardHandler)
	if c.Logger != nil {
		o.Logger = c.Logger(n.Name)
	}
	if c.Fatal != nil {
		o.Fatal = func(err error) { c.Fatal(n.Name, err) }
	}
	b, err := broker.Open(o)
	if err != nil {
		return nil, err
	}
	return &inside{broker: b, done: make(chan struct{})}, nil
}

// readyEvery is how often a node in this process is asked. Being ready is a state that groups and grants make up
// together, without an event of its own.
const readyEvery = 5 * time.Millisecond

func (i *inside) ready(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for !i.broker.Ready() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-i.done:
			return errors.New("it was ended")
		case <-tick.C:
		}
	}
	return nil
}

func (i *inside) stop(ctx context.Context) error {
	var err error
	i.once.Do(func() {
		err = i.broker.Shutdown(ctx)
		close(i.done)
	})
	return err
}

func (i *inside) kill() {
	i.once.Do(func() {
		i.broker.Close()
		close(i.done)
	})
}

func (i *inside) ended() <-chan struct{} { return i.done }

func (i *inside) pid() int { return 0 }
