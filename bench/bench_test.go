package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// TestMain makes the test program a server when a cell has started it as one.
func TestMain(m *testing.M) {
	serveIfOrdered()
	os.Exit(m.Run())
}

// measureTiny runs the program with small values and further arguments, and returns the results.
func measureTiny(t *testing.T, args ...string) []result {
	var out, log bytes.Buffer
	err := run(t.Context(), append([]string{
		"-clients", "8", "-payload", "32", "-json", "-duration", "300ms", "-warmup", "10ms", "-prime", "1000000", "-rounds", "1",
		"-election", "300ms", "-rate", "500", "-entries", "2000", "-state", "1", "-times", "1", "-groups", "6", "-dir", t.TempDir(),
	}, args...), &out, &log)
	require.NoError(t, err, log.String())
	results, err := readJSON(&out)
	require.NoError(t, err)
	return results
}

// filesOfDragonboat is more than the five servers of dragonboat in one process have open at once:
// each has sixteen logs.
const filesOfDragonboat = 900

// affordable says whether this process may have as many files open as a peer needs, which the test
// is told if not.
func affordable(t *testing.T, peer string) bool {
	if peer != "dragonboat" {
		return true
	}
	for n := range filesOfDragonboat {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Logf("not with %s: only %d of %d files may be open: %v", peer, n, filesOfDragonboat, err)
			return false
		}
		defer func() { require.NoError(t, file.Close()) }()
	}
	return true
}

// among lists those peers that are affordable.
func among(t *testing.T, peers ...string) string {
	return strings.Join(slices.DeleteFunc(peers, func(peer string) bool { return !affordable(t, peer) }), ",")
}

// TestPeers runs every peer for a moment in each of its modes: the run passes its own check, and
// has every figure that a load has for every peer.
func TestPeers(t *testing.T) {
	for _, p := range allPeers() {
		for _, mode := range p.Modes() {
			t.Run(p.Name()+"/"+string(mode), func(t *testing.T) {
				if !affordable(t, p.Name()) {
					t.SkipNow()
				}
				results := measureTiny(t, "-peers", p.Name(), "-mode", string(mode))
				require.Len(t, results, 1)
				r := results[0]
				require.Equal(t, key{Cell: "load", Mode: mode, Servers: 3, Clients: 8, Payload: 32}, r.key)
				require.Equal(t, p.Name(), r.Peer)
				for _, name := range []string{"throughput", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "allocs"} {
					require.Contains(t, r.Figures, name)
				}
				require.Positive(t, r.Figures["throughput"])
				require.GreaterOrEqual(t, r.Figures["p99_us"], r.Figures["p50_us"])
				require.NotEmpty(t, r.Histogram)
				require.NotEmpty(t, p.Settings(mode))
			})
		}
	}
}

// TestCells runs every cell for a moment with one peer of each library: each peer has every figure
// that the cell's table compares, or the reason why it has none.
func TestCells(t *testing.T) {
	peers := among(t, "raft", "hashicorp-wal", "etcd", "dragonboat", floorName)
	for _, c := range allCells() {
		t.Run(c.name, func(t *testing.T) {
			peers := peers
			if c.name == "groups-closed" || c.name == "groups-fair" {
				peers = "raft,hashicorp-wal,etcd," + floorName // dragonboat takes ten seconds and more
			}
			for _, r := range measureTiny(t, "-cell", c.name, "-peers", peers) {
				p, err := selectPeers(r.Peer)
				require.NoError(t, err)
				if why := c.lacks(p[0]); why != "" {
					hosts := slices.Contains(c.needs, hosting) && r.Peer != "raft" && r.Peer != "dragonboat"
					require.True(t, hosts || r.Peer == floorName || c.name == "snapshots" && r.Peer == "etcd", r.Peer)
					require.Equal(t, why, r.Why)
					continue
				}
				require.Empty(t, r.Why)
				for _, col := range c.columns {
					if col.better != nil && col.name != "cpu_us" && col.name != "cpu_s" {
						require.Contains(t, r.Figures, col.name, r.Peer)
						require.Positive(t, r.Figures[col.name], "%s of %s", col.name, r.Peer)
					}
				}
			}
		})
	}
}

// TestFiveServers runs one peer of each library with five servers, in both modes.
func TestFiveServers(t *testing.T) {
	peers := among(t, "raft", "hashicorp-wal", "hashicorp-memory", "etcd", "dragonboat", floorName)
	results := measureTiny(t, "-servers", "5", "-mode", "disk,memory", "-peers", peers)
	require.Len(t, results, 2*(1+strings.Count(peers, ","))-2, "each of two peers runs in one mode")
	for _, r := range results {
		require.Equal(t, 5, r.Servers)
		require.Positive(t, r.Figures["throughput"], r.Peer)
	}
}

// A fakeCluster is a cluster with one server, itself. Its proposals do what a test wants.
type fakeCluster struct {
	machines []*Machine
	propose  func(machines []*Machine, command []byte) (uint64, error)
	contexts []context.Context // of its requests, if a test asks for them
}

func (c *fakeCluster) Start(int) (Server, error)      { return c, nil }
func (c *fakeCluster) Leads() bool                    { return true }
func (c *fakeCluster) Snapshot(context.Context) error { return nil }
func (c *fakeCluster) HandOver(context.Context) error { return nil }
func (c *fakeCluster) Syncs() (uint64, bool)          { return 0, false }
func (c *fakeCluster) Close() error                   { return nil }
func (c *fakeCluster) Read(ctx context.Context, _ int) error {
	c.contexts = append(c.contexts, ctx)
	return nil
}
func (c *fakeCluster) Propose(ctx context.Context, _ int, command []byte) (uint64, error) {
	c.contexts = append(c.contexts, ctx)
	return c.propose(c.machines, command)
}

// A fakePeer is a peer whose clusters are fake. It is the function that their proposals call.
type fakePeer func(machines []*Machine, command []byte) (uint64, error)

func (fakePeer) Name() string         { return "fake" }
func (fakePeer) Modes() []Mode        { return []Mode{inMemory} }
func (fakePeer) Settings(Mode) string { return "" }
func (fakePeer) Lacks(Ability) string { return "" }
func (p fakePeer) New(o Options) (Cluster, error) {
	return &fakeCluster{machines: o.Machines, propose: p}, nil
}

// measureFake measures a fake peer with one client.
func measureFake(t *testing.T, p fakePeer, rate float64) (r result, err error) {
	err = measureLoad(t.Context(), p, runConfig{
		mode: inMemory, servers: 3, load: loadConfig{clients: 1, payload: minPayload, rate: rate}, duration: 20 * time.Millisecond, dir: t.TempDir(),
	}, &r)
	return r, err
}

// applyAll applies a command at all servers.
func applyAll(machines []*Machine, command []byte) uint64 {
	var result uint64
	for _, m := range machines {
		result = m.Apply(command)
	}
	return result
}

// TestCheckAccepts: a peer that does its work has figures. It has no figure for what can't be
// counted.
func TestCheckAccepts(t *testing.T) {
	for _, rate := range []float64{0, 5000} {
		r, err := measureFake(t, func(m []*Machine, command []byte) (uint64, error) { return applyAll(m, command), nil }, rate)
		require.NoError(t, err)
		require.Positive(t, r.Figures["throughput"])
		require.NotContains(t, r.Figures, "syncs")
	}
}

// TestDeadlines: each request has a context of its own with a deadline, if the cell says so. It ends
// with the request.
func TestDeadlines(t *testing.T) {
	server := &fakeCluster{propose: func(_ []*Machine, command []byte) (uint64, error) { return result64(command), nil }}
	l := newLoad(server, loadConfig{clients: 1, payload: minPayload, reads: 50, limit: 4, deadline: time.Hour})
	l.start(t.Context())
	<-l.done
	require.NoError(t, l.stop())
	require.Len(t, server.contexts, 4)
	for i, ctx := range server.contexts {
		_, has := ctx.Deadline()
		require.True(t, has)
		require.ErrorIs(t, ctx.Err(), context.Canceled)
		require.NotContains(t, server.contexts[:i], ctx)
	}
}

// TestOmission: in an open loop a peer that hangs is charged with every request that was due
// meanwhile, whether it was made or not.
func TestOmission(t *testing.T) {
	const hang = 100 * time.Millisecond
	l := &load{open: newArrivals(1000)}
	began := time.Now()
	l.server = &fakeCluster{propose: func(_ []*Machine, command []byte) (uint64, error) {
		for time.Since(began) < hang {
			runtime.Gosched()
		}
		return result64(command), nil
	}}
	const arrivals = 50
	for i := range arrivals {
		l.open.due <- arrival{at: time.Duration(i) * time.Millisecond, measured: true}
	}
	close(l.open.due)
	c := newClient(0, minPayload)
	require.NoError(t, c.serve(t.Context(), l))
	require.EqualValues(t, arrivals, c.writes.total)
	require.Greater(t, c.writes.quantile(0.01), 45_000.0, "the last one was due 50 ms before the peer went on")
	require.Zero(t, c.unserved)

	l.open.due = make(chan arrival, 1)
	l.open.due <- arrival{at: 0, measured: true}
	close(l.open.due)
	l.phase.Store(stopping)
	late := newClient(0, minPayload)
	require.NoError(t, late.serve(t.Context(), l))
	require.EqualValues(t, 1, late.unserved)
	require.Greater(t, late.writes.quantile(0.5), 90_000.0)
}

// TestCheckRefuses: a peer that does less than its work, or other work, has no figures.
func TestCheckRefuses(t *testing.T) {
	for name, broken := range map[string]fakePeer{
		"a command applied twice": func(m []*Machine, command []byte) (uint64, error) {
			applyAll(m, command)
			return applyAll(m, command), nil
		},
		"another command at a follower": func(m []*Machine, command []byte) (uint64, error) {
			m[0].Apply(command)
			m[1].Apply(command)
			m[2].Apply(append([]byte{1}, command...))
			return result64(command), nil
		},
		"the result of another command": func(m []*Machine, command []byte) (uint64, error) {
			return applyAll(m, command) + 1, nil
		},
		"two commands in another order": func() fakePeer {
			var held []byte
			return func(m []*Machine, command []byte) (uint64, error) {
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
				// The number of commands is even, so that only their order is wrong.
				machines, l := pairOfCommands(t, broken)
				require.ErrorIs(t, l.check(machines), errWrongState)
				return
			}
			_, err := measureFake(t, broken, 0)
			require.ErrorIs(t, err, errWrongState)
		})
	}
}

// pairOfCommands proposes exactly two commands.
func pairOfCommands(t *testing.T, p fakePeer) ([]*Machine, *load) {
	machines := []*Machine{new(Machine), new(Machine), new(Machine)}
	l := &load{clients: []*client{{}}}
	for i := range 2 {
		got, err := p(machines, append(make([]byte, minPayload), byte(i)))
		require.NoError(t, err)
		l.clients[0].answered++
		l.clients[0].sum += got
	}
	return machines, l
}

// TestRunFails: the error of a client ends the run, and is the error of the run.
func TestRunFails(t *testing.T) {
	gone := errors.New("leader gone")
	_, err := measureFake(t, func([]*Machine, []byte) (uint64, error) { return 0, gone }, 0)
	require.ErrorIs(t, err, gone)
}

// TestStableStoreEnds: once a server is closed, nobody writes a term in its name, and nobody is
// told of an error: the library panics at one.
func TestStableStoreEnds(t *testing.T) {
	store := &stableStore{StableStore: hraft.NewInmemStore()}
	require.NoError(t, store.SetUint64([]byte("term"), 1))
	require.NoError(t, store.Set([]byte("vote"), []byte("a")))
	store.end()
	for _, write := range []func(){
		func() { _ = store.SetUint64([]byte("term"), 2) },
		func() { _ = store.Set([]byte("vote"), []byte("b")) },
	} {
		wrote := make(chan bool, 1)
		go func() {
			defer close(wrote)
			write()
			wrote <- true
		}()
		require.False(t, <-wrote)
	}
	term, err := store.GetUint64([]byte("term"))
	require.NoError(t, err)
	require.EqualValues(t, 1, term)
	vote, err := store.Get([]byte("vote"))
	require.NoError(t, err)
	require.Equal(t, "a", string(vote))
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

// TestTable: a ratio compares a peer with the best other peer of the same round, and never with the
// floor. A peer without figures is named below the table, with the reason.
func TestTable(t *testing.T) {
	one := func(peer string, round int, throughput, cpu float64) result {
		r := result{key: key{Cell: "load", Mode: onDisk, Servers: 3}, Peer: peer, Round: round}
		r.set("throughput", throughput)
		if cpu > 0 {
			r.set("cpu_us", cpu)
		}
		return r
	}
	results := []result{
		one("raft", 1, 200, 1), one("etcd", 1, 100, 2), one(floorName, 1, 400, 0),
		one("raft", 2, 100, 1), one("etcd", 2, 100, 0), one(floorName, 2, 400, 0),
	}
	throughput, cpu, syncs := column{name: "throughput", better: maxOf}, column{name: "cpu_us", better: minOf}, column{name: "syncs", better: minOf}
	require.InDelta(t, 1.5, *ratio(results, "raft", throughput), 1e-9)
	require.InDelta(t, 0.75, *ratio(results, "etcd", throughput), 1e-9)
	require.InDelta(t, 0.375, *ofFloor(results, "raft", throughput), 1e-9)
	require.InDelta(t, 0.5, *ratio(results, "raft", cpu), 1e-9)
	require.Nil(t, ratio(results, "raft", syncs))

	results = append(results, result{key: results[0].key, Peer: "dragonboat", Round: 1, Why: "it was raining"})
	var out bytes.Buffer
	require.NoError(t, writeTables(&out, results))
	require.Contains(t, out.String(), "100–200")
	require.Contains(t, out.String(), "dragonboat: no figures: it was raining")
	require.NotContains(t, out.String(), "raft: ")
	out.Reset()
	require.NoError(t, writeTables(&out, append(results, result{key: results[0].key, Peer: "raft", Round: 3, Why: "it was snowing"})))
	require.Contains(t, out.String(), "raft: a round has no figures: it was snowing")
	require.Contains(t, out.String(), "100–200")

	var page bytes.Buffer
	require.NoError(t, writeHTML(&page, results))
	require.Contains(t, page.String(), "it was raining")
	require.NotContains(t, page.String(), "http:")
	require.NotContains(t, page.String(), "https:")
}

// TestMatrix: each cell is measured once with each value of the parameters by which it can be
// varied, and its runs aren't multiplied by the values of others.
func TestMatrix(t *testing.T) {
	s, err := parse(strings.Fields("-cell load,restart,away,snapshots,failover-killed,groups-load,groups-start -groups 7,8 -mode disk,memory -servers 3,5 -clients 1,64 -payload 16,128 -election 1s,150ms -entries 10,100 -state 1,2"), io.Discard)
	require.NoError(t, err)
	count := map[string]int{}
	for _, r := range s.matrix() {
		count[r.key.Cell]++
		require.Equal(t, r.key.Cell == "restart", r.servers == 1)
		require.Equal(t, r.key.Entries, r.entries)
		require.Equal(t, r.key.Groups, r.groups)
		require.Equal(t, r.key.State<<20, r.state)
	}
	require.Equal(t, map[string]int{"load": 16, "restart": 4, "away": 8, "snapshots": 16, "failover-killed": 4, "groups-load": 32, "groups-start": 16}, count)
}

// TestFiles: -from reads what -o has written, and measures nothing.
func TestFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	measured := measureTiny(t, "-peers", "floor", "-mode", "memory", "-o", file)
	require.Equal(t, measured, measureTiny(t, "-from", file))
	require.NoError(t, os.WriteFile(file, []byte(`{"cell":"nothing"}`), 0o600))
	require.ErrorContains(t, run(t.Context(), []string{"-from", file}, io.Discard, io.Discard), `no cell "nothing"`)
}

// TestFlags: a flag that makes no sense is refused, and the error names it.
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
		"-servers 1":                        "-servers 1",
		"-rate 0":                           "-rate 0",
		"-times 0":                          "-times 0",
		"-entries x":                        "-entries",
		"-entries 1000,0":                   "-entries 0",
		"-state 0":                          "-state 0",
		"-groups 2":                         "-groups 2",
		"-groups 5,x":                       "-groups",
		"-peer-groups 0":                    "-peer-groups 0",
		"-cell nothing":                     `no cell "nothing"`,
		"-cell restart -mode memory":        "no cell runs",
		"-peers etcd,hashicorp-wal -cpuprofile /x": "one peer",
		"-peers etcd -rounds 2 -cpuprofile x":      "one peer",
		"extra":                                    `"extra"`,
	} {
		var out, log bytes.Buffer
		require.ErrorContains(t, run(t.Context(), strings.Fields(args), &out, &log), want, args)
	}
}

// TestDescribe: -describe prints the settings of every peer.
func TestDescribe(t *testing.T) {
	var out, log bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-describe"}, &out, &log))
	for _, p := range allPeers() {
		for _, mode := range p.Modes() {
			if mode == onDisk {
				require.Contains(t, out.String(), p.Name()+" (disk)")
			}
		}
	}
}
