package raft

import (
	"context"
	"io"

	"github.com/e17579a5/raft/wire"
)

// Transport carries messages between servers, as well as it can: a message may be lost, repeated,
// reordered or delayed, but whatever arrives is what was sent. Packages tcp and memory have one
// each.
//
// The contract, which rafttest checks:
//
//   - Start is called once, before anything else. From then on any goroutine may call the handler,
//     even before Start returns.
//   - Send never blocks and never fails: the transport drops what it can't send. Several goroutines
//     may call it at the same time. The message and what it points to are shared, not copied, and
//     nobody changes them. It is carried whole, with each field that is encoded.
//   - A message that the transport hands to the handler belongs to the receiver, with all that the
//     message points to. The transport doesn't use that memory again.
//   - What one goroutine sends to one server within one group usually arrives in order. Performance
//     rests on that; correctness doesn't. Above all, a heartbeat doesn't overtake an append: the
//     leader would take that for lost. But appends and forwards of a group that are large
//     (wire.LargeMessage), with those that are sent behind them, should hold up no other message.
//     Among themselves they keep their order.
//   - What is sent within one group should hold up nothing of another one. What a process says for
//     itself (wire.Message.OfProcess) should overtake everything.
//   - A slow, hung or absent receiver costs a bounded amount of memory, and delays nobody else.
//   - After Close has returned, no call to the handler is under way, and none comes. Close may be
//     called at any time, and more than once.
//
// A transport that drops every message whose encoding (wire.AppendMessage) is larger than some size
// has a method MaxMessage() int, which returns that size in bytes. raft.Start asks for it once. It
// refuses a Config whose commands such a message couldn't carry, and cuts messages to fit.
//
// A transport that lets servers prove the keys of their cluster to each other has a method
// SetKeys(keys []wire.ClusterKey). The node calls it before the first Send if it has keys, and
// again whenever they change. It doesn't change the slice afterwards. By the keys the transport
// tells strangers from members, and marks each message of a stranger (wire.Envelope.Stranger):
//
//   - To other servers it proves every key of the list. It tells nobody a key.
//   - The first key of the list is the one that this server demands. A server that SetServers
//     doesn't name is a stranger as long as it hasn't proved that key on its connection.
//   - The list may be empty: as long as it is, this server demands and proves nothing, and every
//     server that SetServers doesn't name is a stranger.
//   - It refuses streams from strangers once it has a key.
//
// So a server that has missed a change of the members is reached by a leader that it doesn't know:
// the leader knows the key that this server knows. A server that was removed knows only keys that
// the others demand no longer.
//
// A process that serves several groups has one transport for all of them. SetServers names the
// members of all groups together, and SetKeys isn't called, since each group would have a list of its
// own. So a server that is a member of any of these groups is a stranger in none, also where it was
// removed, and every other server is a stranger in all of them, also a new leader of which this
// process hasn't heard. A group of which the configuration has a key would refuse that leader.
//
// A process may be paused: what others have sent meanwhile is in its sockets when it goes on, and its
// timers may fire before the transport has read it. A transport can't say that it has read all that
// had come. So a timer that fires late, by half an interval or more, tells nothing about others: who
// judges by it waits for one interval more, in which the transport reads what is there.
//
// A transport by which nobody is found at some addresses, whoever is there, has a method
// CheckAddress(address string) error, which says so. raft.Start and the calls that change the
// members ask for it before such an address is stored.
type Transport interface {
	// Start begins to receive messages for self, and hands them to the handler. It returns an error
	// if it can't use the address of self.
	Start(self Server, handler Handler) error

	// SetServers names the servers to which messages may be sent, without this one. It is called
	// before the first Send to a server, and again whenever the list or an address changes. The
	// transport may drop messages to a server that isn't in the list. But if such a server has
	// connected by itself, it can be answered.
	SetServers(servers []Server)

	// Send sends a message to the server m.To. If m.ToAddress isn't empty, it is the address to
	// use, whatever SetServers says. Such a message may go to a server that SetServers doesn't
	// name; the server's answer arrives like any other message; and the connection that the two
	// have otherwise isn't touched. There are few such messages, and their order doesn't matter.
	Send(m wire.Message)

	// OpenStream opens a connection of its own to a server, for much data. The other side's handler
	// gets it as a Stream. What is written first, a message, names the group; the transport doesn't
	// look at it. Writing blocks while the receiver doesn't read. When the stream breaks
	// or ctx ends, writing fails here and reading fails there.
	OpenStream(ctx context.Context, to ServerID) (io.WriteCloser, error)

	// Close stops the transport. Nothing is received any more, and streams break.
	Close() error
}

// A messageLimiter is a Transport that says how large a message may be.
type messageLimiter interface {
	MaxMessage() int
}

// A keyProver is a Transport that proves and demands keys.
type keyProver interface {
	SetKeys(keys []wire.ClusterKey)
}

// An addressChecker is a Transport that says where nobody is found.
type addressChecker interface {
	CheckAddress(address string) error
}

// A Handler receives what a Transport brings. Its methods may be called by several goroutines at
// once.
type Handler interface {
	// Receive takes a message. It never blocks.
	Receive(m wire.Message)

	// Stream takes a stream that another server opened, and closes it in the end. It is called in a
	// goroutine of its own, and may block. The reader returns io.EOF only if the writer closed the
	// stream, and never if the stream broke.
	Stream(from ServerID, stream io.ReadCloser)

	// Lost says that the process of a server is gone, as far as the server's connections tell. It
	// is said once for all groups, until the process was seen again. It is a hint: it may be wrong,
	// and it may never come. It isn't said of a process that is paused. It never blocks.
	Lost(server ServerID)
}
