package tcp

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft/wire"
)

// A queue holds messages to one server, encoded as the frames that will be written. The batch that
// is being written counts too, until it is swapped for the next one.
type queue struct {
	maxBytes, maxMessages int
	maxFrame              int

	frames   []byte
	messages int
	// writingBytes and writingMessages count the batch that the last swap has handed out.
	writingBytes, writingMessages int
	// full says that a message was dropped since the queue was empty.
	full bool
	// sent and dropped count the messages that were handed out, those that weren't, and those that
	// didn't get in. sentBytes are the bytes of their frames.
	sent, sentBytes, dropped uint64
	// slack counts the batches in a row that used only a small part of a large buffer.
	slack int
}

// The two buffers of a queue are used in turn for ever, unless they are much larger than they need
// be. A buffer of more than maxSpare bytes is given up after maxSlack batches in a row that used
// less than an eighth of it.
const (
	maxSpare = 64 << 10
	maxSlack = 256
)

var (
	errQueueFull = errors.New("too much waits to be sent")
	errTooLarge  = errors.New("the message is too large")
)

// add queues a message, or drops it. It returns the reason of a drop, but for a full queue only the
// first time. first says that the queue was empty before.
func (q *queue) add(m *wire.Message) (first bool, dropped error) {
	bytes, messages := q.maxBytes, q.maxMessages
	if len(m.Entries()) > 0 {
		bytes, messages = bytes-bytes/8, messages-messages/8
	}
	before := len(q.frames)
	if q.messages+q.writingMessages >= messages || before+q.writingBytes >= bytes {
		return false, q.drop(errQueueFull)
	}
	q.frames = append(q.frames, make([]byte, frameHeader)...)
	q.frames = wire.AppendMessage(q.frames, m)
	frame := q.frames[before:]
	switch size := len(frame) - frameHeader; {
	case size > q.maxFrame:
		q.frames = q.frames[:before]
		q.dropped++
		return false, fmt.Errorf("%w: a %v of %d bytes exceeds MaxFrame, which is %d", errTooLarge, m.Kind(), size, q.maxFrame)
	case q.messages+q.writingMessages > 0 && len(q.frames)+q.writingBytes > bytes:
		q.frames = q.frames[:before]
		return false, q.drop(errQueueFull)
	}
	sealFrame(frame)
	q.messages++
	return before == 0, nil
}

// drop returns the reason of a drop once for each time that the queue is full.
func (q *queue) drop(reason error) error {
	q.dropped++
	if q.full {
		return nil
	}
	q.full = true
	return reason
}

// swap hands out all frames. The queue goes on in the memory of written, the batch that it handed
// out before.
func (q *queue) swap(written []byte) []byte {
	batch := q.frames
	q.sent, q.sentBytes = q.sent+uint64(q.messages), q.sentBytes+uint64(len(batch))
	q.writingBytes, q.writingMessages = len(batch), q.messages
	switch {
	case cap(written) <= maxSpare:
	case len(written) >= cap(written)/8:
		q.slack = 0
	case q.slack < maxSlack:
		q.slack++
	default:
		written, q.slack = nil, 0
	}
	q.frames, q.messages = written[:0], 0
	if len(batch) == 0 {
		q.full = false
	}
	return batch
}

func (q *queue) empty() bool { return q.messages == 0 }

// clear drops everything.
func (q *queue) clear() {
	q.dropped += uint64(q.messages)
	if cap(q.frames) > maxSpare {
		q.frames = nil
	}
	q.frames, q.messages, q.full = q.frames[:0], 0, false
	q.writingBytes, q.writingMessages = 0, 0
}
