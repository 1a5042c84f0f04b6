package machine

// Outcome is what one command did. Its slices belong to the run of Apply that returned it and are never changed
// afterwards.
type Outcome struct {
	// Code is about the whole command. Commands with several items answer those in Sends or Codes.
	Code Code
	// Wake is set when this command made messages ready, or made room to lease ones that were.
	Wake bool
	// More is set by a tick that stopped at its limit of work: propose another.
	More bool
	// Mailbox is the mailbox that the command was about, if it was about one.
	Mailbox [16]byte
	// Ready counts the mailbox's messages that can be leased after the command.
	Ready uint64
	// TimeMillis is the replicated time at which the command was applied.
	TimeMillis int64
	// Deadline is when what this command holds comes free, in replicated time: the deadline of a lease given or
	// extended, the time at which messages nacked with a delay come back. 0 if it holds nothing.
	Deadline int64
	// Lease is the lease that the messages in Deliveries are held by. A repeated attempt gets the first one's.
	Lease [8]byte
	// Grant is the id of the grant that was added, or that was there before.
	Grant [8]byte
	// Deliveries are the messages that a lease command was given, in order.
	Deliveries []Delivery
	// Sends answers the items of a send, in order.
	Sends []SendRun
	// Codes answers the items of a create or session put, or the sequence numbers of an ack, nack, extend or
	// expire in the order in which they were named.
	Codes []CodeRun
}

// SendRun answers Count consecutive items of a send. With CodeOK, Seq is the number of the first of them and the others
// follow on. Duplicate means that the items were stored by an earlier send, whose numbers these are.
type SendRun struct {
	Count     uint32
	Code      Code
	Duplicate bool
	Seq       uint64
}

// CodeRun answers Count consecutive items alike.
type CodeRun struct {
	Count uint32
	Code  Code
}

// Delivery is one leased message: where its body record is, and what to tell the receiver.
type Delivery struct {
	Seq             uint64
	Index, Term     uint64 // of the entry that holds the body record
	Offset, Length  uint32 // of the body record in the entry
	Digest          [16]byte
	StoredMillis    int64
	Epoch           uint32
	NotAfterMinutes uint32
	Attempts        uint32 // leases of this message, this one included
	Failures        uint32
}

// slab hands out the slices of the outcomes of one run of Apply from few allocations.
type slab struct {
	deliveries []Delivery
	sends      []SendRun
	codes      []CodeRun
}
