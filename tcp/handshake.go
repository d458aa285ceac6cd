package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// protocolVersion is the version of the handshake and the frames.
const protocolVersion = 3

// preamble is what either side sends first. Its form is the same in every version.
var preamble = [...]byte{'r', 'a', 'f', 't', protocolVersion, wire.Version}

// The purposes of a connection.
const (
	forMessages byte = 1 + iota
	forStream
	forAsking // a single message; the side that has received it closes the connection
	forBulk   // large messages, and what must not overtake them
)

// Answers to a hello.
const (
	accepted byte = 1 + iota
	refused
)

// maxHello bounds the frames of a handshake, in bytes.
const maxHello = 4 << 10

// maxReason bounds the reason of a refusal, in bytes.
const maxReason = 1 << 10

// A hello is what the side that dials says of itself.
type hello struct {
	purpose byte
	from    raft.Server
	to      raft.ServerID
	proofs  []proof
}

func appendHello(b []byte, h *hello) []byte {
	b = append(b, h.purpose)
	b = appendText(b, string(h.from.ID))
	b = appendText(b, h.from.Address)
	b = appendText(b, string(h.to))
	return appendProofs(b, h.proofs)
}

func decodeHello(body []byte) (hello, error) {
	text := texts{left: body}
	h := hello{purpose: text.byte()}
	h.from.ID = raft.ServerID(text.next())
	h.from.Address = text.next()
	h.to = raft.ServerID(text.next())
	h.proofs = text.proofs()
	if !text.ok() || len(h.from.ID) > wire.MaxServerID || len(h.from.Address) > wire.MaxAddress {
		return hello{}, fmt.Errorf("%w: malformed hello", errFrame)
	}
	return h, nil
}

// errRefused says that the other side doesn't want the connection.
var errRefused = errors.New("refused by the other side")

// greet is the handshake of the side that dials. It returns the reader that goes on with the
// connection.
func greet(conn net.Conn, h hello) (*frameReader, error) {
	frame := append(preamble[:], make([]byte, frameHeader)...)
	frame = appendHello(frame, &h)
	sealFrame(frame[len(preamble):])
	if _, err := conn.Write(frame); err != nil {
		return nil, err
	}
	if err := readPreamble(conn); err != nil {
		return nil, err
	}
	reader := &frameReader{conn: conn, max: maxHello}
	body, err := reader.read()
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", unexpected(err))
	}
	text := texts{left: body}
	verdict := text.byte()
	id := raft.ServerID(text.next())
	reason := text.next()
	switch {
	case !text.ok():
		return nil, fmt.Errorf("%w: malformed answer", errFrame)
	case verdict == refused:
		return nil, fmt.Errorf("%w, which is %q: %s", errRefused, id, reason)
	case verdict != accepted:
		return nil, fmt.Errorf("%w: unknown answer %d", errFrame, verdict)
	case id != h.to:
		return nil, fmt.Errorf("the server there is %q, not %q", id, h.to)
	}
	return reader, nil
}

// awaitHello is the first half of the handshake of the side that listens. It returns the reader
// that goes on with the connection.
func awaitHello(conn net.Conn) (hello, *frameReader, error) {
	if err := readPreamble(conn); err != nil {
		return hello{}, nil, err
	}
	reader := &frameReader{conn: conn, max: maxHello}
	body, err := reader.read()
	if err != nil {
		return hello{}, nil, fmt.Errorf("read the hello: %w", unexpected(err))
	}
	h, err := decodeHello(body)
	return h, reader, err
}

// answer is the second half of the handshake of the side that listens. It refuses the connection if
// there is a reason.
func answer(conn net.Conn, self raft.ServerID, reason error) error {
	frame := append(preamble[:], make([]byte, frameHeader)...)
	if reason == nil {
		frame = appendText(append(frame, accepted), string(self))
		frame = appendText(frame, "")
	} else {
		text := reason.Error()
		frame = appendText(append(frame, refused), string(self))
		frame = appendText(frame, text[:min(len(text), maxReason)])
	}
	sealFrame(frame[len(preamble):])
	_, err := conn.Write(frame)
	return err
}

// readPreamble reads the preamble of the other side, and returns an error unless it equals that of
// this side.
func readPreamble(conn net.Conn) error {
	var got [len(preamble)]byte
	if _, err := io.ReadFull(conn, got[:]); err == io.EOF || errors.Is(err, syscall.ECONNRESET) {
		return errNothingSaid
	} else if err != nil {
		return fmt.Errorf("read the preamble: %w", unexpected(err))
	}
	switch {
	case string(got[:4]) != string(preamble[:4]):
		return fmt.Errorf("%w: the other side begins with %q, not %q: it is no raft server, or has other TLS settings", errFrame, got[:4], preamble[:4])
	case got[4] != preamble[4]:
		return fmt.Errorf("%w: the other side speaks version %d of the protocol, not %d", errVersion, got[4], preamble[4])
	case got[5] != preamble[5]:
		return fmt.Errorf("%w: the other side speaks version %d of the messages, not %d", errVersion, got[5], preamble[5])
	}
	return nil
}

// errNothingSaid says that the other side has hung up before it said anything: somebody who looks
// whether the port is open, or a server that has dialled twice and needs one connection.
var errNothingSaid = errors.New("read the preamble: EOF: the other side has hung up")

// errVersion says that the other side has a version that this side doesn't understand.
var errVersion = errors.New("wrong version")

// unexpected turns the end of a connection into an error that can't be taken for a good end.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendText(b []byte, text string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// A texts takes the body of a handshake's frame apart. Once something is missing it returns zeros.
type texts struct {
	left    []byte
	missing bool
}

func (t *texts) byte() byte {
	if len(t.left) < 1 {
		t.missing = true
		return 0
	}
	b := t.left[0]
	t.left = t.left[1:]
	return b
}

func (t *texts) next() string {
	if len(t.left) < 2 || len(t.left)-2 < int(binary.LittleEndian.Uint16(t.left)) {
		t.missing = true
		return ""
	}
	end := 2 + int(binary.LittleEndian.Uint16(t.left))
	text := string(t.left[2:end])
	t.left = t.left[end:]
	return text
}

// ok reports whether everything was there, and nothing else.
func (t *texts) ok() bool { return !t.missing && len(t.left) == 0 }
