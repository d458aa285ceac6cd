package tcp

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func TestQueueLimits(t *testing.T) {
	const limit = 8000
	bulk := wire.AppendRequest{Entries: []raft.Entry{{Data: make([]byte, 500)}}}.Message()
	vote := wire.VoteRequest{}.Message()
	newQueue := func() *queue { return &queue{maxBytes: limit, maxMessages: 1000, maxFrame: 1 << 20} }

	q := newQueue()
	first, err := q.add(&bulk)
	require.NoError(t, err)
	require.True(t, first)
	for range 100 {
		first, _ := q.add(&bulk)
		require.False(t, first)
	}
	require.LessOrEqual(t, q.bytes, limit-limit/8)
	queued := q.messages
	_, err = q.add(&vote)
	require.NoError(t, err)
	require.Equal(t, queued+1, q.messages, "there is room for a vote where there is none for entries")
	for range 1000 {
		_, _ = q.add(&vote)
	}
	require.LessOrEqual(t, q.bytes, limit)

	require.NotEmpty(t, q.take())
	_, err = q.add(&bulk)
	require.NoError(t, err, "the reason was told once")
	require.Zero(t, q.messages, "what is being written counts")
	require.Empty(t, q.take())
	_, err = q.add(&bulk)
	require.NoError(t, err)
	require.Equal(t, 1, q.messages)

	q = newQueue()
	large := wire.AppendRequest{Entries: []raft.Entry{{Data: make([]byte, 3*limit)}}}.Message()
	_, err = q.add(&large)
	require.NoError(t, err)
	require.Equal(t, 1, q.messages, "an empty queue takes anything")
	_, err = q.add(&large)
	require.ErrorIs(t, err, errQueueFull)

	q = newQueue()
	q.maxFrame = 1000
	_, err = q.add(&large)
	require.ErrorContains(t, err, "exceeds MaxFrame, which is 1000")
	require.True(t, q.empty())

	q = &queue{maxBytes: 1 << 20, maxMessages: 16, maxFrame: 1 << 20}
	for range 100 {
		_, _ = q.add(&bulk)
	}
	require.Equal(t, 14, q.messages)
	for range 100 {
		_, _ = q.add(&vote)
	}
	require.Equal(t, 16, q.messages)
}

func TestQueueGivesUpLargeBuffers(t *testing.T) {
	for name, group := range map[string]raft.GroupID{"one group": "", "several groups": "g"} {
		t.Run(name, func(t *testing.T) {
			q := queue{maxBytes: 1 << 30, maxMessages: 1 << 30, maxFrame: 1 << 30}
			small := wire.Heartbeat{}.Message().In(wire.Envelope{Group: group})
			large := wire.AppendRequest{Entries: []raft.Entry{{Data: make([]byte, 4<<20)}}}.Message().In(wire.Envelope{Group: group})
			use := func(m *wire.Message) {
				_, err := q.add(m)
				require.NoError(t, err)
				require.NotEmpty(t, q.take())
			}
			held := func() int { return cap(q.prompt.added) + cap(q.prompt.left) + cap(q.mixed) + q.flows.spareBytes }
			use(&large)
			use(&large)
			for range 10 {
				use(&small)
			}
			require.Greater(t, held(), 4<<20, "not at the first small batch")
			for range 4 * maxSlack {
				use(&small)
			}
			require.LessOrEqual(t, held(), 2*maxSpare+maxSpares)
		})
	}
}
