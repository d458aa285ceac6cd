package tcp_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// An echo is a handler that calls a function with each message.
type echo func(m wire.Message)

func (e echo) Receive(m wire.Message) { e(m) }

func (e echo) Lost(raft.ServerID) {}

func (e echo) Stream(_ raft.ServerID, stream io.ReadCloser) { _ = stream.Close() }

// pair connects two servers over loopback.
func pair(b *testing.B, atA, atB func(wire.Message)) (*tcp.Transport, *tcp.Transport) {
	b.Helper()
	var transports [2]*tcp.Transport
	var servers []raft.Server
	for i, id := range []raft.ServerID{"a", "b"} {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, transport.Close()) })
		transports[i] = transport
		servers = append(servers, raft.Server{ID: id, Address: transport.Addr().String()})
	}
	require.NoError(b, transports[0].Start(servers[0], echo(atA)))
	require.NoError(b, transports[1].Start(servers[1], echo(atB)))
	transports[0].SetServers(servers[1:])
	transports[1].SetServers(servers[:1])
	return transports[0], transports[1]
}

// BenchmarkPingPong sends a lone message there and back: four hand-overs between goroutines, and a
// round trip.
func BenchmarkPingPong(b *testing.B) {
	back := make(chan struct{}, 1)
	var far *tcp.Transport
	near, far := pair(b,
		func(wire.Message) { back <- struct{}{} },
		func(m wire.Message) {
			far.Send(wire.HeartbeatResponse{Round: m.Heartbeat().Round}.Message().In(wire.Envelope{From: "b", To: "a", Term: 1}))
		})
	m := wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{From: "a", To: "b", Term: 1})
	b.ReportAllocs()
	for b.Loop() {
		near.Send(m)
		<-back
	}
}

// BenchmarkBarePingPong does the same over a bare connection, for comparison: it has two hand-overs
// less.
func BenchmarkBarePingPong(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	near, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(b, err)
	far, err := listener.Accept()
	require.NoError(b, err)
	done := make(chan error)
	go func() {
		_, err := io.Copy(far, far)
		done <- err
	}()
	message := make([]byte, 64)
	for b.Loop() {
		_, err := near.Write(message)
		require.NoError(b, err)
		_, err = io.ReadFull(near, message)
		require.NoError(b, err)
	}
	require.NoError(b, near.Close())
	require.NoError(b, <-done)
	require.NoError(b, far.Close())
	require.NoError(b, listener.Close())
}

// BenchmarkThroughput sends appends in one direction, with as many in flight as fit without a drop.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []struct {
		name           string
		entries, bytes int
	}{{"1x128", 1, 128}, {"64x128", 64, 128}, {"1x4096", 1, 4096}, {"16x64KiB", 16, 64 << 10}} {
		b.Run(size.name, func(b *testing.B) {
			window := make(chan struct{}, max(1, min(256, 4<<20/(size.entries*size.bytes))))
			near, _ := pair(b, func(wire.Message) {}, func(wire.Message) { <-window })
			m := wire.AppendRequest{Entries: make([]raft.Entry, size.entries)}.Message().In(wire.Envelope{From: "a", To: "b", Term: 1})
			for i := range m.Entries() {
				m.Entries()[i] = raft.Entry{
					Index: raft.Index(1_000_000 + i), Term: 1, Kind: wire.EntryCommand,
					Origin: raft.Origin{Server: "a", Start: 1}, Number: uint64(1_000_000 + i), Data: make([]byte, size.bytes),
				}
			}
			b.SetBytes(int64(size.entries * size.bytes))
			b.ReportAllocs()
			for b.Loop() {
				window <- struct{}{}
				near.Send(m)
			}
		})
	}
}

// BenchmarkGroups sends heartbeats of a thousand groups in one direction, from as many goroutines as
// there are processors, with as many in flight as fit without a drop.
func BenchmarkGroups(b *testing.B) {
	for _, kind := range []struct {
		name string
		of   func(group raft.GroupID) wire.Message
	}{
		{"heartbeats", func(group raft.GroupID) wire.Message {
			return wire.Heartbeat{Round: 1_000_000, Commit: 1_000_000, Lease: time.Second}.Message().In(wire.Envelope{
				From: "a", To: "b", Term: 100, Group: group, Cluster: raft.ClusterID{1}, FromIncarnation: 1, ToIncarnation: 2, FromStart: 1 << 40,
			})
		}},
		{"appends", func(group raft.GroupID) wire.Message {
			return wire.AppendRequest{Commit: 1_000_000, Entries: []raft.Entry{{
				Index: 1_000_001, Term: 100, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 1 << 40}, Number: 1_000_000, Data: make([]byte, 128),
			}}}.Message().In(wire.Envelope{
				From: "a", To: "b", Term: 100, Group: group, Cluster: raft.ClusterID{1}, FromIncarnation: 1, ToIncarnation: 2, FromStart: 1 << 40,
			})
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			window := make(chan struct{}, 2000)
			near, _ := pair(b, func(wire.Message) {}, func(wire.Message) { <-window })
			messages := make([]wire.Message, 1000)
			for i := range messages {
				messages[i] = kind.of(raft.GroupID(fmt.Sprintf("shards/%d", 100_000+i)))
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(len(messages)); pb.Next(); i++ {
					window <- struct{}{}
					near.Send(messages[i%len(messages)])
				}
			})
		})
	}
}
