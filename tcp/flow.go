package tcp

import (
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A flow is the frames of one group that wait for their turn, in order. A group for which nothing
// waits has no flow.
type flow struct {
	group    raft.GroupID
	frames   []byte
	next     int // where the first frame begins; those before it have left
	messages int
	// credit is how many bytes may leave in this turn.
	credit int
	behind *flow // the flow that has its turn next
}

// size is how many bytes wait.
func (f *flow) size() int { return len(f.frames) - f.next }

// Flows take turns by their bytes, as long as something waits in them (deficit round robin, Shreedhar
// and Varghese 1995). In each turn a flow may send quantum bytes, and what it has left from earlier
// turns because its next frame was larger. So flows of small frames and of large ones get the same
// share, and a message costs the same however many flows there are.
const quantum = 16 << 10

// flows are the flows of a queue: by their groups, and in the order of their turns.
type flows struct {
	of          map[raft.GroupID]*flow
	first, last *flow
	// spares are flows that aren't used, with their buffers, the most recent one last. They have at
	// most maxSpares bytes.
	spares     []*flow
	spareBytes int
}

// maxSpares bounds the memory of the buffers that are kept for later flows, in bytes.
const maxSpares = 256 << 10

// begin returns a new flow for a group that has none. settle must be called when something was added
// to it, or wasn't.
func (s *flows) begin(group raft.GroupID) *flow {
	f := new(flow)
	if spares := len(s.spares); spares > 0 {
		f, s.spares = s.spares[spares-1], s.spares[:spares-1]
		s.spareBytes -= cap(f.frames)
	}
	f.group, f.credit = group, quantum
	if s.of == nil {
		s.of = make(map[raft.GroupID]*flow)
	}
	s.of[group] = f
	return f
}

// settle gives a flow its place among the turns if it has none, or gives it up if nothing waits in it.
func (s *flows) settle(f *flow) {
	switch {
	case f.messages == 0:
		s.end(f)
	case f != s.last && f.behind == nil:
		s.append(f)
	}
}

func (s *flows) append(f *flow) {
	if s.last == nil {
		s.first = f
	} else {
		s.last.behind = f
	}
	s.last = f
}

// shift takes the flow whose turn it is out of the order.
func (s *flows) shift() *flow {
	f := s.first
	s.first, f.behind = f.behind, nil
	if s.first == nil {
		s.last = nil
	}
	return f
}

// end gives up a flow in which nothing waits, and which has no place among the turns.
func (s *flows) end(f *flow) {
	delete(s.of, f.group)
	if size := cap(f.frames); size > 0 && size <= maxSpares-s.spareBytes {
		*f = flow{frames: f.frames[:0]}
		s.spares = append(s.spares, f)
		s.spareBytes += cap(f.frames)
	}
}

// take appends frames to a batch, in turns, and counts them. The batch gets at most maxWrite bytes,
// or one frame if that is larger.
func (s *flows) take(batch []byte) (_ []byte, messages int) {
	for s.first != nil && len(batch) < maxWrite {
		f := s.first
		for f.messages > 0 {
			size := frameSize(f.frames[f.next:])
			if size > f.credit {
				break
			}
			if len(batch) > 0 && len(batch)+size > maxWrite {
				return batch, messages // its turn goes on with the next batch
			}
			batch = f.move(batch, size)
			messages++
		}
		s.shift()
		if f.messages == 0 {
			s.end(f)
			continue
		}
		f.credit += quantum
		s.append(f)
	}
	return batch, messages
}

// move appends the first frame, which has this size, to a batch. If it is large, and all there is of
// the batch and of the flow, the batch gets the buffer instead.
func (f *flow) move(batch []byte, size int) []byte {
	if size > maxWrite && len(batch) == 0 && size == len(f.frames) {
		batch, f.frames = f.frames, nil
		f.messages, f.credit = 0, 0
		return batch
	}
	end := f.next + size
	batch = append(batch, f.frames[f.next:end]...)
	f.next, f.messages, f.credit = end, f.messages-1, f.credit-size
	return batch
}

// room returns the frames that wait, in a buffer with room for that of a message that is about to be
// added.
func (f *flow) room(m *wire.Message) []byte {
	if cap(f.frames) == 0 {
		return slices.Grow(f.frames, frameHeader+m.Size())
	}
	if f.next > 0 && f.next >= len(f.frames)/2 {
		f.frames = append(f.frames[:0], f.frames[f.next:]...)
		f.next = 0
	}
	return f.frames
}
