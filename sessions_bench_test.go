package raft_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// BenchmarkSessions measures what sessions cost. The same clients propose the same commands,
// plainly and each in a session of its own, by turns: so whatever else the machine does falls on
// both. The metric session/plain is the time with sessions over the time without. It may be 1.1.
func BenchmarkSessions(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		benchmarkSessions(b, func(server *raft.Server) (raft.Storage, raft.Transport, error) {
			transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
			if err != nil {
				return nil, nil, err
			}
			server.Address = transport.Addr().String()
			storage, err := wal.Open(filepath.Join(b.TempDir(), string(server.ID)), wal.Options{})
			return storage, transport, err
		})
	})
	b.Run("memory", func(b *testing.B) {
		network := memory.NewNetwork(memory.Options{})
		benchmarkSessions(b, func(server *raft.Server) (raft.Storage, raft.Transport, error) {
			return memory.NewStorage(), network.Join(server.ID), nil
		})
	})
}

// In a turn of the benchmark, each client proposes its commands one after the other.
const benchClients, benchCommands, benchBytes = 256, 64, 128 // commands of each client, bytes of each command

func benchmarkSessions(b *testing.B, open func(*raft.Server) (raft.Storage, raft.Transport, error)) {
	leader := benchLeader(b, open)
	var sessions [benchClients]*raft.Session
	for i := range sessions {
		id, err := leader.OpenSession(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		sessions[i] = raft.NewSession(id)
	}
	command := make([]byte, benchBytes)
	plain := func(ctx context.Context, _ int) error {
		_, err := leader.Propose(ctx, command)
		return err
	}
	inSession := func(ctx context.Context, i int) error {
		number, err := sessions[i].Next()
		if err != nil {
			return err
		}
		defer sessions[i].Done(number)
		_, err = leader.ProposeInSession(ctx, number, command)
		return err
	}
	benchTurn(b, plain)
	benchTurn(b, inSession)
	var took [2]time.Duration
	for b.Loop() {
		took[0] += benchTurn(b, plain)
		took[1] += benchTurn(b, inSession)
		took[1] += benchTurn(b, inSession)
		took[0] += benchTurn(b, plain)
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "session/plain")
	b.ReportMetric(float64(2*b.N*benchClients*benchCommands)/took[0].Seconds(), "plain/s")
	b.ReportMetric(float64(2*b.N*benchClients*benchCommands)/took[1].Seconds(), "session/s")
	b.ReportMetric(0, "ns/op")
}

// benchLeader starts three servers, and returns the one that leads. The servers are closed when the
// benchmark ends.
func benchLeader(b *testing.B, open func(*raft.Server) (raft.Storage, raft.Transport, error)) *raft.Node {
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	var storages [3]raft.Storage
	var transports [3]raft.Transport
	for i := range servers {
		var err error
		if storages[i], transports[i], err = open(&servers[i]); err != nil {
			b.Fatal(err)
		}
	}
	var nodes []*raft.Node
	for i, server := range servers {
		node, err := raft.Start(raft.Config{
			ID: server.ID, Machine: &nothing{}, Storage: storages[i], Transport: transports[i],
			Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			Heartbeat: 100 * time.Millisecond, ElectionTimeout: 2 * time.Second,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := node.Close(context.Background()); err != nil {
				b.Error(err)
			}
		})
		nodes = append(nodes, node)
	}
	for {
		if err := nodes[0].Read(b.Context()); err != nil {
			b.Fatal(err)
		}
		for _, node := range nodes {
			if node.Status().Role == "leader" {
				return node
			}
		}
	}
}

// benchTurn lets all clients propose their commands at once, and returns how long that took.
func benchTurn(b *testing.B, propose func(ctx context.Context, client int) error) time.Duration {
	begun := time.Now()
	var all sync.WaitGroup
	for i := range benchClients {
		all.Go(func() {
			ctx, cancel := context.WithCancel(b.Context()) // callers have no lock in common
			defer cancel()
			for range benchCommands {
				if err := propose(ctx, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(begun)
}
