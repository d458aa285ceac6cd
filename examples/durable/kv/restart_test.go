package kv_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

// This flag makes the long version, which takes about four times so much room below -restart-dir:
//
//	go test -C examples/durable ./kv -run TestRestart/pebble -v -timeout 30m -restart-mib 1024
var (
	restartMiB = flag.Int("restart-mib", 4, "how large the state is, in MiB")
	restartDir = flag.String("restart-dir", "", "where the state is (a folder of the test's own)")
)

// A watched is a store that counts what it is given.
type watched struct {
	kv.Store
	applied atomic.Int64
}

func (w *watched) Apply(entries []raft.Entry, results [][]byte) {
	w.applied.Add(int64(len(entries)))
	w.Store.Apply(entries, results)
}

// server starts a server that is a cluster by itself, on a log and a store in a folder, and tells how
// long each of them took.
func server(t *testing.T, kind, dir string) (*raft.Node, *watched) {
	begun := time.Now()
	log, err := wal.Open(filepath.Join(dir, "log"), wal.Options{})
	require.NoError(t, err)
	logged := time.Since(begun)
	store, err := kv.Open(kind, filepath.Join(dir, kind), kv.Options{})
	require.NoError(t, err)
	opened := time.Since(begun)
	w := &watched{Store: store}
	node, err := raft.Start(raft.Config{
		ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, Machine: w, Durable: store.Durable(), Storage: log,
		Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
		ElectionTimeout: 100 * time.Millisecond, Heartbeat: 20 * time.Millisecond,
	})
	require.NoError(t, err)
	started := time.Since(begun)
	require.NoError(t, node.Read(t.Context()))
	t.Logf("%s: the log took %v, the database %v, the start %v, and the first read %v: %v together",
		kind, logged, opened-logged, started-opened, time.Since(begun)-started, time.Since(begun))
	return node, w
}

// TestRestart: a server with a large state starts without a replay.
func TestRestart(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			dir := *restartDir
			if dir == "" {
				dir = t.TempDir()
			}
			dir = filepath.Join(dir, kind)
			node, store := server(t, kind, dir)
			const size = 256 << 10
			values := *restartMiB << 20 / size
			var next atomic.Int64
			var clients sync.WaitGroup
			for c := range uint64(8) {
				clients.Go(func() {
					luck := rand.New(rand.NewPCG(c, 1))
					value := bytes.Repeat([]byte("value "), size/6)
					for i := next.Add(1); i <= int64(values); i = next.Add(1) {
						for at := 0; at < len(value); at += 8 { // no two values are alike
							value[at] = byte(luck.Uint32())
						}
						command := kv.Command{Op: "set", Key: fmt.Appendf(nil, "key %d", i), Value: value}
						data, err := command.Encode()
						if err == nil {
							_, err = node.Propose(t.Context(), data)
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
			for range 2 { // the log is forgotten up to the snapshot before the last one
				_, err := node.Snapshot(t.Context())
				require.NoError(t, err)
				_, err = node.Propose(t.Context(), []byte("not a command"))
				require.NoError(t, err)
			}
			require.EqualValues(t, values+2, store.applied.Load())
			require.NoError(t, node.Close(context.Background()))
			require.NoError(t, store.Close())

			for range 3 {
				node, store = server(t, kind, dir)
				require.Zero(t, store.applied.Load(), "nothing is applied again")
				_, found, err := store.Get(fmt.Appendf(nil, "key %d", values))
				require.NoError(t, err)
				require.True(t, found)
				require.NoError(t, node.Close(context.Background()))
				require.NoError(t, store.Close())
			}
		})
	}
}
