package tcp

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// appendOf is an append of a group, with its number in Commit.
func appendOf(group raft.GroupID, number, size int) wire.Message {
	return wire.AppendRequest{
		Commit: raft.Index(number), Entries: []raft.Entry{{Data: make([]byte, size)}},
	}.Message().In(wire.Envelope{Group: group})
}

// heartbeatOf is a heartbeat of a group, with its number in Commit.
func heartbeatOf(group raft.GroupID, number int) wire.Message {
	return wire.Heartbeat{Commit: raft.Index(number)}.Message().In(wire.Envelope{Group: group})
}

func answerOf(group raft.GroupID, number int) wire.Message {
	return wire.AppendResponse{Index: raft.Index(number)}.Message().In(wire.Envelope{Group: group})
}

// queued is a queue with its usual limits.
func queued() *queue { return &queue{maxBytes: 16 << 20, maxMessages: 8192, maxFrame: 64 << 20} }

func (q *queue) mustAdd(t require.TestingT, m wire.Message) {
	_, err := q.add(&m)
	require.NoError(t, err)
	require.False(t, q.full, "the message was dropped")
}

// A written message is its group, its number, and the size of its frame.
type written struct {
	group  raft.GroupID
	kind   wire.Kind
	number int
	size   int
}

// decodeBatch takes a batch apart.
func decodeBatch(t require.TestingT, batch []byte) (all []written) {
	for len(batch) > 0 {
		size := frameSize(batch)
		m, err := wire.DecodeMessage(batch[frameHeader:size])
		require.NoError(t, err)
		w := written{group: m.Group, kind: m.Kind(), size: size}
		switch w.kind {
		case wire.KindAppendRequest:
			w.number = int(m.AppendRequest().Commit)
		case wire.KindHeartbeat:
			w.number = int(m.Heartbeat().Commit)
		case wire.KindAppendResponse:
			w.number = int(m.AppendResponse().Index)
		}
		all, batch = append(all, w), batch[size:]
	}
	return all
}

// flood adds appends of groups in turn, until all of them are refused.
func (q *queue) flood(groups []raft.GroupID, size int) {
	for added := true; added; {
		before := q.messages
		for _, group := range groups {
			m := appendOf(group, 1, size)
			_, _ = q.add(&m) // which says only the first time that it was dropped
		}
		added = q.messages > before
	}
	q.full = false
}

// However many groups flood, there is room for another one, and it waits for one turn of each.
func TestFloodOfGroupsLeavesRoom(t *testing.T) {
	for _, floods := range []int{1, 3, 30} {
		t.Run(fmt.Sprint(floods), func(t *testing.T) {
			q := queued()
			var groups []raft.GroupID
			for i := range floods {
				groups = append(groups, raft.GroupID(fmt.Sprint("flood", i)))
			}
			for range 20 {
				q.flood(groups, 4<<10)
				q.take()
			}
			q.flood(groups, 4<<10)
			limit := q.maxBytes - q.maxBytes/8
			require.LessOrEqual(t, q.bytes+q.writingBytes, limit)
			share := limit / (floods + 1)
			for _, group := range groups {
				require.InDelta(t, share, q.flows.of[group].size(), float64(share)/2)
			}
			q.mustAdd(t, appendOf("quiet", 1, 100))
			q.mustAdd(t, appendOf("quiet", 2, 8<<10))
			q.mustAdd(t, heartbeatOf("other", 3))
			waited, left := 0, 2
			for left > 0 {
				batch := decodeBatch(t, q.take())
				require.NotEmpty(t, batch)
				if waited == 0 {
					require.Equal(t, raft.GroupID("other"), batch[0].group, "a heartbeat waits for no append of another group")
				}
				for _, w := range batch {
					if waited += w.size; w.group == "quiet" {
						left--
					}
				}
			}
			require.LessOrEqual(t, waited, floods*(quantum+8<<10)+maxWrite)
		})
	}
}

// A single group has the queue for itself, in order, as far as it is the group "". A queue that is
// empty takes anything.
func TestOneGroupUsesTheWholeQueue(t *testing.T) {
	q := queued()
	for i := range 3580 {
		m := appendOf("", 2*i, 4<<10)
		_, _ = q.add(&m)
		if q.full {
			break
		}
		q.mustAdd(t, heartbeatOf("", 2*i+1))
	}
	require.Greater(t, q.bytes, q.maxBytes/8*7-8<<10)
	require.Empty(t, q.flows.of)
	next := 0
	for !q.empty() {
		batch := q.take()
		require.LessOrEqual(t, len(batch), maxWrite)
		for _, w := range decodeBatch(t, batch) {
			require.Equal(t, next, w.number)
			next++
		}
	}
}

// What a process says for itself leaves first, even where much waits.
func TestProcessSpeaksFirst(t *testing.T) {
	q := queued()
	q.flood([]raft.GroupID{"flood"}, 1<<10)
	for i := range 100 {
		q.mustAdd(t, answerOf("g", i))
	}
	q.mustAdd(t, wire.ProcessHeartbeat{Round: 1}.Message())
	first := decodeBatch(t, q.take())
	require.Len(t, first, 1)
	require.Equal(t, wire.KindProcessHeartbeat, first[0].kind)
	require.Len(t, decodeBatch(t, q.take())[:100], 100)
}

// However much the groups say, there is room for what their process says.
func TestProcessHasRoom(t *testing.T) {
	for name, m := range map[string]wire.Message{"answers": answerOf("g", 1), "large answers": wire.ForwardResponse{Refused: make([]uint64, 100_000)}.Message()} {
		t.Run(name, func(t *testing.T) {
			q := queued()
			q.mustAdd(t, answerOf("g", 1))
			for range 2 * q.maxMessages {
				_, _ = q.add(&m)
			}
			require.True(t, q.full)
			q.full = false
			for range q.maxMessages / 16 {
				q.mustAdd(t, wire.ProcessHeartbeat{Round: 1, Gone: []raft.GroupID{"g"}}.Message())
			}
		})
	}
}

// A group for which nothing waits costs nothing, and a queue that was full gives its memory up.
func TestIdleGroupsHaveNoFlow(t *testing.T) {
	q := queued()
	for round := range 5 {
		for i := range 5000 {
			m := appendOf(raft.GroupID(fmt.Sprint("g", i)), round, 100+i%3000)
			_, _ = q.add(&m)
		}
		for !q.empty() {
			q.take()
		}
		q.take()
		require.Empty(t, q.flows.of)
		require.Nil(t, q.flows.first)
		require.Zero(t, q.bytes+q.writingBytes+q.writingMessages)
		require.LessOrEqual(t, q.flows.spareBytes, maxSpares)
	}
}

// A large frame isn't copied where that isn't needed, and keeps its place where it is.
func TestLargeFramesInFlows(t *testing.T) {
	q := queued()
	q.mustAdd(t, appendOf("a", 1, 3<<20))
	q.mustAdd(t, appendOf("b", 1, 100))
	q.mustAdd(t, appendOf("c", 1, 2<<20))
	q.mustAdd(t, appendOf("c", 2, 100))
	var numbers []string
	for !q.empty() {
		for _, w := range decodeBatch(t, q.take()) {
			numbers = append(numbers, fmt.Sprint(w.group, w.number))
		}
	}
	require.Equal(t, []string{"b1", "c1", "c2", "a1"}, numbers)
}

// A queueModel is a queue, and what waits in it: of each group, the answers, and everything else in
// the order in which it came.
type queueModel struct {
	*queue
	answers, others map[raft.GroupID][]int
	left            int
}

func (q *queueModel) add(t *rapid.T, number int) {
	group := raft.GroupID(rapid.SampledFrom([]string{"a", "b", "c", ""}).Draw(t, "group"))
	var m wire.Message
	of := q.others
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		m, of = answerOf(group, number), q.answers
	case 1:
		m = heartbeatOf(group, number)
	default:
		m = appendOf(group, number, rapid.SampledFrom([]int{10, 1000, 30_000, 300_000}).Draw(t, "size"))
	}
	before := q.dropped
	_, _ = q.queue.add(&m) // which says only the first time that it was dropped
	if q.dropped == before {
		q.left++
		of[group] = append(of[group], number)
	}
}

func (q *queueModel) take(t *rapid.T) {
	batch := q.queue.take()
	all := decodeBatch(t, batch)
	require.True(t, len(all) <= 1 || len(batch) <= maxWrite, "%d bytes of %d messages at a time", len(batch), len(all))
	require.True(t, len(all) > 0 || q.left == 0, "nothing is taken while %d messages wait", q.left)
	for _, w := range all {
		of := q.others
		if w.kind == wire.KindAppendResponse {
			of = q.answers
		}
		require.Equal(t, of[w.group][0], w.number, "group %q", w.group)
		of[w.group] = of[w.group][1:]
		q.left--
	}
}

func (q *queueModel) check(t *rapid.T) {
	require.Equal(t, q.left, q.messages)
	require.LessOrEqual(t, q.messages+q.writingMessages, q.maxMessages)
	require.LessOrEqual(t, q.bytes+q.writingBytes, q.maxBytes)
	bytes := len(q.prompt.added) + len(q.prompt.left) - q.prompt.next
	for _, f := range q.flows.of {
		bytes += f.size()
		require.Positive(t, f.messages)
	}
	require.Equal(t, bytes, q.bytes)
}

// TestQueueAgainstModel adds and takes at random. Nothing is lost but what was refused, what waits and
// what is taken at a time are bounded, and within a group only answers overtake anything.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := &queueModel{
			queue:   &queue{maxBytes: 1 << 20, maxMessages: 400, maxFrame: 1 << 20},
			answers: make(map[raft.GroupID][]int), others: make(map[raft.GroupID][]int),
		}
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				number++
				q.add(t, number)
			},
			"take": q.take,
			"":     q.check,
		})
		for q.left > 0 {
			q.take(t)
		}
	})
}

// Groups whose frames are small, and groups whose frames are large, get the same share of the bytes.
func TestFlowsShareBytes(t *testing.T) {
	q := &queue{maxBytes: 64 << 20, maxMessages: 1 << 20, maxFrame: 64 << 20}
	sizes := map[raft.GroupID]int{"small": 100, "middle": 5_000, "large": 200_000}
	for group, size := range sizes {
		for i := 0; i < 8<<20; i += size {
			q.mustAdd(t, appendOf(group, 1, size))
		}
	}
	got := make(map[raft.GroupID]int)
	for range 40 {
		for _, w := range decodeBatch(t, q.take()) {
			got[w.group] += w.size
		}
		for group := range sizes {
			require.InDelta(t, got["middle"], got[group], 300_000, "%s", group)
		}
	}
	require.Greater(t, got["small"], 2<<20)
}
