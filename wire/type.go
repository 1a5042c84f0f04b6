package wire

import "strconv"

// Type is the type of a message, the first byte of a frame after its length.
type Type uint8

// The message types. Numbers are only ever appended; 8 and 9 are kept for proofs of identity.
const (
	TypeHello      Type = 1
	TypeHelloReply Type = 2
	TypeFailure    Type = 3
	TypePing       Type = 4
	TypePong       Type = 5
	TypeGoAway     Type = 6
	TypeDone       Type = 7

	TypeSend            Type = 16
	TypeSendReply       Type = 17
	TypeSessionPut      Type = 18
	TypeSessionPutReply Type = 19
	TypeSessionGet      Type = 20
	TypeSessionGetReply Type = 21

	TypePull            Type = 32
	TypeSubscribe       Type = 33
	TypeCredit          Type = 34
	TypeUnsubscribe     Type = 35
	TypeSubscriptionEnd Type = 36
	TypeDeliver         Type = 37
	TypeAck             Type = 38
	TypeNack            Type = 39
	TypeExtend          Type = 40
	TypeLeaseReply      Type = 41

	TypeMailboxCreate      Type = 48
	TypeMailboxCreateReply Type = 49
	TypeMailboxShow        Type = 50
	TypeMailboxInfo        Type = 51
	TypeMailboxList        Type = 52
	TypeMailboxListReply   Type = 53
	TypeMailboxDelete      Type = 54

	TypeKeyRecordPublish Type = 64
	TypeResolve          Type = 65
	TypeResolveReply     Type = 66
	TypeKeyLookup        Type = 67
	TypeKeyLookupReply   Type = 68

	TypeGrantAdd         Type = 80
	TypeGrantAddReply    Type = 81
	TypeGrantRemove      Type = 82
	TypeGrantRemoveReply Type = 83
	TypeGrantList        Type = 84
	TypeGrantListReply   Type = 85

	TypeSlotMap            Type = 96
	TypeSlotMapReply       Type = 97
	TypeClusterStatus      Type = 98
	TypeClusterStatusReply Type = 99
)

// Message is one message of the protocol.
type Message interface {
	// Type returns the number that the frame carries.
	Type() Type
	// Append appends the payload.
	Append(dst []byte) []byte
	// Decode reads a whole payload. Byte slices of the message alias it; slices that the message already has are
	// used again. An error is a [*DecodeError].
	Decode(payload []byte) error
}

// side says who sends a message.
type side uint8

const (
	fromClient side = 1 << iota
	fromServer
)

type typeInfo struct {
	name  string
	from  side
	fresh func() Message
}

// message makes the row of a message type. P is the pointer that implements Message.
func message[T any, P interface {
	*T
	Message
}](name string, from side) typeInfo {
	return typeInfo{name, from, func() Message { return P(new(T)) }}
}

var types = [...]typeInfo{
	TypeHello:      message[Hello]("hello", fromClient),
	TypeHelloReply: message[HelloReply]("hello_reply", fromServer),
	TypeFailure:    message[Failure]("failure", fromServer),
	TypePing:       message[Ping]("ping", fromClient|fromServer),
	TypePong:       message[Pong]("pong", fromClient|fromServer),
	TypeGoAway:     message[GoAway]("goaway", fromServer),
	TypeDone:       message[Done]("done", fromServer),

	TypeSend:            message[Send]("send", fromClient),
	TypeSendReply:       message[SendReply]("send_reply", fromServer),
	TypeSessionPut:      message[SessionPut]("session_put", fromClient),
	TypeSessionPutReply: message[SessionPutReply]("session_put_reply", fromServer),
	TypeSessionGet:      message[SessionGet]("session_get", fromClient),
	TypeSessionGetReply: message[SessionGetReply]("session_get_reply", fromServer),

	TypePull:            message[Pull]("pull", fromClient),
	TypeSubscribe:       message[Subscribe]("subscribe", fromClient),
	TypeCredit:          message[Credit]("credit", fromClient),
	TypeUnsubscribe:     message[Unsubscribe]("unsubscribe", fromClient),
	TypeSubscriptionEnd: message[SubscriptionEnd]("subscription_end", fromServer),
	TypeDeliver:         message[Deliver]("deliver", fromServer),
	TypeAck:             message[Ack]("ack", fromClient),
	TypeNack:            message[Nack]("nack", fromClient),
	TypeExtend:          message[Extend]("extend", fromClient),
	TypeLeaseReply:      message[LeaseReply]("lease_reply", fromServer),

	TypeMailboxCreate:      message[MailboxCreate]("mailbox_create", fromClient),
	TypeMailboxCreateReply: message[MailboxCreateReply]("mailbox_create_reply", fromServer),
	TypeMailboxShow:        message[MailboxShow]("mailbox_show", fromClient),
	TypeMailboxInfo:        message[MailboxInfo]("mailbox_info", fromServer),
	TypeMailboxList:        message[MailboxList]("mailbox_list", fromClient),
	TypeMailboxListReply:   message[MailboxListReply]("mailbox_list_reply", fromServer),
	TypeMailboxDelete:      message[MailboxDelete]("mailbox_delete", fromClient),

	TypeKeyRecordPublish: message[KeyRecordPublish]("key_record_publish", fromClient),
	TypeResolve:          message[Resolve]("resolve", fromClient),
	TypeResolveReply:     message[ResolveReply]("resolve_reply", fromServer),
	TypeKeyLookup:        message[KeyLookup]("key_lookup", fromClient),
	TypeKeyLookupReply:   message[KeyLookupReply]("key_lookup_reply", fromServer),

	TypeGrantAdd:         message[GrantAdd]("grant_add", fromClient),
	TypeGrantAddReply:    message[GrantAddReply]("grant_add_reply", fromServer),
	TypeGrantRemove:      message[GrantRemove]("grant_remove", fromClient),
	TypeGrantRemoveReply: message[GrantRemoveReply]("grant_remove_reply", fromServer),
	TypeGrantList:        message[GrantList]("grant_list", fromClient),
	TypeGrantListReply:   message[GrantListReply]("grant_list_reply", fromServer),

	TypeSlotMap:            message[SlotMap]("slot_map", fromClient),
	TypeSlotMapReply:       message[SlotMapReply]("slot_map_reply", fromServer),
	TypeClusterStatus:      message[ClusterStatus]("cluster_status", fromClient),
	TypeClusterStatusReply: message[ClusterStatusReply]("cluster_status_reply", fromServer),
}

// Known says whether this version has messages of type t.
func (t Type) Known() bool { return int(t) < len(types) && types[t].fresh != nil }

// String returns the type's name in snake_case.
func (t Type) String() string {
	if t.Known() {
		return types[t].name
	}
	return "type_" + strconv.Itoa(int(t))
}

// Types returns every known type in ascending order.
func Types() []Type {
	var all []Type
	for t := range len(types) {
		if Type(t).Known() {
			all = append(all, Type(t))
		}
	}
	return all
}

// New returns an empty message of type t, nil if t is not known.
func New(t Type) Message {
	if !t.Known() {
		return nil
	}
	return types[t].fresh()
}

// Decode decodes a payload into a new message. Who decodes many messages of a type keeps one and calls its Decode.
func Decode(t Type, payload []byte) (Message, error) {
	m := New(t)
	if m == nil {
		return nil, &DecodeError{t, ErrUnknownType}
	}
	if err := m.Decode(payload); err != nil {
		return nil, err
	}
	return m, nil
}

// Phase is what has happened on a connection.
type Phase uint8

// The phases of a connection as its node sees it.
const (
	PhaseNew  Phase = iota // nothing was read: only a hello may come
	PhaseOpen              // the hello was answered and an identity is proved
)

// CheckFromClient says whether a node in this phase of a connection may read a frame of this type and request id. A
// node ends the connection on an error other than [ErrUnknownType] in an open connection.
func CheckFromClient(phase Phase, t Type, request uint32) error {
	switch {
	case phase == PhaseNew && t != TypeHello:
		return ErrNoHello
	case phase != PhaseNew && t == TypeHello:
		return ErrOutOfOrder
	case !t.Known():
		return ErrUnknownType
	case types[t].from&fromClient == 0:
		return ErrOutOfOrder
	case request == 0:
		return ErrRequestID
	}
	return nil
}

// CheckFromServer is the same for a client that reads from a node. Only a goaway, and a failure that ends the
// connection, come under request id 0.
func CheckFromServer(t Type, request uint32) error {
	switch {
	case !t.Known():
		return ErrUnknownType
	case types[t].from&fromServer == 0:
		return ErrOutOfOrder
	case request == 0 && t != TypeGoAway && t != TypeFailure, request != 0 && t == TypeGoAway:
		return ErrRequestID
	}
	return nil
}
