package prometheus_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	raftprom "github.com/e17579a5/raft/metrics/prometheus"
)

type counter struct{ n int }

func (c *counter) Apply(entries []raft.Entry, results [][]byte) { c.n += len(entries) }
func (c *counter) Snapshot() (io.WriterTo, error)               { return nil, fmt.Errorf("no snapshots") }
func (c *counter) Restore(io.Reader) error                      { return nil }

func Example() {
	metrics := raftprom.New("a", raftprom.Options{})
	config := raft.Config{
		ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, Machine: &counter{},
		Storage:   memory.NewStorage(), // or wal.Open with wal.Options{Synced: metrics.Synced}
		Transport: memory.NewNetwork(memory.Options{}).Join("a"),
	}
	metrics.Instrument(&config)
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	metrics.Attach(node)
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics); err != nil { // and serve promhttp.HandlerFor(registry, …)
		log.Fatal(err)
	}
	if _, err := node.Propose(context.Background(), []byte("a command")); err != nil {
		log.Fatal(err)
	}
	if err := node.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "raft_applied_index" {
			fmt.Println(family.GetName(), family.Metric[0].Gauge.GetValue())
		}
	}
	// Output: raft_applied_index 2
}
