package broker

import (
	"errors"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/wire"
)

// decoded are the messages of the hot path, decoded into again and again. Only the goroutine that reads a connection
// uses them, and nothing keeps a part of one: what outlives the request is copied into the open entry.
type decoded struct {
	send   wire.Send
	ack    wire.Ack
	nack   wire.Nack
	extend wire.Extend

	command machine.Send
	headers []byte // the clear headers of a send, one after another
	ranges  []machine.SeqRange
}

// dispatch hands a request to its handler, which answers it now or when its command was applied. An error ends the
// connection: its bytes were not a message.
func (c *conn) dispatch(t wire.Type, request uint32, payload []byte) error {
	switch t {
	case wire.TypeCredit:
		return notAnswered(c.handleCredit(request, payload))
	case wire.TypeUnsubscribe:
		return notAnswered(c.handleUnsubscribe(request, payload))
	case wire.TypePong:
		return notAnswered(new(wire.Pong).Decode(payload))
	}
	err := c.begin(request, wire.FrameHeaderBytes+len(payload))
	switch {
	case errors.Is(err, wire.ErrRequestID):
		return err
	case err != nil:
		return c.failErr(request, nil, err)
	}
	if err = c.handle(t, request, payload); err == nil {
		return nil
	}
	// A message that parses as one but asks for what this version does not do is refused; the connection goes on.
	code, closes := wire.CodeOf(err)
	if !closes {
		c.fail(request, code, err.Error())
		return nil
	}
	return err
}

// notAnswered lets a message that has no answer pass that this version does not understand but that is one.
func notAnswered(err error) error {
	if _, closes := wire.CodeOf(err); err == nil || !closes {
		return nil
	}
	return err
}

func (c *conn) handle(t wire.Type, request uint32, payload []byte) error {
	switch t {
	case wire.TypeSend:
		return c.handleSend(request, payload)
	case wire.TypeAck:
		return c.handleAck(request, payload)
	case wire.TypeNack:
		return c.handleNack(request, payload)
	case wire.TypeExtend:
		return c.handleExtend(request, payload)
	case wire.TypePull:
		return c.handlePull(request, payload)
	case wire.TypeSubscribe:
		return c.handleSubscribe(request, payload)
	case wire.TypeSessionPut:
		return c.handleSessionPut(request, payload)
	case wire.TypeSessionGet:
		return c.handleSessionGet(request, payload)
	case wire.TypeResolve:
		return c.handleResolve(request, payload)
	case wire.TypeKeyRecordPublish:
		return c.handleKeyRecordPublish(request, payload)
	case wire.TypeKeyLookup:
		return c.handleKeyLookup(request, payload)
	case wire.TypeMailboxCreate:
		return c.handleMailboxCreate(request, payload)
	case wire.TypeMailboxShow:
		return c.handleMailboxShow(request, payload)
	case wire.TypeMailboxList:
		return c.handleMailboxList(request, payload)
	case wire.TypeMailboxDelete:
		return c.handleMailboxDelete(request, payload)
	case wire.TypeGrantAdd:
		return c.handleGrantAdd(request, payload)
	case wire.TypeGrantRemove:
		return c.handleGrantRemove(request, payload)
	case wire.TypeGrantList:
		return c.handleGrantList(request, payload)
	case wire.TypeSlotMap:
		return c.handleSlotMap(request, payload)
	case wire.TypeClusterStatus:
		return c.handleClusterStatus(request, payload)
	case wire.TypePing:
		return c.handlePing(request, payload)
	}
	c.fail(request, wire.CodeUnsupported, "this node does not serve "+t.String())
	return nil
}

func (c *conn) handlePing(request uint32, payload []byte) error {
	var m wire.Ping
	if err := m.Decode(payload); err != nil {
		return err
	}
	c.answer(request, &wire.Pong{TimeMillis: c.broker.clock.now()})
	return nil
}
