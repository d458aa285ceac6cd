// Package tcp carries messages between servers over TCP, with mutual TLS where that is wanted. Its
// Transport is a raft.Transport.
//
// # Connections
//
// A server sends to another over the connection that it has dialled itself, and receives over the one
// that the other has dialled: one connection for each peer and direction. Each stream has one of its own,
// and so has a message that says where it goes.
//
// A connection begins with a handshake. Who dials sends
//
//	magic      4 bytes, "raft"
//	protocol   1 byte, the version of this package's format
//	wire       1 byte, raft.WireVersion
//	hello      a frame: what the connection is for (1 byte: messages 1, stream 2, a single message 3,
//	           after which the other side closes it), and the server's own ID, its own address and the ID
//	           of the server that it means to reach, each a length (2 bytes) and that many bytes
//
// and is answered by
//
//	magic, protocol, wire as above
//	answer     a frame: 1 byte, accepted 1 or refused 2, and the ID of the answering server and the
//	           reason of a refusal, each a length (2 bytes) and that many bytes
//
// From then on data flows one way only, in frames. A frame is
//
//	checksum   4 bytes, the CRC-32C of all that follows
//	length     4 bytes, of the body
//	body       one message in the encoding of raft.AppendMessage, or a piece of a stream
//
// with all numbers little endian. A frame without a body ends a stream: without one, it broke. What
// doesn't follow this ends its connection.
//
// # Losses
//
// Messages wait in one bounded queue for each peer. What doesn't fit is dropped, and so is what waits
// for a server that can't be reached, or was being written when a connection broke. Messages with
// entries are dropped before votes, heartbeats and answers, which have a part of the queue to themselves.
//
// # Memory
//
// The data of entries that are received lies in the memory that it was read into, up to 64 KiB together,
// and keeps that from being freed. Messages without entries leave no memory behind. What a connection
// sends costs at most about twice as much memory as it has sent, whatever it claims, besides 64 KiB.
//
// # Goroutines
//
// Close ends all of them, and waits until they have ended.
//
//	accept     one; owns the listener.
//	receive    one for each accepted connection; reads it and calls the Handler.
//	send       one for each peer; dials, and writes what is queued. Ends with a peer that is forgotten.
//	ask        one for each message that says where it goes; dials, and ends when it was received.
//	watch      one for each dialled connection for messages; sees it break. Ends with the connection.
package tcp
