package tcp

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A queue holds messages to one server, encoded as the frames that will be written. The batch that
// is being written counts too, until the next one is taken. What is taken first:
//
//	urgent    what a process says for itself (wire.Message.OfProcess)
//	prompt    everything but what is in a flow
//	flows     of each group, in turns: appends, forwards, whatever else has entries; and the
//	          heartbeats behind them
//
// A heartbeat never overtakes an append of its group: by the answer the leader would take that append
// for lost, and send it again. As long as all messages are of the group "", they are all prompt, and
// none overtakes another one.
type queue struct {
	maxBytes, maxMessages int
	maxFrame              int

	urgent, prompt fifo
	flows          flows
	// grouped says that a message of another group than "" has come.
	grouped bool
	// mixed is the buffer of batches that are put together from what is prompt and flows.
	mixed      []byte
	mixedSlack int

	// bytes and messages count what waits.
	bytes, messages int
	// writingBytes and writingMessages count the batch that the last take has handed out.
	writingBytes, writingMessages int
	// full says that a message was dropped since the queue was empty.
	full bool
	// sent and dropped count the messages that were handed out, those that weren't, and those that
	// didn't get in. sentBytes are the bytes of their frames.
	sent, sentBytes, dropped uint64
}

var (
	errQueueFull = errors.New("too much waits to be sent")
	errTooLarge  = errors.New("the message is too large")
)

// add queues a message, or drops it. It returns the reason of a drop, but for a full queue only the
// first time. first says that the queue was empty before.
func (q *queue) add(m *wire.Message) (first bool, dropped error) {
	q.grouped = q.grouped || m.Group != ""
	bytes, messages := q.room(q.keeps(m))
	switch {
	case bytes <= 0 || messages <= 0:
		dropped = q.drop(errQueueFull)
	case m.OfProcess():
		first, dropped = q.addTo(&q.urgent, m, bytes)
	case q.takesTurns(m):
		first, dropped = q.addToFlow(m, bytes, messages)
	default:
		first, dropped = q.addTo(&q.prompt, m, bytes)
	}
	return first, dropped
}

// keeps returns how many sixteenths of the queue a message leaves to others: those with entries leave
// some to those without, and all that groups say leaves some to what their process says.
func (q *queue) keeps(m *wire.Message) (sixteenths int) {
	switch {
	case len(m.Entries()) > 0:
		return 2
	case q.grouped && !m.OfProcess():
		return 1
	}
	return 0
}

// room returns how many bytes and messages more may wait, if so much is kept.
func (q *queue) room(sixteenths int) (bytes, messages int) {
	bytes, messages = q.maxBytes-q.maxBytes/16*sixteenths, q.maxMessages-q.maxMessages/16*sixteenths
	return bytes - q.bytes - q.writingBytes, messages - q.messages - q.writingMessages
}

// takesTurns says whether a message belongs to the flow of its group.
func (q *queue) takesTurns(m *wire.Message) bool {
	switch kind := m.Kind(); {
	case m.Group == "":
		return false // it may follow what came before there were groups
	case kind == wire.KindAppendRequest || kind == wire.KindForwardRequest:
		return true
	case kind == wire.KindHeartbeat:
		return q.flows.of[m.Group] != nil
	}
	return len(m.Entries()) > 0
}

// addTo adds a message to a fifo, if it takes at most so many bytes.
func (q *queue) addTo(l *fifo, m *wire.Message, bytes int) (first bool, dropped error) {
	before := q.messages
	l.added, dropped = q.encode(l.added, m, bytes)
	l.addedMessages += q.messages - before
	return before == 0 && q.messages > 0, dropped
}

// addToFlow adds a message to the flow of its group. A group that floods leaves room for others: what
// it has waiting may be as much as what is free, and no more, unless nothing else waits. So one such
// group uses a half at most, two use a third each, and so on.
func (q *queue) addToFlow(m *wire.Message, bytes, messages int) (first bool, dropped error) {
	f := q.flows.of[m.Group]
	if f == nil {
		f = q.flows.begin(m.Group)
	} else if len(m.Entries()) > 0 && (f.size() >= bytes || f.messages >= messages) {
		return false, q.drop(errQueueFull)
	}
	before := q.messages
	f.frames, dropped = q.encode(f.room(m), m, bytes)
	f.messages += q.messages - before
	q.flows.settle(f)
	return before == 0 && q.messages > 0, dropped
}

// encode appends the frame of a message, and counts it; or it drops the message, if it takes more
// than so many bytes and something else waits.
func (q *queue) encode(frames []byte, m *wire.Message, bytes int) (_ []byte, dropped error) {
	before := len(frames)
	frames = append(frames, make([]byte, frameHeader)...)
	frames = wire.AppendMessage(frames, m)
	frame := frames[before:]
	switch size := len(frame) - frameHeader; {
	case size > q.maxFrame:
		q.dropped++
		return frames[:before], fmt.Errorf("%w: a %v of %d bytes exceeds MaxFrame, which is %d", errTooLarge, m.Kind(), size, q.maxFrame)
	case q.messages+q.writingMessages > 0 && len(frame) > bytes:
		return frames[:before], q.drop(errQueueFull)
	}
	sealFrame(frame)
	q.bytes, q.messages = q.bytes+len(frame), q.messages+1
	return frames, nil
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

// take hands out the frames that are to be written next: at most maxWrite bytes, or one frame if that
// is larger. They are valid until the next call.
func (q *queue) take() (batch []byte) {
	mixed, messages := reuse(q.mixed, &q.mixedSlack), 0
	if q.urgent.messages() > 0 {
		batch, messages = q.urgent.take()
	} else {
		batch, messages = q.prompt.take()
		if q.flows.first != nil && len(batch) < maxWrite && q.prompt.messages() == 0 {
			n := 0
			batch, n = q.flows.take(append(mixed, batch...))
			mixed, messages = batch, messages+n
		}
	}
	q.mixed = mixed
	q.bytes, q.messages = q.bytes-len(batch), q.messages-messages
	q.writingBytes, q.writingMessages = len(batch), messages
	q.sent, q.sentBytes = q.sent+uint64(messages), q.sentBytes+uint64(len(batch))
	if len(batch) == 0 {
		q.full = false
	}
	return batch
}

func (q *queue) empty() bool { return q.messages == 0 }

// holds says whether an append or a forward of a group waits.
func (q *queue) holds(group raft.GroupID) bool {
	return q.flows.of[group] != nil || group == "" && q.prompt.messages() > 0
}

// clear drops everything, and gives up its memory.
func (q *queue) clear() {
	q.dropped += uint64(q.messages)
	q.urgent, q.prompt, q.flows, q.mixed = fifo{}, fifo{}, flows{}, nil
	q.bytes, q.messages, q.full = 0, 0, false
	q.writingBytes, q.writingMessages = 0, 0
}
