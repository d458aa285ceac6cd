package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// connectEtcdInMemory links servers directly to each other's inboxes.
func connectEtcdInMemory(nodes []*etcdNode) {
	for _, from := range nodes {
		for i, to := range nodes {
			if from != to {
				from.links[i] = etcdMemoryLink{to.inbox}
			}
		}
	}
}

// An etcdMemoryLink hands messages over as they are.
type etcdMemoryLink struct{ inbox *etcdInbox }

func (l etcdMemoryLink) send(messages []*pb.Message) { l.inbox.receive(messages) }

// connectEtcdOverTCP gives each server a listener, and a connection of its own to each other server.
func connectEtcdOverTCP(nodes []*etcdNode) error {
	listeners := make([]net.Listener, len(nodes))
	for i, n := range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners[i] = l
		n.network = l.Close
	}
	for i, to := range nodes {
		for j, from := range nodes {
			if from == to {
				continue
			}
			out, err := net.Dial("tcp", listeners[i].Addr().String())
			if err != nil {
				return err
			}
			in, err := listeners[i].Accept()
			if err != nil {
				return errors.Join(err, out.Close())
			}
			from.connect(i, out)
			to.accept(nodes[j].id, in)
		}
	}
	return nil
}

// closeToo closes one more connection with the network.
func (n *etcdNode) closeToo(c net.Conn) {
	before := n.network
	n.network = func() error { return errors.Join(before(), c.Close()) }
}

// An etcdSender writes messages to a connection, all that have gathered in one write.
type etcdSender struct{ queued *queue[*pb.Message] }

func (s etcdSender) send(messages []*pb.Message) { s.queued.put(messages...) }

// connect starts a sender to server i. It ends with the server. What is queued is bounded by
// the library, which stops at a number of messages in flight.
func (n *etcdNode) connect(i int, conn net.Conn) {
	s := etcdSender{queued: newQueue[*pb.Message]()}
	n.links[i] = s
	n.closeToo(conn)
	n.running.Go(func() {
		var messages []*pb.Message
		var frames []byte
		for {
			select {
			case <-s.queued.wake:
			case <-n.stop:
				return
			}
			messages = s.queued.take(messages)
			var err error
			if frames, err = appendEtcdFrames(frames[:0], messages); err == nil {
				_, err = conn.Write(frames)
			}
			if err != nil {
				n.fail(fmt.Errorf("send to server %d: %w", i, err))
				return
			}
		}
	})
}

// etcdFrameHeader is the length of a message.
const etcdFrameHeader = 4

// appendEtcdFrames appends each message behind its length.
func appendEtcdFrames(b []byte, messages []*pb.Message) ([]byte, error) {
	for _, m := range messages {
		start := len(b)
		var err error
		if b, err = (proto.MarshalOptions{}).MarshalAppend(append(b, 0, 0, 0, 0), m); err != nil {
			return b, err
		}
		binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-etcdFrameHeader))
	}
	return b, nil
}

// etcdReadBuffer is how much is read at once.
const etcdReadBuffer = 256 << 10

// accept starts to receive from a connection. It ends when the connection is closed.
func (n *etcdNode) accept(from uint64, conn net.Conn) {
	n.closeToo(conn)
	n.running.Go(func() {
		r := bufio.NewReaderSize(conn, etcdReadBuffer)
		var messages []*pb.Message
		var frame []byte
		for {
			m, err := readEtcdFrame(r, &frame)
			if err != nil {
				n.fail(fmt.Errorf("receive from server %d: %w", from, err))
				return
			}
			// Whole frames that are there already are delivered together.
			if messages = append(messages, m); etcdFrameBuffered(r) {
				continue
			}
			n.inbox.receive(messages)
			clear(messages)
			messages = messages[:0]
		}
	})
}

// etcdFrameBuffered says whether the next frame has arrived completely.
func etcdFrameBuffered(r *bufio.Reader) bool {
	if r.Buffered() < etcdFrameHeader {
		return false
	}
	header, err := r.Peek(etcdFrameHeader)
	return err == nil && r.Buffered()-etcdFrameHeader >= int(binary.LittleEndian.Uint32(header))
}

// readEtcdFrame reads one message. The buffer is used again.
func readEtcdFrame(r *bufio.Reader, frame *[]byte) (*pb.Message, error) {
	var header [etcdFrameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	size := int(binary.LittleEndian.Uint32(header[:]))
	if cap(*frame) < size {
		*frame = make([]byte, size)
	}
	*frame = (*frame)[:size]
	if _, err := io.ReadFull(r, *frame); err != nil {
		return nil, err
	}
	m := new(pb.Message)
	return m, proto.Unmarshal(*frame, m)
}
