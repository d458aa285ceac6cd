package raft

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// A mute transport opens no stream before its context ends.
type mute struct {
	Transport
	opening atomic.Int32
}

func (m *mute) OpenStream(ctx context.Context, _ ServerID) (io.WriteCloser, error) {
	m.opening.Add(1)
	defer m.opening.Add(-1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// An emptySnapshot is a storage that has nothing else.
type emptySnapshot struct{ Storage }

func (emptySnapshot) OpenSnapshot() (SnapshotMeta, io.ReadCloser, error) {
	return SnapshotMeta{}, io.NopCloser(new(bytes.Reader)), nil
}

// A host sends a few snapshots at a time to one server. Those to another one don't wait for them, and a
// place that is given up goes to who waits.
func TestSnapshotsAreSentInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &mute{}
		snapshots := &hostSnapshots{}
		var told []func() int // how often each group has told its core that it waits, or doesn't any more
		send := func(to ServerID) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			group := transfers{Node: &Node{config: nodeConfig{CoreConfig: new(CoreConfig), Storage: emptySnapshot{}, Transport: transport}, pools: &pools{snapshots: snapshots}, inbox: inbox{gathering: &gathering{intake: new(intake)}}}}
			told = append(told, func() int { return len(group.inbox.gathering.intake.reports) })
			header := wire.SnapshotStream{}.Message().In(wire.Envelope{To: to})
			go func() {
				_, err := group.stream(ctx, &SendSnapshot{Header: header})
				require.ErrorIs(t, err, errStream)
			}()
			synctest.Wait()
			return cancel
		}
		var stops []func()
		for i := range maxSends + 2 {
			stops = append(stops, send("b"))
			require.EqualValues(t, min(i+1, maxSends), transport.opening.Load())
		}
		stops = append(stops, send("c"))
		require.EqualValues(t, maxSends+1, transport.opening.Load(), "another server has places of its own")
		require.Equal(t, 0, told[0]())
		require.Equal(t, 1, told[maxSends]())
		_, waiting := snapshots.sends.count()
		require.Equal(t, 2, waiting)
		stops[0]()
		synctest.Wait()
		require.Equal(t, 2, told[maxSends](), "who waits has the place")
		require.Equal(t, 1, told[maxSends+1]())
		require.EqualValues(t, maxSends+1, transport.opening.Load(), "who waits has the place")
		stops[maxSends+1]()
		stops[1]()
		synctest.Wait()
		require.EqualValues(t, maxSends, transport.opening.Load(), "who gave up needs none")
		for _, stop := range stops {
			stop()
		}
		synctest.Wait()
		require.Zero(t, transport.opening.Load())
		require.Empty(t, snapshots.sends.of["b"])
	})
}

// A place that was promised is kept for a while, and then another group has it. Groups that don't ask any
// more hold up nobody, however many there are.
func TestPlacesForWhatIsReceivedAreKeptForAWhile(t *testing.T) {
	const patience = 100
	r := &receivePlaces{patience: patience}
	name := func(i int) GroupID { return GroupID(fmt.Sprint("g", i)) }
	for i := range 4 * maxSends {
		require.Equal(t, i < maxSends, r.ask(name(i), "a", Instant(i)), "group %d", i)
	}
	for i := range maxSends {
		require.True(t, r.ask(GroupID(fmt.Sprint("other", i)), "b", 20), "another server has places of its own")
	}
	require.False(t, r.ask("late", "c", 20), "as far as there are places")
	require.True(t, r.enter(name(0), "a", 21))
	require.True(t, r.enter(name(0), "a", 22), "the stream before hasn't ended here yet")
	require.False(t, r.enter(name(maxSends), "a", 22))
	r.leave(name(0), 23)
	require.False(t, r.ask(name(maxSends), "a", 23))
	r.leave(name(0), 24)
	require.True(t, r.ask(name(maxSends), "a", 24), "the first in the line of that server")
	require.False(t, r.ask(name(maxSends+1), "a", 24))

	require.True(t, r.enter(name(maxSends), "a", 25))
	const later = 24 + 2*patience
	for i := range maxSends { // the others have fallen silent
		require.Equal(t, i < maxSends-1, r.ask(GroupID(fmt.Sprint("new", i)), "a", later+Instant(i)), "%d", i)
	}
	coming, waiting := r.count()
	require.Equal(t, []int{1, 1}, []int{coming, waiting}, "nothing is remembered of those in the line")
	require.True(t, r.ask("late", "c", later+10))

	r.leave(name(maxSends), later+11)
	require.True(t, r.ask("new3", "a", later+12))
	require.True(t, r.ask("moved", "b", later+13))
	require.True(t, r.ask("moved", "d", later+14), "another server leads now")
	require.Len(t, r.has, len(r.of))
	require.Equal(t, []int{4, 1, 1}, []int{r.lines["a"].has, r.lines["c"].has, r.lines["d"].has})
	require.NotContains(t, r.lines, ServerID("b"), "nothing comes from there")
}
