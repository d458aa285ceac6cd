package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/history"
)

// A sharded is a store with shards in virtual time, with a server for clients of each kind at each host.
type sharded struct {
	t       *testing.T
	network *memory.Network
	shards  int
	limits  limits
	disks   map[raft.ServerID]*memory.Storage

	mu      sync.Mutex
	hosts   map[raft.ServerID]*shard.Host
	servers map[raft.ServerID][]*server // for clients of Redis Cluster, and for plain ones
	pipes   map[string]*pipes           // by addresses
}

var founders = []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}

// newSharded founds a store on servers a, b and c.
func newSharded(t *testing.T, shards int) *sharded {
	o, err := parseOptions([]string{"-dir", "x"}, io.Discard)
	require.NoError(t, err)
	s := &sharded{
		t: t, network: memory.NewNetwork(memory.Options{Faults: memory.Faults{MinDelay: time.Millisecond, MaxDelay: 3 * time.Millisecond}}),
		shards: shards, limits: o.limits, disks: map[raft.ServerID]*memory.Storage{}, hosts: map[raft.ServerID]*shard.Host{},
		servers: map[raft.ServerID][]*server{}, pipes: map[string]*pipes{},
	}
	for _, f := range founders {
		s.start(f.ID)
	}
	s.await((*shard.Table).Settled)
	return s
}

// clusterPort and plainPort are where clients find a server.
func clusterPort(id raft.ServerID) string { return string(id) + ":1" }
func plainPort(id raft.ServerID) string   { return string(id) + ":2" }

func (s *sharded) start(id raft.ServerID) {
	if s.disks[id] == nil {
		s.disks[id] = memory.NewStorage()
	}
	s.disks[id] = s.disks[id].Reopen()
	o := shard.Options{
		Self: shard.Server{ID: id, Address: string(id), Client: clusterPort(id)}, Shards: s.shards, Moves: 2, Storage: s.disks[id],
		Transport: s.network.Join(id), Group: func(int) raft.Config { return groupConfig(1 << 20) }, Logger: slog.New(slog.DiscardHandler),
	}
	if slices.ContainsFunc(founders, func(f raft.Server) bool { return f.ID == id }) {
		o.Founders = founders
	}
	host, err := shard.Start(o)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[id], s.servers[id] = host, nil
	others := newUpstreams(func(_ context.Context, address string) (net.Conn, error) { return s.connect(address) })
	for i, port := range []string{clusterPort(id), plainPort(id)} {
		s.pipes[port] = newPipes()
		server := newShardServer(host, raft.Server{ID: id, Address: string(id)}, s.pipes[port], s.limits, others, i == 1)
		s.servers[id] = append(s.servers[id], server)
		go func() { _ = server.serve() }() // until end
	}
}

// end ends a server; with crash as kill -9 does.
func (s *sharded) end(id raft.ServerID, crash bool) {
	s.mu.Lock()
	host, servers := s.hosts[id], s.servers[id]
	delete(s.hosts, id)
	s.mu.Unlock()
	if crash {
		s.network.Isolate(id)
		s.disks[id] = s.disks[id].Reopen()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, server := range slices.Backward(servers) {
		_ = server.stop(ctx)
	}
	servers[0].upstreams.close()
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := host.Close(ctx); !crash {
		require.NoError(s.t, err)
	}
	s.network.Heal()
}

func (s *sharded) close() {
	for _, id := range slices.Sorted(maps.Keys(s.hosts)) {
		s.end(id, false)
	}
}

func (s *sharded) connect(address string) (net.Conn, error) {
	s.mu.Lock()
	p := s.pipes[address]
	s.mu.Unlock()
	if p == nil {
		return nil, errors.New("nobody listens")
	}
	c, err := p.dial()
	if err != nil {
		return nil, err
	}
	return c.conn, nil
}

// client connects a client for the length of a test.
func (s *sharded) client(address string) *plainClient {
	conn, err := s.connect(address)
	require.NoError(s.t, err)
	return newPlainClient(conn)
}

// register has a server join, and leave has one leave.
func (s *sharded) register(id raft.ServerID) {
	require.NoError(s.t, s.hosts["a"].Register(s.t.Context(), shard.Server{ID: id, Address: string(id), Client: clusterPort(id)}))
}

func (s *sharded) leave(id raft.ServerID) {
	require.NoError(s.t, s.hosts["a"].Leave(s.t.Context(), id))
}

// await waits until all servers have a table as it should be.
func (s *sharded) await(holds func(*shard.Table) bool) {
	s.t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		good := true
		for _, host := range s.hosts {
			good = good && holds(host.Table())
		}
		if good {
			return
		}
		require.True(s.t, time.Now().Before(late), "the table isn't as it should be")
	}
}

// four says that four servers share the shards.
func four(t *shard.Table) bool { return t.Settled() && len(t.Servers) == 4 && t.Moves > 0 }

// keyAt returns a key whose shard a server has, or hasn't.
func (s *sharded) keyAt(id raft.ServerID, has bool) string {
	for i := 0; ; i++ {
		key := fmt.Sprint("key", i)
		if _, _, here := s.hosts[id].Local(shard.Of(key, s.shards)); here == has {
			return key
		}
	}
}

// TestPlainClients: who knows nothing of Redis Cluster uses any server as if it were one large one.
func TestPlainClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharded(t, 8)
		defer s.close()
		s.start("d")
		s.register("d")
		s.await(four)
		c := s.client(plainPort("d"))
		defer func() { _ = c.conn.Close() }()
		for _, key := range []string{s.keyAt("d", true), s.keyAt("d", false)} {
			other := "{" + key + "}other"
			for _, step := range [][2]string{
				{"set KEY 1", "+OK"}, {"get KEY", `"1"`}, {"mset KEY 2 OTHER x", "+OK"}, {"mget KEY OTHER none", "-CROSSSLOT Keys in request don't hash to the same slot"},
				{"mget KEY OTHER", `*["2" | "x"]`}, {"hset KEY f v", "-WRONGTYPE Operation against a key holding the wrong kind of value"},
				{"watch KEY", "+OK"}, {"get KEY", `"2"`}, {"multi", "+OK"}, {"incr KEY", "+QUEUED"}, {"append OTHER x", "+QUEUED"}, {"exec", "*[:3 | :2]"},
				{"multi", "+OK"}, {"incr KEY", "+QUEUED"}, {"hset KEY f v", "+QUEUED"}, {"exec", "*[:4 | -WRONGTYPE Operation against a key holding the wrong kind of value]"},
				{"watch OTHER", "+OK"}, {"watch KEY", "+OK"}, {"incr KEY", ":5"}, {"multi", "+OK"}, {"incr KEY", "+QUEUED"}, {"exec", "nil*"},
				{"watch KEY", "+OK"}, {"incr KEY", ":6"}, {"unwatch", "+OK"}, {"multi", "+OK"}, {"incr KEY", "+QUEUED"}, {"exec", "*[:7]"},
				{"del KEY OTHER", ":2"}, {"cluster info", "-" + noCluster}, {"shard 0 dbsize", "-" + noCluster},
			} {
				line := strings.ReplaceAll(strings.ReplaceAll(step[0], "KEY", key), "OTHER", other)
				require.Equal(t, step[1], c.must(t, line), line)
			}
		}
		require.Contains(t, c.must(t, "info"), "redis_mode:standalone")
		require.Contains(t, c.must(t, "hello 3"), `"mode" | "standalone"`)
		require.Equal(t, "_", c.must(t, "get "+s.keyAt("d", false)))
	})
}

// TestPipelinesElsewhere: a pipeline over all shards has its replies in their order, wherever the keys are, and
// what goes to one shard elsewhere is one entry there.
func TestPipelinesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharded(t, 8)
		defer s.close()
		s.start("d")
		s.register("d")
		s.await(four)
		c := s.client(plainPort("d"))
		defer func() { _ = c.conn.Close() }()
		const n = 300
		for _, line := range []string{"set key%d v%d", "get key%d"} {
			var sent []byte
			for i := range n {
				sent = encode(sent, strings.Fields(strings.ReplaceAll(line, "%d", fmt.Sprint(i)))...)
			}
			go func() { _, _ = c.conn.Write(sent) }()
			for i := range n {
				want := "+OK"
				if line[0] == 'g' {
					want = fmt.Sprintf(`"v%d"`, i)
				}
				got, err := c.reply()
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		}
		key := s.keyAt("d", false)
		applied := func() (sum int64) {
			for _, id := range []raft.ServerID{"a", "b", "c"} {
				if at := s.servers[id][0].where(shard.Of(key, s.shards)); at.node != nil {
					sum = max(sum, at.machine.Summary().Applied)
				}
			}
			return sum
		}
		require.Equal(t, "+OK", c.must(t, "set "+key+" 0"))
		time.Sleep(time.Second)
		before := applied()
		_, err := c.conn.Write(encode(encode(encode(nil, "incr", key), "get", key), "incr", key))
		require.NoError(t, err)
		for _, want := range []string{":1", `"1"`, ":2"} {
			got, err := c.reply()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		time.Sleep(time.Second)
		require.Equal(t, before+1, applied())
	})
}

// TestAllKeys: SCAN, KEYS and DBSIZE are about the keys of all shards, at servers that have them and at those
// that don't.
func TestAllKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharded(t, 100)
		defer s.close()
		c := s.client(plainPort("a"))
		want := map[string]bool{}
		for i := range 300 {
			key := fmt.Sprint("key", i)
			want[fmt.Sprintf("%q", key)] = true
			require.Equal(t, "+OK", c.must(t, "set "+key+" v"))
		}
		require.Equal(t, ":1", c.must(t, "sadd {key7}set x"))
		want[`"{key7}set"`] = true
		s.start("d")
		s.register("d")
		s.await(four)
		sum := 0
		for _, id := range []raft.ServerID{"a", "b", "c", "d"} {
			for _, port := range []string{plainPort(id), clusterPort(id)} {
				c := s.client(port)
				keys := c.must(t, "keys *")
				require.Equal(t, sorted("*["+strings.Join(slices.Collect(maps.Keys(want)), " | ")+"]"), sorted(keys))
				require.Equal(t, `*["key17"]`, c.must(t, "keys key17"))
				for _, options := range []string{"", " count 1", " count 1000", " match key* count 7"} {
					seen := s.scan(c, options)
					if strings.Contains(options, "match") {
						seen[`"{key7}set"`]++
					}
					require.Len(t, seen, len(want), options)
					for key, times := range seen {
						require.True(t, want[key], key)
						require.Equal(t, 1, times, "%s, which is there all the time", key)
					}
				}
				require.Equal(t, map[string]int{`"{key7}set"`: 1}, s.scan(c, " type set"))
				var count int
				_, err := fmt.Sscanf(c.must(t, "dbsize"), ":%d", &count)
				require.NoError(t, err)
				if port == plainPort(id) {
					require.Equal(t, len(want), count)
				} else {
					sum += count
				}
				for line, reply := range map[string]string{
					"scan x": "-ERR invalid cursor", "scan -1": "-ERR invalid cursor", "scan 18446744073709551615": "-ERR invalid cursor: there are 100 shards",
					"scan 54975581388800": "-ERR invalid cursor: there are 100 shards", "scan 0 count 0": "-ERR syntax error", "scan 0 what 1": "-ERR syntax error",
					"scan 0 match": "-ERR syntax error", "flushall": "-ERR 'flushall' changes all keys, and there is no such command over shards",
				} {
					require.Equal(t, reply, c.must(t, line), line)
				}
				require.Equal(t, "+OK", c.must(t, "multi"))
				require.Equal(t, "-ERR 'scan' looks at all keys, and can't be part of a transaction over shards", c.must(t, "scan 0"))
				require.Equal(t, "+OK", c.must(t, "discard"))
				_ = c.conn.Close()
			}
		}
		require.Equal(t, len(want), sum, "a client of Redis Cluster adds up what all say")
		_ = c.conn.Close()
	})
}

// scan lists all keys by SCAN with options, and counts how often each comes.
func (s *sharded) scan(c *plainClient, options string) map[string]int {
	seen, cursor := map[string]int{}, "0"
	for range 10_000 {
		reply := c.must(s.t, "scan "+cursor+options)
		next, keys, found := strings.Cut(strings.TrimPrefix(reply, `*["`), `" | *[`)
		require.True(s.t, found, reply)
		for key := range strings.SplitSeq(strings.TrimSuffix(keys, "]]"), " | ") {
			if key != "" {
				seen[key]++
			}
		}
		if cursor = next; cursor == "0" {
			return seen
		}
	}
	require.Fail(s.t, "the scan doesn't end")
	return nil
}

// TestScanWhileShardsMove: a key that is there from the first SCAN to the last is listed, while servers join,
// crash and leave, and other keys come and go. Each SCAN of a scan goes to another server.
func TestScanWhileShardsMove(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) { scanWhileShardsMove(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func scanWhileShardsMove(t *testing.T, luck *rand.Rand) {
	s := newSharded(t, 12)
	defer s.close()
	c := s.client(plainPort("a"))
	defer func() { _ = c.conn.Close() }()
	const stay = 120
	for i := range stay {
		require.Equal(t, "+OK", c.must(t, fmt.Sprint("set stays", i, " v")))
	}
	done := make(chan struct{})
	var working sync.WaitGroup
	var scans atomic.Int64
	for range 4 {
		lots := rand.New(rand.NewPCG(luck.Uint64(), 2))
		working.Go(func() {
			for !over(done) {
				require.Len(t, s.scanAnywhere(lots, "match stays*"), stay)
				scans.Add(1)
			}
		})
	}
	working.Go(func() { // others come and go
		for i := 0; !over(done); i++ {
			time.Sleep(5 * time.Millisecond)
			_, _ = c.do("set", fmt.Sprint("comes", i), "v") // whatever becomes of it
			_, _ = c.do("del", fmt.Sprint("comes", i-7))
		}
	})
	s.start("d")
	s.register("d")
	time.Sleep(time.Duration(luck.IntN(100)) * time.Millisecond)
	s.end("b", true)
	time.Sleep(2 * time.Second)
	s.start("b")
	s.await(four)
	s.leave("c")
	<-s.hosts["c"].Left()
	s.end("c", false)
	s.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 3 })
	close(done)
	working.Wait()
	require.Greater(t, scans.Load(), int64(7))
}

func over(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// scanAnywhere lists all keys, each time at another server.
func (s *sharded) scanAnywhere(lots *rand.Rand, options string) map[string]bool {
	seen, cursor := map[string]bool{}, "0"
	for {
		reply := s.ask(lots, fmt.Sprintf("scan %s %s count %d", cursor, options, 1+lots.IntN(8)))
		next, keys, found := strings.Cut(strings.TrimPrefix(reply, `*["`), `" | *[`)
		require.True(s.t, found, reply)
		for key := range strings.SplitSeq(strings.TrimSuffix(keys, "]]"), " | ") {
			seen[key] = true
		}
		if cursor = next; cursor == "0" {
			delete(seen, "")
			return seen
		}
	}
}

// ask asks any server, until it carries the command out. A connection is for one command.
func (s *sharded) ask(lots *rand.Rand, line string) string {
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		require.True(s.t, time.Now().Before(late))
		conn, err := s.connect(plainPort(raft.ServerID(rune('a' + lots.IntN(4)))))
		if err != nil {
			continue
		}
		reply, err := newPlainClient(conn).do(strings.Fields(line)...)
		_ = conn.Close()
		if err == nil && !strings.HasPrefix(reply, "-"+codeNotApplied) && !strings.HasPrefix(reply, "-CLUSTERDOWN") {
			return reply
		}
	}
}

// TestLinearizableWhileShardsMove: each key is a register that changes at one moment for all, whatever servers
// plain clients ask, while servers join, crash and leave.
func TestLinearizableWhileShardsMove(t *testing.T) {
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) { linearizableWhileShardsMove(t, rand.New(rand.NewPCG(seed, 3))) })
	}
}

func linearizableWhileShardsMove(t *testing.T, luck *rand.Rand) {
	s := newSharded(t, 6)
	defer s.close()
	h := history.New[history.RegisterCall, string]()
	done := make(chan struct{})
	var clients sync.WaitGroup
	for number := range 4 {
		lots := rand.New(rand.NewPCG(luck.Uint64(), 4))
		clients.Go(func() { s.perform(h, number, lots, done) })
	}
	s.start("d")
	s.register("d")
	time.Sleep(time.Duration(luck.IntN(100)) * time.Millisecond)
	s.end("b", true)
	time.Sleep(2 * time.Second)
	s.start("b")
	s.await(four)
	s.leave("c")
	time.Sleep(time.Duration(luck.IntN(50)) * time.Millisecond)
	s.end("c", luck.IntN(2) == 0)
	s.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 3 })
	time.Sleep(time.Second)
	close(done)
	clients.Wait()
	require.NoError(t, history.Check(h, history.Registers()))
	require.Greater(t, h.Count().Returned, 300)
}

// perform performs operations at random servers.
func (s *sharded) perform(h *registers, number int, lots *rand.Rand, done chan struct{}) {
	var c *plainClient
	for n := 0; !over(done); n++ {
		time.Sleep(time.Duration(lots.IntN(40)) * time.Millisecond)
		if c == nil {
			conn, err := s.connect(plainPort(raft.ServerID(rune('a' + lots.IntN(4)))))
			if err != nil {
				continue
			}
			c = newPlainClient(conn)
		}
		_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second)) // a pipe takes any
		if err := perform(h, number, c, lots, 10, fmt.Sprint(number, "-", n)); err != nil || lots.IntN(10) == 0 {
			if errors.Is(err, errAnswer) && !strings.Contains(err.Error(), "CLUSTERDOWN") {
				s.t.Error(err)
			}
			_ = c.conn.Close()
			c = nil
		}
	}
	if c != nil {
		_ = c.conn.Close()
	}
}
