// Package prometheus shows what a raft.Node knows and does as metrics for Prometheus. It needs
// client_golang, and is a module of its own.
//
//	metrics := prometheus.New("a", prometheus.Options{})
//	storage, err := wal.Open("data/a", wal.Options{Synced: metrics.Synced})
//	transport, err := tcp.Listen(":7001", tcp.Options{})
//	config := raft.Config{ID: "a", Storage: storage, Transport: transport, …}
//	metrics.Instrument(&config)
//	node, err := raft.Start(config)
//	metrics.Attach(node)
//	registry.MustRegister(metrics)
//
// For a host with many groups, Metrics.InstrumentHost and Metrics.AttachHost take the place of Instrument
// and Attach: the series are then of all groups together.
//
// The README beside this file lists each series with its meaning. alerts.yml has rules that alert
// on them, and dashboard.json is a dashboard for Grafana.
//
// # What it costs
//
// A command costs no allocation. The loop of a node counts by itself, without a lock, and shows
// what it has counted at the end of a turn, so a batch of commands costs hardly more than one. The
// rest is read when Prometheus asks: a call of Node.Status, and one of the transport's Stats.
//
// # Histograms
//
// Durations are native histograms with about 9 % from one bucket to the next, and beside them
// classic ones for a Prometheus that doesn't scrape native ones, with buckets from 61 µs to 32 s
// that double (Options.NativeOnly leaves them out). The rules and the dashboard take whichever of
// the two is there.
//
// # Cardinality
//
// The number of series is bounded: by the number of members (at most 255; of a host, by the number of
// processes that its groups name) for those with a label peer, by Options.TopGroups and Options.Groups
// for those with a label group, however many groups a host has, and by constants for all others. No label has a command, an address, an index or the text
// of an error.
package prometheus
