package raft_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A locksmith is a transport that can prove keys, and notes those that it is given.
type locksmith struct {
	raft.Transport
	given   [][]wire.ClusterKey
	without int // how many messages were sent before the first keys
	sent    int
	handler raft.Handler
}

func (s *locksmith) SetKeys(keys []wire.ClusterKey) { s.given = append(s.given, keys) }

func (s *locksmith) Send(m wire.Message) {
	s.sent++
	if s.given == nil {
		s.without++
	}
	s.Transport.Send(m)
}

// A node gives its transport the keys of the configuration before it sends anything.
func TestTransportIsGivenTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []wire.ClusterKey{{2}, {1}}
		configuration := raft.Configuration{Cluster: raft.ClusterID{1}, Keys: keys, Level: wire.LatestLevel}
		for i, id := range []raft.ServerID{"a", "b"} {
			configuration.Members = append(configuration.Members, raft.Member{
				Server: raft.Server{ID: id, Address: "at " + string(id)}, Role: raft.Voter, Incarnation: raft.Incarnation(i + 1),
			})
		}
		storage := memory.NewStorage()
		require.NoError(t, storage.Write(raft.Write{
			State:   raft.DurableState{Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}, HardState: raft.HardState{Term: 1}},
			Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}},
		}))
		transport := &locksmith{Transport: memory.NewNetwork(memory.Options{}).Join("a")}
		node, err := raft.Start(raft.Config{
			ID: "a", Machine: &journal{}, Storage: storage, Transport: transport, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, [][]wire.ClusterKey{keys}, transport.given, "before anything happens")
		time.Sleep(2 * electionTimeout)
		require.NoError(t, node.Close(context.Background()))
		require.Equal(t, [][]wire.ClusterKey{keys}, transport.given)
		require.Zero(t, transport.without)
		require.NotZero(t, transport.sent)
	})
}

// Start implements raft.Transport, and keeps the handler.
func (s *locksmith) Start(self raft.Server, h raft.Handler) error {
	s.handler = h
	return s.Transport.Start(self, h)
}

// warnings is a slog.Handler that keeps whole warnings.
type warnings struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (l *warnings) Enabled(context.Context, slog.Level) bool { return true }
func (l *warnings) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *warnings) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		line := r.Message
		r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, line)
	}
	return nil
}

// A node that founds a cluster draws a key, from what the operating system draws for each start. It
// shows the key to its transport, and to nobody else. What a stranger sends is refused, and the log
// names the stranger and its term, once in a while.
func TestNodeKeepsItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first wire.ClusterKey
		for range 2 {
			transport, log := &locksmith{Transport: memory.NewNetwork(memory.Options{}).Join("a")}, &warnings{}
			node, err := raft.Start(raft.Config{
				ID: "a", Machine: &journal{}, Storage: memory.NewStorage(), Transport: transport, Logger: slog.New(log), Seed: 1,
				Bootstrap: []raft.Server{{ID: "a", Address: "here"}},
			})
			require.NoError(t, err)
			_, err = node.Propose(t.Context(), []byte("x"))
			require.NoError(t, err)
			require.Len(t, transport.given, 1)
			key := transport.given[0][0]
			require.NotZero(t, key)
			require.NotEqual(t, first, key)
			first = key

			for i := range 10 {
				transport.handler.Receive(wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{
					From: "x", To: "a", Term: raft.Term(7 + i), Cluster: node.Status().Cluster, Stranger: true,
				}))
			}
			synctest.Wait()
			require.EqualValues(t, 1, node.Status().Term)
			require.Equal(t, []string{
				"raft: message refused term=7 peer=x err=Heartbeat: its sender isn't a member of the cluster",
			}, log.lines)

			var shown bytes.Buffer
			_, err = node.Snapshot(t.Context())
			require.NoError(t, err)
			_, err = node.ExportSnapshot(t.Context(), &shown)
			require.NoError(t, err)
			for event := range node.Events(t.Context()) {
				if membership, is := event.(raft.Membership); is {
					require.Empty(t, membership.Configuration.Keys)
					shown.Write(wire.AppendConfiguration(nil, &membership.Configuration))
					break
				}
			}
			fmt.Fprintf(&shown, "%+v", node.Status())
			require.NotContains(t, shown.String(), string(key[:]))
			require.NotContains(t, shown.String(), string(key[:8]))
			require.NoError(t, node.Close(t.Context()))
		}
	})
}
