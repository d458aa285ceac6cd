package wire

// Kinds of messages for what callers at one server ask the leader for.
const (
	KindForwardRequest  Kind = 10
	KindForwardResponse Kind = 11
	KindReadRequest     Kind = 12
	KindReadResponse    Kind = 13
	KindCallRequest     Kind = 14
	KindCallResponse    Kind = 15
)

var _ = register(
	infoOf[ForwardRequest](KindForwardRequest),
	infoOf[ForwardResponse](KindForwardResponse),
	infoOf[ReadRequest](KindReadRequest),
	infoOf[ReadResponse](KindReadResponse),
	infoOf[CallRequest](KindCallRequest),
	infoOf[CallResponse](KindCallResponse),
)

// A ForwardRequest offers commands to the leader of exactly the message's Term (§6.2).
type ForwardRequest struct {
	// Start is the start counter of the origin, which is the sender.
	Start uint64
	// Lowest is the origin's lowest number without an answer. The origin never offers a command
	// below it again.
	Lowest uint64
	// Commands have neither index nor term nor origin.
	Commands []Entry
}

func (b *ForwardRequest) pack(p *packer) {
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Lowest)
	p.entries(&b.Commands)
}

// Message returns a message of this kind, without an envelope.
func (b ForwardRequest) Message() (m Message) { b.pack(m.begin(KindForwardRequest)); return m }

// ForwardRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) ForwardRequest() (b ForwardRequest) { b.pack(m.open(KindForwardRequest)); return b }

// A ForwardResponse lists the forwarded commands that the leader of the message's Term refuses for
// all of that term.
type ForwardResponse struct {
	Start   uint64 // of the ForwardRequest
	Refused []uint64
	// Why is RefusedFull, or 0 for commands of a kind that isn't in force.
	Why Refusal
}

func (b *ForwardResponse) pack(p *packer) {
	number(p, fieldStart, &b.Start)
	p.numbers(&b.Refused)
	number(p, fieldRefusal, &b.Why)
}

// Message returns a message of this kind, without an envelope.
func (b ForwardResponse) Message() (m Message) { b.pack(m.begin(KindForwardResponse)); return m }

// ForwardResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) ForwardResponse() (b ForwardResponse) {
	b.pack(m.open(KindForwardResponse))
	return b
}

// A ReadRequest asks the leader for a read index (§6.4). It is for all reads of one kind of this
// origin up to Number.
type ReadRequest struct {
	Start  uint64 // the start counter of the origin
	Number uint64
	// ByLease says that a lease may confirm these reads.
	ByLease bool
}

func (b *ReadRequest) pack(p *packer) {
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Number)
	p.flag(fieldByLease, &b.ByLease)
}

// Message returns a message of this kind, without an envelope.
func (b ReadRequest) Message() (m Message) { b.pack(m.begin(KindReadRequest)); return m }

// ReadRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) ReadRequest() (b ReadRequest) { b.pack(m.open(KindReadRequest)); return b }

// A ReadResponse answers a ReadRequest: the receiver may serve the reads up to Number once it has
// applied the log up to Index.
type ReadResponse struct {
	Index   Index
	Start   uint64 // these three are those of the ReadRequest
	Number  uint64
	ByLease bool
}

func (b *ReadResponse) pack(p *packer) {
	number(p, fieldIndex, &b.Index)
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Number)
	p.flag(fieldByLease, &b.ByLease)
}

// Message returns a message of this kind, without an envelope.
func (b ReadResponse) Message() (m Message) { b.pack(m.begin(KindReadResponse)); return m }

// ReadResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) ReadResponse() (b ReadResponse) { b.pack(m.open(KindReadResponse)); return b }

// A CallRequest asks the leader of exactly the message's Term to do what Call says.
type CallRequest struct {
	// Start is the start counter of the origin. Number is the origin's number of this call. Lowest
	// is its lowest number of a call without an answer.
	Start, Lowest, Number uint64
	Call                  *Call
}

func (b *CallRequest) pack(p *packer) {
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Lowest)
	one(p.numbers, b.Number == 0, &b.Number)
	p.call(&b.Call)
}

// Message returns a message of this kind, without an envelope.
func (b CallRequest) Message() (m Message) { b.pack(m.begin(KindCallRequest)); return m }

// CallRequest returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) CallRequest() (b CallRequest) { b.pack(m.open(KindCallRequest)); return b }

// A CallResponse answers the call Number. Done says that the leader did what was asked. Otherwise
// it refuses the call for all of the message's Term.
type CallResponse struct {
	// Index is the index of the configuration to which the call led, or 0.
	Index  Index
	Start  uint64 // of the CallRequest, like Number
	Number uint64
	Done   bool
	// About is the server on whose account the call was refused, or "". Refusal says why it was
	// refused.
	About   ServerID
	Refusal Refusal
}

func (b *CallResponse) pack(p *packer) {
	number(p, fieldIndex, &b.Index)
	number(p, fieldStart, &b.Start)
	number(p, fieldNumber, &b.Number)
	p.flag(fieldGranted, &b.Done)
	about := Server{ID: b.About}
	one(p.servers, b.About == "", &about)
	b.About = about.ID
	number(p, fieldRefusal, &b.Refusal)
}

// Message returns a message of this kind, without an envelope.
func (b CallResponse) Message() (m Message) { b.pack(m.begin(KindCallResponse)); return m }

// CallResponse returns the body of a message of this kind, and a zero one for any other kind.
func (m *Message) CallResponse() (b CallResponse) { b.pack(m.open(KindCallResponse)); return b }
