package raft_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A wordList is a state machine that keeps words, with snapshots.
type wordList struct {
	mu    sync.Mutex
	words []string
}

func (w *wordList) Apply(entries []raft.Entry, results [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range entries {
		w.words = append(w.words, string(e.Data))
		results[i] = fmt.Append(nil, len(w.words))
	}
}

func (w *wordList) Snapshot() (io.WriterTo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, err := json.Marshal(w.words)
	return bytes.NewReader(text), err
}

func (w *wordList) Restore(r io.Reader) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return json.NewDecoder(r).Decode(&w.words)
}

func (w *wordList) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.words...)
}

// founders are servers that found a cluster. Some of them do so with an exported snapshot.
type founders struct {
	network *memory.Network
	servers []raft.Server
	nodes   map[raft.ServerID]*raft.Node
	words   map[raft.ServerID]*wordList
	disks   map[raft.ServerID]*memory.Storage
	adjust  func(*raft.Config) // applied to each config before a start
}

func newFounders(ids ...raft.ServerID) *founders {
	f := &founders{network: memory.NewNetwork(memory.Options{}), nodes: map[raft.ServerID]*raft.Node{},
		words: map[raft.ServerID]*wordList{}, adjust: func(*raft.Config) {}, disks: map[raft.ServerID]*memory.Storage{}}
	for _, id := range ids {
		f.servers = append(f.servers, raft.Server{ID: id, Address: string(id)})
		f.disks[id] = memory.NewStorage()
	}
	return f
}

func (f *founders) start(t *testing.T, id raft.ServerID, export []byte) *raft.Node {
	t.Helper()
	node, err := f.tryStart(t, id, export)
	require.NoError(t, err)
	return node
}

func (f *founders) tryStart(t *testing.T, id raft.ServerID, export []byte) (*raft.Node, error) {
	f.words[id], f.disks[id] = &wordList{}, f.disks[id].Reopen()
	config := raft.Config{
		ID: id, Machine: f.words[id], Storage: f.disks[id], Transport: f.network.Join(id), Bootstrap: f.servers,
		Seed: uint64(id[0]), Logger: slog.New(slog.DiscardHandler),
	}
	if export != nil {
		config.BootstrapFrom = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(export)), nil }
	}
	f.adjust(&config)
	node, err := startNode(t, config)
	if err == nil {
		f.nodes[id] = node
	}
	return node, err
}

// exported runs a cluster and exports a snapshot of it under load. It returns the snapshot, with
// the words in it, and the ID of the cluster.
func exported(t *testing.T, words ...string) ([]byte, raft.ClusterID) {
	t.Helper()
	old := newFounders("a", "b", "c")
	for _, server := range old.servers {
		old.start(t, server.ID, nil)
	}
	for _, word := range words {
		_, err := old.nodes["b"].Propose(t.Context(), []byte(word))
		require.NoError(t, err)
	}
	var file bytes.Buffer
	require.NoError(t, old.nodes["c"].Read(t.Context()))
	index, err := old.nodes["c"].ExportSnapshot(t.Context(), &file)
	require.NoError(t, err)
	require.EqualValues(t, 1+len(words), index)
	cluster := old.nodes["c"].Status().Cluster
	for _, node := range old.nodes {
		require.NoError(t, node.Close(t.Context()))
	}
	return file.Bytes(), cluster
}

func TestFoundedFromAnExportedSnapshot(t *testing.T) {
	for name, given := range map[string][]raft.ServerID{
		"all are given it": {"x", "y", "z"}, "one is given it": {"y"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file, oldCluster := exported(t, "one", "two")
				f := newFounders("x", "y", "z")
				start := func() {
					for _, server := range f.servers {
						var export []byte
						if contains(given, server.ID) {
							export = file
						}
						f.start(t, server.ID, export)
					}
				}
				start()
				for i, server := range f.servers {
					result, err := f.nodes[server.ID].Propose(t.Context(), fmt.Append(nil, "more ", i))
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(3+i), string(result))
				}
				want := []string{"one", "two", "more 0", "more 1", "more 2"}
				status := f.nodes["x"].Status()
				require.NotEqual(t, oldCluster, status.Cluster)
				require.NotZero(t, status.Cluster)
				require.Len(t, status.Members, 3)
				for _, server := range f.servers {
					require.NoError(t, f.nodes[server.ID].Read(t.Context()))
					require.Equal(t, want, f.words[server.ID].list())
					require.Equal(t, status.Cluster, f.nodes[server.ID].Status().Cluster)
				}
				// A second start goes on with what the storage holds, and not with the export.
				for _, node := range f.nodes {
					require.NoError(t, node.Close(t.Context()))
				}
				start()
				for _, server := range f.servers {
					require.NoError(t, f.nodes[server.ID].Read(t.Context()))
					require.Equal(t, want, f.words[server.ID].list())
					require.Equal(t, status.Cluster, f.nodes[server.ID].Status().Cluster)
				}
			})
		})
	}
}

// A server crashes after it has stored the exported snapshot, and before there is a cluster. It
// founds one all the same.
func TestFoundingFromASnapshotInTwoStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, _ := exported(t, "one")
		f := newFounders("x", "y")
		f.start(t, "x", file)
		time.Sleep(5 * electionTimeout)
		status := f.nodes["x"].Status()
		require.Equal(t, raft.NoLeaderVotes, status.NoLeader.Reason)
		require.EqualValues(t, 2, status.Applied, "its state is there already")
		require.NoError(t, f.nodes["x"].Close(t.Context()))
		f.start(t, "x", nil)
		f.start(t, "y", file)
		_, err := f.nodes["y"].Propose(t.Context(), []byte("two"))
		require.NoError(t, err)
		require.NoError(t, f.nodes["x"].Read(t.Context()))
		require.Equal(t, []string{"one", "two"}, f.words["x"].list())
	})
}

// Servers that are given different snapshots don't found a cluster: nobody could say which state it
// should begin with.
func TestFoundingFromDifferentSnapshotsIsRefused(t *testing.T) {
	for name, other := range map[string][]string{"another place": {"one", "two"}, "another cluster": {"uno"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, cluster := exported(t, "one")
				second, otherCluster := exported(t, other...)
				require.NotEqual(t, cluster, otherCluster)
				f := newFounders("x", "y")
				f.start(t, "x", first)
				f.start(t, "y", second)
				time.Sleep(10 * electionTimeout)
				for _, node := range f.nodes {
					require.ErrorIs(t, node.Status().Trouble, raft.ErrBootstrapMismatch)
					require.Zero(t, node.Status().Cluster)
				}
			})
		})
	}
}

// A server that is added later is sent the snapshot with which the cluster began.
func TestServerAddedToAClusterFoundedFromASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, _ := exported(t, "one", "two")
		f := newFounders("x")
		f.start(t, "x", file)
		require.NoError(t, f.nodes["x"].Read(t.Context()))
		f.disks["y"] = memory.NewStorage()
		servers := f.servers
		f.servers = nil
		f.start(t, "y", nil)
		f.servers = servers
		_, err := f.nodes["x"].AddServer(t.Context(), raft.Server{ID: "y", Address: "y"})
		require.NoError(t, err)
		require.NoError(t, f.nodes["y"].Read(t.Context()))
		require.Equal(t, []string{"one", "two"}, f.words["y"].list())
		require.NoError(t, f.nodes["y"].Close(t.Context()))
		f.servers = nil
		f.start(t, "y", nil)
		require.NoError(t, f.nodes["y"].Read(t.Context()))
		require.Equal(t, []string{"one", "two"}, f.words["y"].list())
	})
}

// A server is to found a cluster with the state of another one. If its own snapshot is damaged, it
// doesn't take another: the snapshot needs a configuration, and there is none yet. (The simulator
// found a core that broke an invariant there.)
func TestNoSnapshotOfAStateBeforeTheCluster(t *testing.T) {
	meta := raft.SnapshotMeta{Index: 5, Term: 2, Configuration: raft.Configuration{Cluster: raft.ClusterID{1}}}
	core, err := raft.NewCore(raft.CoreConfig{
		ID: "a", Seed: 1, Bootstrap: []raft.Server{reached("a")}, DurableMachine: true, MachineApplied: meta.Index,
		Saved: raft.Saved{
			State:    raft.DurableState{HardState: raft.HardState{Term: meta.Term}, Server: "a", Incarnation: 1},
			Snapshot: meta, SnapshotBytes: 1, SnapshotDamage: raft.ErrCorrupt, Base: meta.Index, BaseTerm: meta.Term, Last: meta.Index,
		},
	})
	require.NoError(t, err)
	var effects raft.Effects
	core.Drain(&effects)
	require.Nil(t, effects.TakeSnapshot)
	require.NoError(t, core.Check())

	// Once it has founded the cluster, it takes one.
	applier := raft.NewApplier(new(wordList), core.Origin())
	for range 20 {
		now := core.Deadline()
		if effects.Write.Number != 0 {
			core.Persisted(now, effects.Write.Number)
		}
		core.Tick(now)
		core.Drain(&effects)
		for _, entries := range effects.Apply {
			batch, err := applier.Apply(entries)
			require.NoError(t, err)
			core.Applied(now, batch)
		}
		if effects.TakeSnapshot != nil {
			require.Greater(t, effects.TakeSnapshot.Index, meta.Index)
			require.Len(t, effects.TakeSnapshot.Configuration.Members, 1)
			return
		}
	}
	t.Fatal("the server takes no snapshot")
}

// Whatever is missing or wrong in an exported file, no server starts with it.
func TestDamagedExportIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, _ := exported(t, "one")
		for cut := range file {
			_, err := newFounders("x").tryStart(t, "x", file[:cut])
			require.ErrorIs(t, err, raft.ErrCorrupt, "cut at %d", cut)
		}
		for i := range file {
			flipped := bytes.Clone(file)
			flipped[i] ^= 1 << (i % 8)
			_, err := newFounders("x").tryStart(t, "x", flipped)
			require.ErrorIs(t, err, raft.ErrCorrupt, "byte %d", i)
		}
		missing := errors.New("no such file")
		_, err := raft.Start(raft.Config{ID: "x", Machine: &wordList{}, Storage: memory.NewStorage(),
			Transport: memory.NewNetwork(memory.Options{}).Join("x"), Bootstrap: []raft.Server{{ID: "x"}},
			BootstrapFrom: func() (io.ReadCloser, error) { return nil, missing }})
		require.ErrorIs(t, err, missing)
	})
}

// A brittle storage panics when a snapshot is read.
type brittle struct{ *memory.Storage }

func (brittle) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) { panic("no snapshot today") }

// A panic of the storage, or of the writer that an export goes to, is an error of the export, and
// the node works on.
func TestPanicInAnExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Storage = brittle{memory.NewStorage()} }
		node := c.start("a")
		_, err := node.Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		_, err = node.ExportSnapshot(t.Context(), io.Discard)
		var panicked *raft.PanicError
		require.ErrorAs(t, err, &panicked)
		require.Equal(t, "no snapshot today", panicked.Value)
		_, err = node.Propose(t.Context(), []byte("y"))
		require.NoError(t, err)
	})
}

// VerifyExport finds each byte that is wrong or missing, and what follows the end. It says what a
// sound export is of.
func TestVerifyExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		export, cluster := exported(t, "one", "two")
		found, err := raft.VerifyExport(bytes.NewReader(export))
		require.NoError(t, err)
		require.Equal(t, raft.Export{Cluster: cluster, Index: 3, Term: found.Term, Bytes: found.Bytes}, found)
		require.Positive(t, found.Term)
		require.Greater(t, uint64(len(export)), found.Bytes)
		require.GreaterOrEqual(t, found.Bytes, uint64(len(`["one","two"]`)))
		for at := range export {
			_, err := raft.VerifyExport(bytes.NewReader(export[:at]))
			require.ErrorIs(t, err, raft.ErrCorrupt, "cut off at %d", at)
			wrong := bytes.Clone(export)
			wrong[at] ^= 0x10
			_, err = raft.VerifyExport(bytes.NewReader(wrong))
			require.ErrorIs(t, err, raft.ErrCorrupt, "byte %d", at)
		}
		_, err = raft.VerifyExport(bytes.NewReader(append(bytes.Clone(export), 0)))
		require.ErrorIs(t, err, raft.ErrCorrupt)
		require.ErrorContains(t, err, "something follows")
		broken := errors.New("the disk is broken")
		for _, at := range []int{0, 20, len(export)} {
			_, err = raft.VerifyExport(io.MultiReader(bytes.NewReader(export[:at]), iotest.ErrReader(broken)))
			require.ErrorIs(t, err, broken, "after %d bytes", at)
		}
	})
}
