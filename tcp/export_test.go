package tcp

import (
	"errors"
	"fmt"
	"net"

	"github.com/e17579a5/raft"
)

// The limits, for the tests in package tcp_test.
const (
	MaxGuests        = maxGuests
	MaxMemberStreams = maxMemberStreams
	MaxGuestStreams  = maxGuestStreams
	GuestIdle        = guestIdle
	StreamIdle       = streamIdle
	StreamRest       = streamRest
	MaxGuestFrame    = maxGuestFrame
	MaxHandshakes    = maxHandshakes
	StreamChunk      = streamChunk
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

// Places returns how many handshakes, peers and streams there are.
func (t *Transport) Places() (handshakes, peers, streams int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.newcomers), len(t.peers), len(t.arrivals)
}

// AtRest returns an error unless the transport, which was closed, has given back whatever it
// counts.
func (t *Transport) AtRest() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	conns := 0
	for _, lent := range t.conns {
		if !lent {
			conns++
		}
	}
	for what, left := range map[string]int{
		"handshakes": len(t.newcomers), "peers": len(t.peers), "connections": conns, "streams": len(t.arrivals),
		"messages of their own": len(t.asking), "attempts": len(t.attempts), "lines of the log": len(t.log.lines), "remarks": len(t.log.seen),
	} {
		if left != 0 {
			return fmt.Errorf("%d %s are left", left, what)
		}
	}
	if t.large != nil || t.log.writing != nil {
		return errors.New("a large frame, or a goroutine of the log, is left")
	}
	return nil
}
