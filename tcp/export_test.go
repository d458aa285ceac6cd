package tcp

import (
	"net"

	"github.com/e17579a5/raft"
)

// The limits, for the tests in package tcp_test.
const (
	MaxGuests     = maxGuests
	MaxStreams    = maxStreams
	MaxHandshakes = maxHandshakes
	StreamChunk   = streamChunk
)

// Preamble returns what either side sends first.
func Preamble() []byte { return append([]byte(nil), preamble[:]...) }

// Frame returns a frame with this body.
func Frame(body []byte) []byte {
	frame := append(make([]byte, frameHeader), body...)
	sealFrame(frame)
	return frame
}

// Hello returns the frame that follows the preamble of the side that dials.
func Hello(purpose byte, from raft.Server, to raft.ServerID) []byte {
	body := appendText([]byte{purpose}, string(from.ID))
	body = appendText(body, from.Address)
	return Frame(appendText(body, string(to)))
}

// GreetForMessages shakes hands on a connection that was dialled, for messages.
func GreetForMessages(conn net.Conn, from raft.Server, to raft.ServerID) error {
	_, err := greet(conn, hello{purpose: forMessages, from: from, to: to})
	return err
}

// GreetForAsking shakes hands on a connection that was dialled, for a single message.
func GreetForAsking(conn net.Conn, from raft.Server, to raft.ServerID) error {
	_, err := greet(conn, hello{purpose: forAsking, from: from, to: to})
	return err
}

// GreetForStream shakes hands on a connection that was dialled, for a stream.
func GreetForStream(conn net.Conn, from raft.Server, to raft.ServerID) error {
	_, err := greet(conn, hello{purpose: forStream, from: from, to: to})
	return err
}

// Welcome shakes hands on a connection that was accepted.
func Welcome(conn net.Conn, self raft.ServerID) error {
	if _, _, err := awaitHello(conn); err != nil {
		return err
	}
	return answer(conn, self, nil)
}
