package tcp

import (
	"errors"
	"fmt"
	"net"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
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
	BulkIdle         = bulkIdle
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
func Hello(purpose byte, from raft.Server, to raft.ServerID, proofs ...Proof) []byte {
	return Frame(appendHello(nil, &hello{purpose: purpose, from: from, to: to, proofs: proofs}))
}

// A Proof shows that the side that dials has a key.
type Proof = proof

// Prove returns the proofs of keys on a connection that was dialled, or accepted.
func Prove(conn net.Conn, from, to raft.ServerID, keys ...wire.ClusterKey) ([]Proof, error) {
	s, err := newSession(&link{conn: conn}, from, to)
	return (&keyring{keys}).prove(&s), err
}

// Renewal returns a frame with proofs, for a connection on which messages are sent.
func Renewal(proofs ...Proof) []byte { return Frame(appendProofs([]byte{renewal}, proofs)) }

// GreetForMessages shakes hands on a connection that was dialled, for messages.
func GreetForMessages(conn net.Conn, from raft.Server, to raft.ServerID, proofs ...Proof) error {
	_, err := greet(conn, hello{purpose: forMessages, from: from, to: to, proofs: proofs})
	return err
}

// GreetForAsking shakes hands on a connection that was dialled, for a single message.
func GreetForAsking(conn net.Conn, from raft.Server, to raft.ServerID, proofs ...Proof) error {
	_, err := greet(conn, hello{purpose: forAsking, from: from, to: to, proofs: proofs})
	return err
}

// GreetForBulk shakes hands on a connection that was dialled, for large messages.
func GreetForBulk(conn net.Conn, from raft.Server, to raft.ServerID, proofs ...Proof) error {
	_, err := greet(conn, hello{purpose: forBulk, from: from, to: to, proofs: proofs})
	return err
}

// GreetForStream shakes hands on a connection that was dialled, for a stream.
func GreetForStream(conn net.Conn, from raft.Server, to raft.ServerID, proofs ...Proof) error {
	_, err := greet(conn, hello{purpose: forStream, from: from, to: to, proofs: proofs})
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
	conns := 0
	for _, lent := range t.conns {
		if !lent {
			conns++
		}
	}
	for what, left := range map[string]int{
		"handshakes": len(t.newcomers), "peers": len(t.peers), "connections": conns, "streams": len(t.arrivals),
		"messages of their own": len(t.asking), "attempts": len(t.attempts),
	} {
		if left != 0 {
			return fmt.Errorf("%d %s are left", left, what)
		}
	}
	if t.large != nil || !t.log.book.AtRest() {
		return errors.New("a large frame, or something of the log, is left")
	}
	return nil
}

// DecodeHello takes the body of a hello apart, and returns the body that says the same.
func DecodeHello(body []byte) ([]byte, error) {
	h, err := decodeHello(body)
	return appendHello(nil, &h), err
}
