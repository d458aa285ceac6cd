package raft

import (
	"bytes"
	"context"
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
		send := func(to ServerID) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			group := transfers{Node: &Node{config: nodeConfig{Storage: emptySnapshot{}, Transport: transport}, pools: &pools{snapshots: snapshots}}}
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
		stops[0]()
		synctest.Wait()
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
