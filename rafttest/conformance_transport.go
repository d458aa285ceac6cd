package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// TransportOptions are the settings of TestTransport. The zero value is a good choice.
type TransportOptions struct {
	// Patience is how long something may take that is due at once (10 s). A check that fails takes so long, or a few
	// times. In a testing/synctest bubble that is no time.
	Patience time.Duration

	// Pause is how long it is waited for something that must not happen (50 ms).
	Pause time.Duration

	// MaxMemory is what a receiver that hangs may cost the sender, in bytes (128 MiB).
	MaxMemory int

	// Inline says that Send itself calls the receiver's handler, which never blocks. No handler is made to hang then.
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

// TestTransport checks a transport against the contract of raft.Transport. join returns a transport for a server, not yet
// started, and the address at which the others reach it; it is called with another ID each time but once, for a server
// that moves. The network must be a good one: what loses or delays messages is not at fault, but can't be told from what
// is. TestTransport returns an error that tells for each broken rule what was expected and what was found, or nil.
func TestTransport(join func(id raft.ServerID) (raft.Transport, string, error), options TransportOptions) error {
	var failures []error
	for i, c := range transportChecks {
		n := &testNetwork{join: join, options: options.withDefaults(), suffix: fmt.Sprint(i)}
		if err := errors.Join(c.check(n), n.close()); err != nil {
			failures = append(failures, fmt.Errorf("rafttest: transport: %s: %w\n\tthe rule: %s", c.name, err, c.rule))
		}
	}
	return errors.Join(failures...)
}

// A transportCheck checks one rule of the contract.
type transportCheck struct {
	name, rule string
	check      func(*testNetwork) error
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
}

// A testNetwork is the servers of one check.
type testNetwork struct {
	join    func(raft.ServerID) (raft.Transport, string, error)
	options TransportOptions
	suffix  string // of the IDs in this check
	servers []*testServer
}

// A testServer is a transport and the handler of what it brings.
type testServer struct {
	raft.Transport
	raft.Server
	network *testNetwork

	mu       sync.Mutex
	messages []raft.Message // received and not yet looked at
	arrived  chan struct{}  // has a token when there are some
	streams  chan *testStream
	opened   []*testStream // all of them
	hang     chan struct{} // when not nil, Receive waits until it is closed
	calls    int           // to the handler, that are under way
	closed   bool          // Close has returned
	late     error         // of a call after that
}

// A testStream is a stream that was received. Its handler returns when done is closed.
type testStream struct {
	from   raft.ServerID
	reader io.ReadCloser
	done   chan struct{}
	end    func() // closes done, once
}

// server joins a server, without starting it.
func (n *testNetwork) server(name string) (*testServer, error) {
	id := raft.ServerID(name + n.suffix)
	transport, address, err := n.join(id)
	if err != nil {
		return nil, fmt.Errorf("joining %s failed: %w", id, err)
	}
	s := &testServer{
		Transport: transport, Server: raft.Server{ID: id, Address: address}, network: n,
		arrived: make(chan struct{}, 1), streams: make(chan *testStream, 100),
	}
	n.servers = append(n.servers, s)
	return s, nil
}

// start starts servers that know each other.
func (n *testNetwork) start(names ...string) ([]*testServer, error) {
	var servers []*testServer
	var known []raft.Server
	for _, name := range names {
		s, err := n.server(name)
		if err != nil {
			return nil, err
		}
		if err := s.start(); err != nil {
			return nil, err
		}
		servers, known = append(servers, s), append(known, s.Server)
	}
	for i, s := range servers {
		s.SetServers(slices.Concat(known[:i], known[i+1:]))
	}
	return servers, nil
}

func (s *testServer) start() error {
	if err := s.Transport.Start(s.Server, (*testHandler)(s)); err != nil {
		return fmt.Errorf("Start of %s failed: %w", s.ID, err)
	}
	return nil
}

// within runs f and tells when it takes too long.
func (n *testNetwork) within(what string, f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(n.options.Patience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s hasn't returned within %v", what, n.options.Patience)
	}
}

// pause waits in vain.
func (n *testNetwork) pause() { <-time.After(n.options.Pause) }

// close closes all servers, and then tells whether a handler was called after a Close.
func (n *testNetwork) close() error {
	var failures []error
	for _, s := range n.servers {
		failures = append(failures, s.close())
	}
	n.pause()
	for _, s := range n.servers {
		s.mu.Lock()
		failures = append(failures, s.late)
		s.mu.Unlock()
	}
	return errors.Join(failures...)
}

// close closes a server. It lets go who hangs in a handler.
func (s *testServer) close() error {
	s.letGo()
	var err error
	late := s.network.within("Close of "+string(s.ID), func() { err = s.Transport.Close() })
	if late != nil {
		return late
	}
	if err != nil {
		return fmt.Errorf("Close of %s failed: %w", s.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls > 0 && !s.closed {
		err = fmt.Errorf("Close of %s returned while %d calls to its handler were under way", s.ID, s.calls)
	}
	s.closed = true
	return err
}

// makeHang lets the handler hang in Receive from now on, until letGo, which also ends the handling of streams.
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

// testHandler is a server's side towards its transport.
type testHandler testServer

// begin notes a call, and end its end.
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
func (h *testHandler) Receive(m raft.Message) {
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
	stream := &testStream{from, reader, done, sync.OnceFunc(func() { close(done) })}
	h.mu.Lock()
	h.opened = append(h.opened, stream)
	h.mu.Unlock()
	h.streams <- stream
	<-done
	_ = reader.Close() // it may have been closed already
}

// Lost implements raft.Handler.
func (h *testHandler) Lost(raft.ServerID) {
	h.begin("the loss of a server")
	h.end()
}

// take returns what has arrived since the last call.
func (s *testServer) take() []raft.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := s.messages
	s.messages = nil
	return messages
}

// deliver sends a message until it arrives, and returns it as it arrived. Messages may be lost; but not for ever.
func (s *testServer) deliver(m raft.Message, to *testServer) (raft.Message, error) {
	m.From, m.To = s.ID, to.ID
	deadline := time.NewTimer(s.network.options.Patience)
	defer deadline.Stop()
	again := time.NewTicker(s.network.options.Pause)
	defer again.Stop()
	for {
		if err := s.network.within("Send", func() { s.Send(m) }); err != nil {
			return m, err
		}
		for waiting := true; waiting; {
			for _, got := range to.take() {
				if got.Number == m.Number && got.Kind == m.Kind && got.From == m.From {
					return got, nil
				}
			}
			select {
			case <-to.arrived:
			case <-again.C:
				waiting = false
			case <-deadline.C:
				return m, fmt.Errorf("a message from %s to %s, sent again and again for %v, hasn't arrived", s.ID, to.ID, s.network.options.Patience)
			}
		}
	}
}

// differsFrom tells in what a message isn't the one that was sent.
func differsFrom(got, want raft.Message) error {
	if !slices.EqualFunc(got.Entries, want.Entries, sameEntry) {
		return fmt.Errorf("the entries of a message arrived as %s, want %s", describeEntries(got.Entries), describeEntries(want.Entries))
	}
	if !slices.Equal(got.Numbers, want.Numbers) || !slices.Equal(got.Servers, want.Servers) {
		return fmt.Errorf("a message arrived with numbers %v and servers %v, want %v and %v", got.Numbers, got.Servers, want.Numbers, want.Servers)
	}
	got.Entries, got.Numbers, got.Servers = nil, nil, nil
	want.Entries, want.Numbers, want.Servers = nil, nil, nil
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
		return fmt.Errorf("a message arrived as %s, want %s", a, b)
	}
	return nil
}

// messageOf makes up a message that uses all of its fields that its kind has.
func messageOf(kind raft.MessageKind, number uint64) raft.Message {
	m := raft.Message{
		Kind: kind, Number: number, Term: 1<<61 + raft.Term(number), Cluster: raft.ClusterID{1, 15: 9},
		FromIncarnation: 1<<63 + 7, ToIncarnation: 3,
	}
	switch kind {
	case raft.VoteRequest:
		m.Index, m.LogTerm, m.Transfer, m.Round = 1<<62, 5, true, 3
		m.Servers = []raft.Server{{ID: "a", Address: "a.example:1"}, {ID: "b"}}
	case raft.AppendRequest:
		m.Index, m.LogTerm, m.Commit = 41, 7, 40
		m.Entries = []raft.Entry{
			{Index: 42, Term: 7, Kind: raft.EntryCommand, Origin: raft.Origin{Server: "b", Start: 9}, Number: 1 << 40, Data: bytes.Repeat([]byte{byte(number)}, 300)},
			{Index: 43, Term: 8, Kind: raft.EntryNoOp},
			{Index: 44, Term: 8, Kind: raft.EntryCommand, Origin: raft.Origin{Server: "a", Start: 1}, Number: 2, Data: bytes.Repeat([]byte("large"), 40_000)},
		}
	case raft.AppendResponse:
		m.Index, m.LogTerm, m.Hint, m.Granted = 44, 8, 43, true
	case raft.ForwardResponse:
		m.Start, m.Numbers = 3, []uint64{1, 5, 1 << 50}
	case raft.HeartbeatResponse:
		m.Index, m.Hint, m.Round = 44, 50, 1<<33
	}
	return m
}

func checkMessages(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	var kept, sent []raft.Message
	for number := uint64(1); number <= 60; number++ {
		kinds := []raft.MessageKind{raft.VoteRequest, raft.AppendRequest, raft.AppendResponse, raft.ForwardResponse, raft.Heartbeat, raft.HeartbeatResponse}
		kind := kinds[number%uint64(len(kinds))]
		m := messageOf(kind, number)
		got, err := a.deliver(m, b)
		if err != nil {
			return err
		}
		m.From, m.To = a.ID, b.ID
		if err := differsFrom(m, withEnds(messageOf(kind, number), a, b)); err != nil {
			return fmt.Errorf("Send has changed what it was lent: %w", err)
		}
		if err := differsFrom(got, m); err != nil {
			return err
		}
		kept, sent = append(kept, got), append(sent, m)
	}
	for i := range kept {
		if err := differsFrom(kept[i], sent[i]); err != nil {
			return fmt.Errorf("a message that was received has changed since: %w", err)
		}
	}
	return nil
}

// withEnds returns a message from one server to another.
func withEnds(m raft.Message, from, to *testServer) raft.Message {
	m.From, m.To = from.ID, to.ID
	return m
}
