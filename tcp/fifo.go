package tcp

import "encoding/binary"

// maxWrite bounds what is written to a connection at a time, in bytes, unless one frame is larger:
// so long may what is most urgent have to wait for what is written already.
const maxWrite = 256 << 10

// A fifo is frames that leave in the order in which they came. It has two buffers, which are used in
// turn for ever: frames are added to one while the other one leaves, in portions.
//
//	left     [ leave.... next ............ ]
//	added    [ .......... ◀── new frames
type fifo struct {
	added, left []byte
	next        int // where those in left begin that haven't left
	// addedMessages and leftMessages count the frames in added, and those in left from next on.
	addedMessages, leftMessages int
	slack                       int
}

func (q *fifo) messages() int { return q.addedMessages + q.leftMessages }

// take hands out frames of at most maxWrite bytes, or one that is larger, and counts them. They are
// valid until the next call.
func (q *fifo) take() (batch []byte, messages int) {
	if q.next == len(q.left) {
		q.added, q.left = reuse(q.left, &q.slack), q.added
		q.addedMessages, q.leftMessages, q.next = 0, q.addedMessages, 0
	}
	rest, end := q.left[q.next:], len(q.left)
	if messages = q.leftMessages; len(rest) > maxWrite {
		size := 0
		size, messages = portion(rest)
		end = q.next + size
		rest = rest[:size:size] // what is appended to it must not touch the next portion
	}
	q.next, q.leftMessages = end, q.leftMessages-messages
	return rest, messages
}

// portion returns the size of the frames at the beginning that are written at a time, and counts
// them. There is at least one.
func portion(frames []byte) (size, messages int) {
	for size < len(frames) {
		frame := frameSize(frames[size:])
		if messages > 0 && size+frame > maxWrite {
			break
		}
		size += frame
		messages++
	}
	return size, messages
}

// frameSize returns the size of the first of some frames, with its header.
func frameSize(frames []byte) int { return frameHeader + int(binary.LittleEndian.Uint32(frames[4:])) }

// A buffer of more than maxSpare bytes is given up after maxSlack uses in a row that took less than
// an eighth of it.
const (
	maxSpare = 64 << 10
	maxSlack = 256
)

// reuse returns a buffer that was used, empty, or nil if it is much larger than it need be.
func reuse(buffer []byte, slack *int) []byte {
	switch {
	case cap(buffer) <= maxSpare:
	case len(buffer) >= cap(buffer)/8:
		*slack = 0
	case *slack < maxSlack:
		*slack++
	default:
		*slack = 0
		return nil
	}
	return buffer[:0]
}
