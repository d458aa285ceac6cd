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

// An etcdLink takes messages to another server, in order. Its send doesn't block, and doesn't keep
// the slice.
type etcdLink interface{ send(messages []*pb.Message) }

// link sets the link to another server.
func (n *etcdNode) link(id uint64, l etcdLink) { n.links[id-1].Store(&l) }

// An etcdMemoryLink hands over the messages themselves.
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
				return // the listener is closed
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

// etcdNetwork has a server's listener and connections, and closes them with the server.
type etcdNetwork struct {
	mu     sync.Mutex
	closed bool
	all    map[io.Closer]struct{}
}

// own takes a listener or connection. If the network is closed already, it closes that too and
// returns false.
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

// drop closes a connection and forgets it.
func (n *etcdNetwork) drop(c io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.all, c)
	_ = c.Close()
}

// close closes the listener and all connections.
func (n *etcdNetwork) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for c := range n.all {
		_ = c.Close()
	}
}

// An etcdSender queues messages for a connection, on which all that have gathered are sent in one
// write.
type etcdSender struct{ queued *queue[*pb.Message] }

func (s etcdSender) send(messages []*pb.Message) { s.queued.put(messages...) }

// etcdRedial is how long a sender waits before it dials a server again.
const etcdRedial = 20 * time.Millisecond

// sendTo sends the messages that are queued for another server. Messages that can't be sent are
// dropped, and the library is told that the server can't be reached. The library bounds the queue:
// it allows only so many messages in flight. sendTo ends with this server.
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

// dial connects to a server, and watches for the end of the connection. Without that, the next
// message to a server that went and came back would be sent on a connection that the server has
// lost.
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

// etcdFrameHeader is the size of the length that precedes a message.
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

// etcdReadBuffer is how many bytes are read at once.
const etcdReadBuffer = 256 << 10

// receive receives messages from a connection until the connection is closed.
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
		// Frames that have arrived completely are delivered together.
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

// readEtcdFrame reads one message. It uses the buffer again.
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
