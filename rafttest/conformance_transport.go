package rafttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// TransportOptions are the settings of TestTransport. The zero value is a good choice.
type TransportOptions struct {
	// Patience is how long a check waits for something that must happen. A check that fails takes
	// this time, or a few times of it. In a testing/synctest bubble it takes no real time. The
	// default is 10 s.
	Patience time.Duration

	// Pause is how long a check waits for something that must not happen. The default is 50 ms.
	Pause time.Duration

	// MaxMemory bounds the memory that a receiver that hangs may cost the sender, in bytes. The
	// default is 128 MiB.
	MaxMemory int

	// Inline says that Send itself calls the receiver's handler and that this handler never blocks.
	// The check of a receiver that hangs is left out then.
	Inline bool
}

// withDefaults returns o with its zero values replaced.
func (o TransportOptions) withDefaults() TransportOptions {
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	if o.Pause == 0 {
		o.Pause = 50 * time.Millisecond
	}
	if o.MaxMemory == 0 {
		o.MaxMemory = 128 << 20
	}
	return o
}

// TestTransport checks a transport against the contract of raft.Transport. join returns a transport
// for a server, which is not started yet, and the address at which the others reach the server.
// join is called with each ID once, except for one server that moves to another address. The
// network must be a good one: the checks can't tell a network that loses or delays messages from a
// transport that does. TestTransport returns nil, or an error that says, for each broken rule, what
// was expected and what was found.
func TestTransport(join func(id raft.ServerID) (raft.Transport, string, error), options TransportOptions) error {
	var failures []error
	for i, c := range transportChecks {
		n := &testNetwork{watch: newWatch(), join: join, options: options.withDefaults(), suffix: fmt.Sprint(i), over: make(chan struct{})}
		err := n.run(func() { c.check(n) })
		close(n.over)
		if err := n.withPanic(errors.Join(err, n.close())); err != nil {
			failures = append(failures, fmt.Errorf("rafttest: transport: %s: %w\n\tthe rule: %s", c.name, err, c.rule))
		}
	}
	return errors.Join(failures...)
}

// A transportCheck checks one rule of the contract.
type transportCheck struct {
	name, rule string
	check      func(*testNetwork)
}

var transportChecks = []transportCheck{
	{"messages", "what arrives is what was sent; it belongs to the receiver, and its memory isn't used again", checkMessages},
	{"order", "messages to one server usually arrive in order", checkOrder},
	{"absent receiver", "Send never blocks and never fails: what can't be sent is dropped", checkAbsent},
	{"hung receiver", "a slow, hung or absent receiver costs a bounded amount of memory and delays nobody else", checkHung},
	{"answers", "a server that is not among those that SetServers names can be answered when it has itself connected", checkAnswers},
	{"servers", "SetServers names the servers that messages may be sent to, again at each change", checkServers},
	{"stream", "a stream carries every byte, and its reader returns io.EOF when the writer closed it", checkStream},
	{"broken stream", "a stream that breaks fails on both sides; its reader never returns io.EOF then", checkBrokenStream},
	{"slow stream", "writing to a stream blocks while the receiver doesn't read", checkSlowStream},
	{"no stream", "a stream to a server that can't be reached is an error", checkNoStream},
	{"close", "Close may be called at any time, also twice", checkTransportClose},
	{"close under load", "after Close has returned, no call to the handler is under way and none comes", checkQuietAfterClose},
	{"address", "a message that says where to go arrives there, is answered, and leaves other connections alone", checkAddress},
	{"senders", "several goroutines may call Send at the same time; what one of them sends to a server usually arrives in order", checkSenders},
	{"streams", "several streams from one server to another carry each its own bytes", checkStreams},
}

// A testNetwork holds the servers of one check.
type testNetwork struct {
	*watch
	join    func(raft.ServerID) (raft.Transport, string, error)
	options TransportOptions
	suffix  string // of the IDs in this check
	servers []*testServer
	over    chan struct{} // closed when nobody waits for the check any more
}

// A testServer is a transport together with the handler of what it brings.
type testServer struct {
	raft.Transport
	raft.Server
	network *testNetwork

	mu       sync.Mutex
	messages []wire.Message // received, but not yet taken
	arrived  chan struct{}  // holds a token when there are messages
	streams  chan *testStream
	opened   []*testStream // all streams so far
	hang     chan struct{} // when not nil, Receive waits until this is closed
	calls    int           // calls of the handler that are under way
	closed   bool          // Close has returned
	late     error         // the error about a call of the handler after that
}

// A testStream is a stream that a server has received. Its handler returns when done is closed.
type testStream struct {
	from   raft.ServerID
	reader io.ReadCloser
	done   chan struct{}
	end    func() // closes done; a second call does nothing
}

// server joins a server but doesn't start it.
func (n *testNetwork) server(name string) *testServer {
	s := &testServer{network: n, arrived: make(chan struct{}, 1), streams: make(chan *testStream, 100)}
	s.ID = raft.ServerID(name + n.suffix)
	var err error
	n.within("joining "+string(s.ID), func() { s.Transport, s.Address, err = n.join(s.ID) })
	must("joining "+string(s.ID), err)
	n.servers = append(n.servers, s)
	return s
}

// start starts servers that know each other.
func (n *testNetwork) start(names ...string) []*testServer {
	var servers []*testServer
	var known []raft.Server
	for _, name := range names {
		s := n.server(name)
		s.start()
		servers, known = append(servers, s), append(known, s.Server)
	}
	for i, s := range servers {
		s.SetServers(slices.Concat(known[:i], known[i+1:]))
	}
	return servers
}

func (s *testServer) start() { must("Start of "+string(s.ID), s.tryStart()) }

// tryStart starts a server, which may fail.
func (s *testServer) tryStart() (err error) {
	s.network.within("Start of "+string(s.ID), func() { err = s.Transport.Start(s.Server, (*testHandler)(s)) })
	return err
}

// SetServers calls that method of the transport, which must return in time.
func (s *testServer) SetServers(servers []raft.Server) {
	s.network.within("SetServers of "+string(s.ID), func() { s.Transport.SetServers(servers) })
}

// Send calls that method of the transport, which must return in time.
func (s *testServer) Send(m wire.Message) {
	s.network.within(fmt.Sprintf("Send from %s to %s", s.ID, m.To), func() { s.Transport.Send(m) })
}

// OpenStream calls that method of the transport.
func (s *testServer) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	w, err := s.Transport.OpenStream(ctx, to)
	if err != nil {
		return nil, err
	}
	return testWriter{w, s.network.watch}, nil
}

// within calls f, which must return in time.
func (n *testNetwork) within(call string, f func()) { n.watch.within(n.options.Patience, call, f) }

// pause waits for something that must not happen.
func (n *testNetwork) pause() { <-time.After(n.options.Pause) }

// close closes all servers. It then reports calls of a handler that came after Close had returned.
func (n *testNetwork) close() error {
	var failures []error
	for _, s := range n.servers {
		s.letGo()
		w := newWatch() // a hang of one must not keep the others open
		failures = append(failures, w.run(func() { s.shutBy(w) }))
	}
	n.pause()
	select {
	case err := <-n.hung: // of a handler
		failures = append(failures, err)
	default:
	}
	for _, s := range n.servers {
		s.mu.Lock()
		failures = append(failures, s.late)
		s.mu.Unlock()
	}
	return errors.Join(failures...)
}

// close closes a server. Before, it releases the calls that hang in its handler.
func (s *testServer) close() {
	s.letGo()
	s.shut()
}

// shut closes a server. The transport waits for the calls of its handler.
func (s *testServer) shut() { s.shutBy(s.network.watch) }

func (s *testServer) shutBy(w *watch) {
	var err error
	w.within(s.network.options.Patience, "Close of "+string(s.ID), func() { err = s.Transport.Close() })
	must("Close of "+string(s.ID), err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls > 0 && !s.closed {
		convict("Close of %s returned while %d calls to its handler were under way", s.ID, s.calls)
	}
	s.closed = true
}

// makeHang makes the handler hang in Receive from now on, until letGo is called. letGo also ends
// the handling of streams.
func (s *testServer) makeHang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hang = make(chan struct{})
}

func (s *testServer) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang != nil {
		close(s.hang)
		s.hang = nil
	}
	for _, stream := range s.opened {
		stream.end()
	}
}

// A testHandler is the side of a server that its transport calls.
type testHandler testServer

// begin notes that a call of the handler begins, and end that it ends. The call must wait until
// hang is closed, unless hang is nil.
func (h *testHandler) begin(call string) (hang chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if h.closed && h.late == nil {
		h.late = fmt.Errorf("the handler of %s was called with %s after Close had returned", h.ID, call)
	}
	return h.hang
}

func (h *testHandler) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls--
}

// Receive implements raft.Handler.
func (h *testHandler) Receive(m wire.Message) {
	hang := h.begin("a message")
	defer h.end()
	if hang != nil {
		<-hang
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, m)
	select {
	case h.arrived <- struct{}{}:
	default:
	}
}

// Stream implements raft.Handler.
func (h *testHandler) Stream(from raft.ServerID, reader io.ReadCloser) {
	h.begin("a stream")
	defer h.end()
	done := make(chan struct{})
	reader = testReader{reader, h.network.watch}
	stream := &testStream{from, reader, done, sync.OnceFunc(func() { close(done) })}
	h.mu.Lock()
	h.opened = append(h.opened, stream)
	h.mu.Unlock()
	h.streams <- stream
	<-done
	// The check may have closed it already, and so its error doesn't count.
	_ = h.network.timed(h.network.options.Patience, "Close of a stream's reader", func() { _ = reader.Close() })
}

// Lost implements raft.Handler.
func (h *testHandler) Lost(raft.ServerID) {
	h.begin("the loss of a server")
	h.end()
}

// take returns the messages that have arrived since the last call.
func (s *testServer) take() []wire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := s.messages
	s.messages = nil
	return messages
}

// deliver sends a message again and again until it arrives, and returns it as it arrived. A
// transport may lose a message, but not all copies of it.
func (s *testServer) deliver(m wire.Message, to *testServer) wire.Message {
	m.From, m.To = s.ID, to.ID
	deadline := time.NewTimer(s.network.options.Patience)
	defer deadline.Stop()
	again := time.NewTicker(s.network.options.Pause)
	defer again.Stop()
	for {
		s.Send(m)
		for waiting := true; waiting; {
			for _, got := range to.take() {
				if got.Term == m.Term && got.Kind() == m.Kind() && got.From == m.From {
					return got
				}
			}
			select {
			case <-to.arrived:
			case <-again.C:
				waiting = false
			case <-deadline.C:
				convict("a message from %s to %s, sent again and again for %v, hasn't arrived", s.ID, to.ID, s.network.options.Patience)
			}
		}
	}
}

// same checks that a message is the one that was sent.
func same(got, want wire.Message) {
	if !slices.EqualFunc(got.Entries(), want.Entries(), sameEntry) {
		convict("the entries of a message arrived as %s, want %s", describeEntries(got.Entries()), describeEntries(want.Entries()))
	}
	if !got.Equal(&want) {
		convict("a message arrived as %v, want %v", got, want)
	}
}

// messageOf makes up a message of a kind, with its number in its term. If the number is odd, it names
// a group.
func messageOf(kind wire.Kind, number uint64) wire.Message {
	var m wire.Message
	switch kind {
	case wire.KindVoteRequest:
		m = wire.VoteRequest{
			Last: wire.Place{Index: 1 << 62, Term: 5}, FoundedFrom: number, Transfer: true,
			Bootstrap: []raft.Server{{ID: "a", Address: "a.example:1"}, {ID: "b"}},
		}.Message()
	case wire.KindAppendRequest:
		m = wire.AppendRequest{Previous: wire.Place{Index: 41, Term: 7}, Commit: 40, Entries: []raft.Entry{
			{Index: 42, Term: 7, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "b", Start: 9}, Number: 1 << 40, Data: bytes.Repeat([]byte{byte(number)}, 300)},
			{Index: 43, Term: 8, Kind: wire.EntryNoOp},
			{Index: 44, Term: 8, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 1}, Number: 2, Data: bytes.Repeat([]byte("large"), 40_000)},
		}}.Message()
	case wire.KindAppendResponse:
		m = wire.AppendResponse{Accepted: true, Index: 44, Agree: wire.Place{Index: 43, Term: 8}}.Message()
	case wire.KindForwardResponse:
		m = wire.ForwardResponse{Start: 3, Refused: []uint64{1, 5, 1 << 50}}.Message()
	case wire.KindHeartbeat:
		m = wire.Heartbeat{Commit: 44, Round: number, Lease: time.Second}.Message()
	case wire.KindHeartbeatResponse:
		m = wire.HeartbeatResponse{
			Durable: 44, Received: 50, Round: 1 << 33, Lost: 7, Lease: time.Second, Fitness: 3, Level: wire.LatestLevel,
		}.Message()
	}
	m.Term, m.Cluster, m.FromIncarnation, m.ToIncarnation = 1<<61+raft.Term(number), raft.ClusterID{1, 15: 9}, 1<<63+7, 3
	if number%2 == 1 {
		m.Group = raft.GroupID(fmt.Sprint("group ", number))
	}
	return m
}

func checkMessages(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	var kept, sent []wire.Message
	for number := uint64(1); number <= 60; number++ {
		kinds := []wire.Kind{wire.KindVoteRequest, wire.KindAppendRequest, wire.KindAppendResponse, wire.KindForwardResponse, wire.KindHeartbeat, wire.KindHeartbeatResponse}
		kind := kinds[number%uint64(len(kinds))]
		m := withEnds(messageOf(kind, number), a, b)
		got := a.deliver(m, b)
		during("Send has changed what it was lent", func() { same(m, withEnds(messageOf(kind, number), a, b)) })
		same(got, m)
		kept, sent = append(kept, got), append(sent, m)
	}
	for i := range kept {
		during("a message that was received has changed since", func() { same(kept[i], sent[i]) })
	}
}

// withEnds returns the message with its sender and its receiver set.
func withEnds(m wire.Message, from, to *testServer) wire.Message {
	m.From, m.To = from.ID, to.ID
	return m
}
