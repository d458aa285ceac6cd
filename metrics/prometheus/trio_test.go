package prometheus

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// nothing is a state machine without state.
type nothing struct{}

func (nothing) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		results[i] = entries[i].Data[:0]
	}
}

func (nothing) Snapshot() (io.WriterTo, error) { return nil, nil }
func (nothing) Restore(io.Reader) error        { return nil }

// A trio is three servers in one process.
type trio struct {
	nodes   []*raft.Node
	metrics []*Metrics // nil if nothing is measured
}

// startTrio starts three servers, in memory or with files and sockets, with metrics or without.
func startTrio(t testing.TB, onDisk, measured bool) *trio {
	var c trio
	network := memory.NewNetwork(memory.Options{})
	quiet := slog.New(slog.DiscardHandler)
	var configs []raft.Config
	var servers []raft.Server
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		m := New(id, Options{})
		config := raft.Config{ID: id, Machine: nothing{}, Logger: quiet}
		server := raft.Server{ID: id, Address: string(id)}
		if onDisk {
			options := wal.Options{Logger: quiet}
			if measured {
				options.Synced = m.Synced
			}
			log, err := wal.Open(t.TempDir(), options)
			require.NoError(t, err)
			transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{Logger: quiet})
			require.NoError(t, err)
			config.Storage, config.Transport, server.Address = log, transport, transport.Addr().String()
		} else {
			config.Storage, config.Transport = memory.NewStorage(), network.Join(id)
		}
		if measured {
			m.Instrument(&config)
			c.metrics = append(c.metrics, m)
		}
		configs, servers = append(configs, config), append(servers, server)
	}
	for i := range configs {
		configs[i].Bootstrap = servers
		node, err := raft.Start(configs[i])
		require.NoError(t, err)
		c.nodes = append(c.nodes, node)
		if measured {
			c.metrics[i].Attach(node)
		}
	}
	return &c
}

func (c *trio) close() {
	for _, node := range c.nodes {
		_ = node.Close(context.Background())
	}
}

// leader waits for a leader.
func (c *trio) leader(t testing.TB) *raft.Node {
	for {
		_, err := c.nodes[0].Propose(context.Background(), []byte("a command"))
		require.NoError(t, err)
		for _, node := range c.nodes {
			if node.Leadership().Ready {
				return node
			}
		}
	}
}

// scrapeAll collects all metrics, as Prometheus does.
func (c *trio) scrapeAll(t testing.TB) {
	for _, m := range c.metrics {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(m)
		_, err := registry.Gather()
		require.NoError(t, err)
	}
}

// A command allocates no more with metrics than without.
func TestMetricsAllocateNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var allocated [2]float64
		for i, measured := range []bool{false, true} {
			c := startTrio(t, false, measured)
			leader, command := c.leader(t), make([]byte, 128)
			propose := func() {
				if _, err := leader.Propose(t.Context(), command); err != nil {
					t.Error(err)
				}
			}
			for range 2000 {
				propose()
			}
			allocated[i] = testing.AllocsPerRun(2000, propose)
			c.close()
		}
		require.LessOrEqual(t, allocated[1], allocated[0])
	})
}
