package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/internal/process"
)

var processShards = flag.Int("process-shards", 1000, "how many shards the store of processes has")

// server is the name of the program itself, for tests that run it in processes.
const server = "server"

func TestMain(m *testing.M) { process.Main(m, map[string]func(){server: main}) }

// processes are servers in processes of their own.
type processes struct {
	*process.Group
	t       *testing.T
	client  *http.Client
	servers map[string]*running

	mu      sync.Mutex
	clients []string // the addresses that clients use
}

// A running server is a process, and where others find it.
type running struct {
	*process.Process
	raft, admin string
}

func startProcesses(t *testing.T, shards int) *processes {
	p := &processes{
		Group: process.NewGroup(t), t: t, servers: map[string]*running{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 5 * time.Second},
	}
	t.Cleanup(p.client.CloseIdleConnections)
	var peers []string
	for _, id := range []string{"a", "b", "c"} {
		p.servers[id] = &running{raft: p.FreeAddress(), admin: p.FreeAddress()}
		peers = append(peers, id+"="+p.servers[id].raft)
	}
	for _, id := range []string{"a", "b", "c"} {
		p.start(id, "-peers", strings.Join(peers, ","), "-shards", strconv.Itoa(shards))
	}
	return p
}

// start starts a server with some more flags.
func (p *processes) start(id string, flags ...string) {
	s := p.servers[id]
	s.Process = p.Add(id, func() *exec.Cmd {
		return process.Command(p.t, server, append([]string{
			"-id", id, "-http", s.Address, "-admin", s.admin, "-data", p.Dir, "-timeout", "2s", "-moves", "32",
		}, flags...)...)
	})
	s.Address = p.FreeAddress()
	s.Start()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = append(p.clients, s.Address)
}

// any returns the address of some server.
func (p *processes) any() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[rand.IntN(len(p.clients))]
}

// do sends a request, and returns the answer's body.
func (p *processes) do(method, url string, body []byte, header http.Header) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	require.NoError(p.t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	w, err := p.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = w.Body.Close() }() // an error would lose nothing
	answer, err = io.ReadAll(w.Body)
	return w.StatusCode, answer, err
}

// awaitTable waits until the table that a server knows is as it should be.
func (p *processes) awaitTable(id string, holds func(*shard.Table) bool) {
	p.t.Helper()
	process.Await(p.t, func() bool {
		t := new(shard.Table)
		status, err := process.Request(p.client, http.MethodGet, "http://"+p.servers[id].Address+"/table", t)
		return err == nil && status == http.StatusOK && holds(t)
	}, "the table isn't as it should be")
}

// TestServersComeAndGo: a server joins and gets its share of the shards, and another one is killed and taken
// out, while clients write. Every write that was acknowledged is there, and every addition counts once.
func TestServersComeAndGo(t *testing.T) {
	begin := time.Now()
	p := startProcesses(t, *processShards)
	p.awaitTable("a", (*shard.Table).Settled)
	founded := time.Now()
	w := p.write(t)
	p.servers["d"] = &running{raft: p.FreeAddress(), admin: p.FreeAddress()}
	p.start("d", "-join", "-peers", "d="+p.servers["d"].raft)
	status, answer, err := p.do(http.MethodPut, "http://"+p.servers["a"].admin+"/servers/d",
		fmt.Appendf(nil, `{"address": %q, "client": %q}`, p.servers["d"].raft, p.servers["d"].Address), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, status, "%s", answer)
	p.awaitTable("d", func(table *shard.Table) bool {
		return table.Settled() && len(table.Servers) == 4 && count(table, "d") == *processShards*3/4
	})
	spread := time.Now()
	p.servers["b"].Kill()
	status, answer, err = p.do(http.MethodDelete, "http://"+p.servers["c"].admin+"/servers/b", nil, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, status, "%s", answer)
	p.awaitTable("d", func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 3 })
	p.mu.Lock()
	p.clients = p.clients[:0]
	for _, id := range []string{"a", "c", "d"} {
		p.clients = append(p.clients, p.servers[id].Address)
	}
	p.mu.Unlock()
	p.administer()
	w.stop()
	t.Logf("founded in %v, spread in %v, taken out in %v", founded.Sub(begin), spread.Sub(founded), time.Since(spread))
	t.Logf("%d writes and %d additions acknowledged, %d requests repeated", len(w.written), w.added, w.repeated)
	w.check()
}

// administer asks servers how their groups are, as the command raft does, and has another server lead one of them.
func (p *processes) administer() {
	clients := map[raft.ServerID]*admin.Client{}
	for _, id := range []raft.ServerID{"a", "c", "d"} {
		client, err := admin.NewClient(p.servers[string(id)].admin, nil)
		require.NoError(p.t, err)
		host, err := client.Host(p.t.Context(), admin.HostQuery{})
		require.NoError(p.t, err)
		require.Equal(p.t, id, host.ID)
		require.Equal(p.t, *processShards+1, host.Running) // with the table's
		clients[id] = client.Group("shard/0")
	}
	is, err := clients["a"].Status(p.t.Context())
	require.NoError(p.t, err)
	require.Len(p.t, is.Membership.Members, 3)
	process.Await(p.t, func() bool {
		is, err := clients["d"].Status(p.t.Context())
		require.NoError(p.t, err)
		if is.Leader == "d" {
			return true
		}
		_, _ = clients["a"].Transfer(p.t.Context(), admin.Transfer{To: "d"}) // until it has succeeded at whoever leads
		return false
	}, "d doesn't lead the shard")
}

// count returns how many shards a server has.
func count(t *shard.Table, id raft.ServerID) (n int) {
	for i := range t.Shards {
		if t.Shards[i].Has(id) {
			n++
		}
	}
	return n
}

// writers write while servers come and go.
type writers struct {
	*processes
	done    chan struct{}
	working sync.WaitGroup

	mu       sync.Mutex
	written  map[string]string // keys with the values that were acknowledged
	counters map[string]int64  // and what was added to others
	added    int
	repeated int
}

const writerCount = 4

// write begins to write.
func (p *processes) write(t *testing.T) *writers {
	w := &writers{processes: p, done: make(chan struct{}), written: map[string]string{}, counters: map[string]int64{}}
	t.Cleanup(func() { w.stop() })
	for i := range writerCount {
		w.working.Go(func() { w.put(i) })
		w.working.Go(func() { w.add(i) })
	}
	return w
}

// stop ends the writers.
func (w *writers) stop() {
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	w.working.Wait()
}

// until sends a request until it is answered with success, at one server after the other.
func (w *writers) until(method, path string, body []byte, header http.Header) []byte {
	for late := time.Now().Add(process.Patience); ; <-time.After(process.PollEach) {
		status, answer, err := w.do(method, "http://"+w.any()+path, body, header)
		if err == nil && (status == http.StatusOK || status == http.StatusCreated) {
			return answer
		}
		if time.Now().After(late) || err == nil && status < 500 {
			w.t.Errorf("%s %s: %d %s %v", method, path, status, answer, err)
			return nil
		}
		w.mu.Lock()
		w.repeated++
		w.mu.Unlock()
	}
}

// put writes keys of its own, one after the other. A write that is repeated writes the same.
func (w *writers) put(client int) {
	for i := 0; !w.over(); i++ {
		key, value := fmt.Sprintf("written/%d/%d", client, i), strconv.Itoa(i)
		if w.until(http.MethodPut, "/keys/"+key, []byte(value), nil) == nil {
			return
		}
		w.mu.Lock()
		w.written[key] = value
		w.mu.Unlock()
	}
}

// add adds to some numbers, in sessions.
func (w *writers) add(client int) {
	const counters = 8
	sessions := make([]string, counters)
	for i := 0; !w.over(); i++ {
		n, key := i%counters, fmt.Sprintf("counter/%d/%d", client, i%counters)
		if sessions[n] == "" {
			var opened struct{ Session string }
			if err := json.Unmarshal(w.until(http.MethodPost, "/sessions?key="+key, nil, nil), &opened); err != nil {
				w.t.Error(err)
				return
			}
			sessions[n] = opened.Session
		}
		header := http.Header{"Idempotency-Key": {fmt.Sprintf(`"%s-%d";lowest=%[2]d`, sessions[n], i/counters+1)}}
		if w.until(http.MethodPost, "/keys/"+key, []byte(`{"add": 3}`), header) == nil {
			return
		}
		w.mu.Lock()
		w.counters[key] += 3
		w.added++
		w.mu.Unlock()
	}
}

func (w *writers) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// check requires that everything is there.
func (w *writers) check() {
	require.NotEmpty(w.t, w.written)
	require.NotZero(w.t, w.added)
	for key, value := range w.written {
		require.Equal(w.t, value, string(w.until(http.MethodGet, "/keys/"+key, nil, nil)), key)
	}
	for key, sum := range w.counters {
		require.Equal(w.t, strconv.FormatInt(sum, 10), string(w.until(http.MethodGet, "/keys/"+key, nil, nil)), key)
	}
}
