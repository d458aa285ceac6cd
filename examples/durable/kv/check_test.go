package kv_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/rafttest"
)

// TestMain runs fewer simulated clusters than rapid does by default: each start of a server opens a
// database.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		_ = flag.Set("rapid.checks", "5") // the flag is there: this package imports rapid
	}
	os.Exit(m.Run())
}

// A disk is what the store of one simulated server keeps its state on. A crash takes what isn't synced:
// of pebble, whose files are in memory, all of it. (Of bolt that is a transaction that isn't committed.)
type disk struct {
	dir   string
	files *vfs.MemFS
	make  func(d *disk) (raft.StateMachine, durable, error)
	open  durable
}

// A durable is what keeps a state on a disk.
type durable interface {
	Durable() *raft.DurableMachine
	Close() error
}

// storeOf returns what makes a store of a kind.
func storeOf(kind string) func(d *disk) (raft.StateMachine, durable, error) {
	return func(d *disk) (raft.StateMachine, durable, error) {
		store, err := kv.Open(kind, d.dir, kv.Options{Pebble: &pebble.Options{FS: d.files}})
		return store, store, err
	}
}

func (d *disk) Open() (raft.StateMachine, raft.DurableMachine, error) {
	if err := d.removeOthers(); err != nil {
		return nil, raft.DurableMachine{}, err
	}
	machine, store, err := d.make(d)
	if err != nil {
		return nil, raft.DurableMachine{}, err
	}
	d.open = store
	if t, ok := machine.(interface {
		Durable(raft.DurableMachine) raft.DurableMachine
	}); ok { // one of package typed, around the store
		return machine, t.Durable(*store.Durable()), nil
	}
	return machine, *store.Durable(), nil
}

// removeOthers removes from the files in memory what package state removes from the real folder.
func (d *disk) removeOthers() error {
	current, err := os.ReadFile(filepath.Join(d.dir, "CURRENT"))
	if err != nil {
		current = nil
	}
	names, err := d.files.List(d.dir)
	if err != nil {
		names = nil
	}
	for _, name := range names {
		if name != strings.TrimSpace(string(current)) {
			if err := d.files.RemoveAll(filepath.Join(d.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *disk) Crash() {
	if d.open == nil {
		return
	}
	left := d.files.CrashClone(vfs.CrashCloneCfg{})
	if err := d.open.Close(); err != nil {
		panic(err)
	}
	d.files, d.open = left, nil
}

// folderInMemory returns a folder whose files need no disk, where the system has such folders: the
// simulated power cuts are not those of the machine, so a sync makes no difference.
func folderInMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "durable")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func commands() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 20).Draw(t, "malformed") == 0 {
			return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
		}
		c := kv.Command{
			Op:    rapid.SampledFrom([]string{"set", "add", "delete"}).Draw(t, "op"),
			Key:   []byte(rapid.SampledFrom([]string{"a", "b", "c", "\x00raft", "\x00raft/applied", "kv/"}).Draw(t, "key")),
			Value: []byte(rapid.SampledFrom([]string{"", "5", "9223372036854775807", "x"}).Draw(t, "value")),
			Add:   rapid.Int64().Draw(t, "add"),
		}
		b, err := c.Encode()
		require.NoError(t, err)
		return b
	})
}

// TestStoresReplicated: each kind of store is a durable state machine, whatever crashes, parts or is
// forgotten.
func TestStoresReplicated(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			stores := 0
			dir := folderInMemory(t)
			rafttest.Check(t, rafttest.Property{
				Store: func() rafttest.Store {
					stores++
					return &disk{make: storeOf(kind), dir: filepath.Join(dir, fmt.Sprint(stores)), files: vfs.NewCrashableMem()}
				},
				Command: commands(),
			})
		})
	}
}
