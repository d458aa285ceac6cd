package raft

import (
	"context"
	"io"

	"github.com/e17579a5/raft/wire"
)

// Transport carries messages between servers. It is best effort: a message may be lost, repeated,
// reordered or delayed, but what arrives is what was sent.
//
// The contract, which rafttest checks:
//
//   - Start is called once, before anything else; the handler may be called from then on, from any
//     goroutine, also before Start returns.
//   - Send never blocks and never fails: what can't be sent is dropped. It is called by one goroutine
//     at a time. The message and what it points to are shared, not copied: nobody changes them.
//   - A message that is handed to the handler, with all it points to, belongs to the receiver; the
//     transport doesn't use its memory again.
//   - Messages to one server usually arrive in order: performance rests on that, correctness doesn't.
//   - A slow, hung or absent receiver costs a bounded amount of memory and delays nobody else.
//   - After Close has returned, no call to the handler is under way and none comes. Close may be
//     called at any time, also twice.
type Transport interface {
	// Start begins to receive. An address that can't be used is an error.
	Start(self Server, handler Handler) error

	// SetServers names the servers that messages may be sent to, without self, before the first Send
	// to them and again at each change, also of an address. Messages to a server that is not among them may be dropped,
	// but one that has itself connected can be answered.
	SetServers(servers []Server)

	// Send sends a message to m.To: to the address m.At, if that isn't empty, or else to where SetServers says. What is sent to m.At
	// needs no mention among the servers, may be answered like what else arrives, and leaves alone what connects
	// the two already. There are few such messages, and their order doesn't count.
	Send(m wire.Message)

	// OpenStream opens a connection of its own to a server, for much data. The other side's handler
	// gets it as a Stream. Writing blocks while the receiver doesn't read; it fails, and so does the
	// receiver's reading, when the stream breaks or ctx ends.
	OpenStream(ctx context.Context, to ServerID) (io.WriteCloser, error)

	// Close stops the transport: nothing is received any more and streams break.
	Close() error
}

// A Handler receives what a Transport brings.
type Handler interface {
	// Receive takes a message. It never blocks.
	Receive(m wire.Message)

	// Stream takes a stream that another server opened, and closes it when it is done. It is called
	// in a goroutine of its own, and may block. The reader returns io.EOF only when the writer
	// closed the stream, never when it broke.
	Stream(from ServerID, stream io.ReadCloser)

	// Lost says that the process of a server is gone, as far as its connections tell. It is a hint:
	// it may be wrong, and it may never come. It never blocks.
	Lost(server ServerID)
}
