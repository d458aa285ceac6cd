package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// An etcdLink takes messages to another server, in order. It doesn't block, and keeps no slice.
type etcdLink interface{ send(messages []*pb.Message) }

// link sets the way to another server.
func (n *etcdNode) link(id uint64, l etcdLink) { n.links[id-1].Store(&l) }

// An etcdMemoryLink hands messages over as they are.
type etcdMemoryLink struct{ inbox *etcdInbox }

func (l etcdMemoryLink) send(messages []*pb.Message) { l.inbox.receive(messages) }

// connect listens at this server's own address and begins to dial the others.
func (n *etcdNode) connect(addresses []string) error {
	l, err := net.Listen("tcp", addresses[n.id-1])
	if err != nil {
		return err
	}
	n.network.own(l)
	n.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			if n.network.own(conn) {
				n.running.Go(func() { n.receive(conn) })
			}
		}
	})
	for i, address := range addresses {
		if uint64(i+1) != n.id {
			queued := newQueue[*pb.Message]()
			n.link(uint64(i+1), etcdSender{queued})
			n.running.Go(func() { n.sendTo(uint64(i+1), address, queued) })
		}
	}
	return nil
}

// etcdNetwork is a server's listener and its connections, which are closed with it.
type etcdNetwork struct {
	mu     sync.Mutex
	closed bool
	all    map[io.Closer]struct{}
}

// own takes one more, or closes it when the others are closed.
func (n *etcdNetwork) own(c io.Closer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = c.Close()
		return false
	}
	if n.all == nil {
		n.all = make(map[io.Closer]struct{})
	}
	n.all[c] = struct{}{}
	return true
}

// drop closes one.
func (n *etcdNetwork) drop(c io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, c)
	_ = c.Close()
}

// close closes all.
func (n *etcdNetwork) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for c := range n.all {
		_ = c.Close()
	}
}

// An etcdSender writes messages to a connection, all that have gathered in one write.
type etcdSender struct{ queued *queue[*pb.Message] }

func (s etcdSender) send(messages []*pb.Message) { s.queued.put(messages...) }

// etcdRedial is how long a sender waits after it didn't reach a server.
const etcdRedial = 20 * time.Millisecond

// sendTo sends what is queued for another server. What can't be sent is dropped, and the library is told that the
// server can't be reached. It ends with the server. What is queued is bounded by the library, which
// stops at a number of messages in flight.
func (n *etcdNode) sendTo(id uint64, address string, queued *queue[*pb.Message]) {
	var messages []*pb.Message
	var frames []byte
	var conn net.Conn
	var gone chan struct{} // closed when conn is
	var dialled time.Time
	for {
		select {
		case <-queued.wake:
		case <-gone:
			conn, gone = nil, nil
			continue
		case <-n.stop:
			return
		}
		messages = queued.take(messages)
		if conn == nil && time.Since(dialled) > etcdRedial {
			conn, gone = n.dial(address)
			dialled = time.Now()
		}
		err := errNotConnected
		if conn != nil {
			if frames, err = appendEtcdFrames(frames[:0], messages); err == nil {
				_, err = conn.Write(frames)
			}
			if err != nil {
				n.network.drop(conn)
				conn, gone = nil, nil
			}
		}
		if err != nil {
			n.inbox.unreachable(id)
		}
	}
}

// dial connects to a server, and watches for the end of the connection: a server that went and came back would otherwise be
// sent the next message on a connection that it has lost.
func (n *etcdNode) dial(address string) (net.Conn, chan struct{}) {
	conn, err := net.Dial("tcp", address)
	if err != nil || !n.network.own(conn) {
		return nil, nil
	}
	gone := make(chan struct{})
	n.running.Go(func() {
		_, _ = conn.Read(make([]byte, 1)) // nothing is ever sent this way
		n.network.drop(conn)
		close(gone)
	})
	return conn, gone
}

var errNotConnected = errors.New("not connected")

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

// receive receives from a connection, until it is closed.
func (n *etcdNode) receive(conn net.Conn) {
	defer n.network.drop(conn)
	r := bufio.NewReaderSize(conn, etcdReadBuffer)
	var messages []*pb.Message
	var frame []byte
	for {
		m, err := readEtcdFrame(r, &frame)
		if err != nil {
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
