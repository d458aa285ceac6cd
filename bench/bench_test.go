package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPeers runs every peer for a moment in each of its modes: the run passes its own check, and
// every figure that a peer can give is there.
func TestPeers(t *testing.T) {
	for _, p := range allPeers() {
		for _, mode := range p.Modes() {
			t.Run(p.Name()+"/"+string(mode), func(t *testing.T) {
				var out, log bytes.Buffer
				err := run(t.Context(), []string{
					"-peers", p.Name(), "-mode", string(mode), "-clients", "8", "-payload", "32", "-json",
					"-duration", "100ms", "-warmup", "10ms", "-rounds", "1", "-election", "200ms", "-dir", t.TempDir(),
				}, &out, &log)
				require.NoError(t, err, log.String())

				var r map[string]any
				require.NoError(t, json.Unmarshal(out.Bytes(), &r))
				for _, key := range []string{"peer", "mode", "clients", "payload", "round", "throughput", "p50_us", "p99_us", "cpu_us", "allocs", "syncs"} {
					require.Contains(t, r, key)
				}
				require.Equal(t, p.Name(), r["peer"])
				require.Positive(t, r["throughput"])
				require.GreaterOrEqual(t, r["p99_us"], r["p50_us"])
				require.NotEmpty(t, p.Settings(mode))
			})
		}
	}
}

// A fakeCluster applies commands to its machines as a test wants.
type fakeCluster struct {
	machines [servers]*Machine
	propose  func(machines [servers]*Machine, command []byte) (uint64, error)
}

func (c *fakeCluster) Propose(_ context.Context, _ int, command []byte) (uint64, error) {
	return c.propose(c.machines, command)
}
func (c *fakeCluster) Syncs() (uint64, bool) { return 0, false }
func (c *fakeCluster) Close() error          { return nil }

// A fakePeer starts a fakeCluster.
type fakePeer func(machines [servers]*Machine, command []byte) (uint64, error)

func (fakePeer) Name() string         { return "fake" }
func (fakePeer) Modes() []Mode        { return []Mode{memory} }
func (fakePeer) Settings(Mode) string { return "" }
func (p fakePeer) Start(_ context.Context, o Options) (Cluster, error) {
	return &fakeCluster{machines: o.Machines, propose: p}, nil
}

// measureFake measures a fake peer with one client.
func measureFake(t *testing.T, p fakePeer) (result, error) {
	return measure(t.Context(), p, runConfig{
		mode: memory, clients: 1, payload: minPayload, duration: time.Millisecond, dir: t.TempDir(),
	})
}

// applyAll applies a command at all servers.
func applyAll(machines [servers]*Machine, command []byte) uint64 {
	var result uint64
	for _, m := range machines {
		result = m.Apply(command)
	}
	return result
}

// TestCheckAccepts: a peer that does its work has figures, and null for what can't be counted.
func TestCheckAccepts(t *testing.T) {
	r, err := measureFake(t, func(m [servers]*Machine, command []byte) (uint64, error) { return applyAll(m, command), nil })
	require.NoError(t, err)
	require.Positive(t, r.Throughput)
	require.Nil(t, r.Syncs)
}

// TestCheckRefuses: a peer that does less than its work, or other work, has no figures.
func TestCheckRefuses(t *testing.T) {
	for name, broken := range map[string]fakePeer{
		"a command applied twice": func(m [servers]*Machine, command []byte) (uint64, error) {
			applyAll(m, command)
			return applyAll(m, command), nil
		},
		"another command at a follower": func(m [servers]*Machine, command []byte) (uint64, error) {
			m[0].Apply(command)
			m[1].Apply(command)
			m[2].Apply(append([]byte{1}, command...))
			return result64(command), nil
		},
		"the result of another command": func(m [servers]*Machine, command []byte) (uint64, error) {
			return applyAll(m, command) + 1, nil
		},
		"two commands in another order": func() fakePeer {
			var held []byte
			return func(m [servers]*Machine, command []byte) (uint64, error) {
				m[0].Apply(command)
				m[1].Apply(command)
				if held == nil {
					held = bytes.Clone(command)
				} else {
					m[2].Apply(command)
					m[2].Apply(held)
					held = nil
				}
				return result64(command), nil
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "order") {
				// An even number of commands, so that only their order is wrong.
				machines, l := pairOfCommands(t, broken)
				require.ErrorIs(t, l.check(machines), errWrongState)
				return
			}
			_, err := measureFake(t, broken)
			require.ErrorIs(t, err, errWrongState)
		})
	}
}

// pairOfCommands proposes exactly two commands.
func pairOfCommands(t *testing.T, p fakePeer) ([servers]*Machine, *load) {
	var machines [servers]*Machine
	for i := range machines {
		machines[i] = new(Machine)
	}
	l := &load{clients: []*client{{}}}
	for i := range 2 {
		got, err := p(machines, append(make([]byte, minPayload), byte(i)))
		require.NoError(t, err)
		l.clients[0].answered++
		l.clients[0].sum += got
	}
	return machines, l
}

// TestRunFails: the error of a client ends the run, and is its error.
func TestRunFails(t *testing.T) {
	gone := errors.New("leader gone")
	_, err := measureFake(t, func([servers]*Machine, []byte) (uint64, error) { return 0, gone })
	require.ErrorIs(t, err, gone)
}

// TestHistogram: a quantile is within 4 % of the truth, from nanoseconds to a minute.
func TestHistogram(t *testing.T) {
	for d := time.Nanosecond; d < time.Minute; d = d*5/4 + 1 {
		var h histogram
		h.add(d)
		require.InEpsilon(t, float64(d)/1000, h.quantile(0.5), 0.04, d)
	}
	var h, other histogram
	for i := range 100 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	other.merge(&h)
	require.InEpsilon(t, 51_000, other.quantile(0.50), 0.04)
	require.InEpsilon(t, 100_000, other.quantile(0.99), 0.04)
	require.EqualValues(t, 100, other.total)
	h.add(time.Hour)
	require.Less(t, h.quantile(1), 70e6)
}

// TestTable: ratios compare with the best other peer of the same round, and never with the floor.
func TestTable(t *testing.T) {
	one, two := 1.0, 2.0
	results := []result{
		{Peer: "a", Round: 1, Throughput: 200, CPU: &one}, {Peer: "b", Round: 1, Throughput: 100, CPU: &two}, {Peer: floorName, Round: 1, Throughput: 400},
		{Peer: "a", Round: 2, Throughput: 100, CPU: &one}, {Peer: "b", Round: 2, Throughput: 100}, {Peer: floorName, Round: 2, Throughput: 400},
	}
	throughput := func(r result) *float64 { return &r.Throughput }
	require.InDelta(t, 1.5, *ratio(results, "a", throughput, maxOf), 1e-9)
	require.InDelta(t, 0.75, *ratio(results, "b", throughput, maxOf), 1e-9)
	require.InDelta(t, 0.375, *ofFloor(results, "a"), 1e-9)
	require.InDelta(t, 0.5, *ratio(results, "a", func(r result) *float64 { return r.CPU }, minOf), 1e-9)
	require.Nil(t, ratio(results, "a", func(r result) *float64 { return r.Syncs }, minOf))
}

// TestFlags: what makes no sense is refused by name.
func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-peers nobody":                     `no peer "nobody"`,
		"-peers etcd,etcd":                  "named twice",
		"-mode paper":                       "-mode paper",
		"-peers hashicorp-wal -mode memory": "doesn't run in mode memory",
		"-payload 15":                       "-payload 15",
		"-clients 0":                        "-clients 0",
		"-clients 65537":                    "-clients 65537",
		"-rounds 0":                         "-rounds",
		"-election 1ms":                     "-election 1ms",
		"-peers etcd,hashicorp-wal -cpuprofile /x": "one peer",
		"-peers etcd -rounds 2 -cpuprofile x":      "one peer",
		"extra":                                    `"extra"`,
	} {
		var out, log bytes.Buffer
		require.ErrorContains(t, run(t.Context(), strings.Fields(args), &out, &log), want, args)
	}
}

// TestDescribe: every peer says how it is set up.
func TestDescribe(t *testing.T) {
	var out, log bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-describe"}, &out, &log))
	for _, p := range allPeers() {
		for _, mode := range p.Modes() {
			if mode == disk {
				require.Contains(t, out.String(), p.Name()+" (disk)")
			}
		}
	}
}
