package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

// These are the size of the state that is backed up, and how long that may take:
//
//	go test ./admin -run TestBackupAndRestore -v -backup-mib 1024 -backup-within 30s
var (
	backupMiB    = flag.Uint64("backup-mib", 64, "the size of the state in TestBackupAndRestore, in MiB")
	backupWithin = flag.Duration("backup-within", 0, "how long the backup and the restore of TestBackupAndRestore may take; 0 for as long as they take")
)

// A bulk is a state machine with a large state: as many bytes as the last command says, drawn by the
// seed that it says.
type bulk struct {
	mu         sync.Mutex
	seed, size uint64
}

func (b *bulk) Apply(entries []raft.Entry, _ [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range entries {
		b.seed, b.size = binary.BigEndian.Uint64(entries[i].Data), binary.BigEndian.Uint64(entries[i].Data[8:])
	}
}

func (b *bulk) Snapshot() (io.WriterTo, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &bulk{seed: b.seed, size: b.size}, nil
}

// bytes returns the state: the two numbers, and what they draw.
func (b *bulk) bytes() io.Reader {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], b.seed)
	head := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, b.seed), b.size)
	return io.MultiReader(bytes.NewReader(head), io.LimitReader(rand.NewChaCha8(seed), int64(b.size)))
}

func (b *bulk) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, b.bytes(), make([]byte, 1<<20))
}

// Restore demands each byte of the state.
func (b *bulk) Restore(r io.Reader) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := bufio.NewReaderSize(r, 1<<20)
	head, err := from.Peek(16)
	if err != nil {
		return err
	}
	b.seed, b.size = binary.BigEndian.Uint64(head), binary.BigEndian.Uint64(head[8:])
	want := bufio.NewReaderSize(b.bytes(), 1<<20)
	got, expected := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(from, got)
		m, wantErr := io.ReadFull(want, expected)
		switch {
		case n != m || !bytes.Equal(got[:n], expected[:m]) || !errors.Is(err, wantErr):
			return fmt.Errorf("the state isn't what was exported: %w, %w", err, wantErr)
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// found starts the servers of a cluster on logs in a folder.
func found(t *testing.T, dir string, export string, ids ...raft.ServerID) (nodes []*raft.Node, machines []*bulk) {
	t.Helper()
	network := memory.NewNetwork(memory.Options{})
	var list []raft.Server
	for _, id := range ids {
		list = append(list, raft.Server{ID: id, Address: string(id) + ":1"})
	}
	for _, self := range list {
		log, err := wal.Open(filepath.Join(dir, string(self.ID)), wal.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		machine := &bulk{}
		config := raft.Config{
			ID: self.ID, Address: self.Address, Machine: machine, Storage: log, Transport: network.Join(self.ID), Bootstrap: list,
			Logger: slog.New(slog.DiscardHandler),
		}
		if export != "" {
			config.BootstrapFrom = func() (io.ReadCloser, error) { return os.Open(export) }
		}
		node, err := raft.Start(config)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Close(context.Background())) })
		nodes, machines = append(nodes, node), append(machines, machine)
	}
	return nodes, machines
}

// TestBackupAndRestore: an export of a large state is made over HTTP, is verified, and founds another
// cluster with just that state.
func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	nodes, _ := found(t, filepath.Join(dir, "old"), "", "a", "b", "c")
	size := *backupMiB << 20
	_, err := nodes[0].Propose(t.Context(), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 7), size))
	require.NoError(t, err)
	server := listen(t, nodes[1], "127.0.0.1:0", nil)

	begin := time.Now()
	name := filepath.Join(dir, "export")
	file, err := os.Create(name)
	require.NoError(t, err)
	export, err := newClient(t, server.Addr().String(), nil).Export(t.Context(), file)
	require.NoError(t, err)
	require.NoError(t, file.Sync())
	exported := time.Since(begin)

	_, err = file.Seek(0, io.SeekStart)
	require.NoError(t, err)
	again, err := raft.VerifyExport(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Equal(t, export, again)
	require.GreaterOrEqual(t, export.Bytes, size)
	verified := time.Since(begin)

	restored, machines := found(t, filepath.Join(dir, "new"), name, "x")
	require.NoError(t, restored[0].Read(t.Context()))
	took := time.Since(begin)
	machines[0].mu.Lock()
	require.Equal(t, [2]uint64{7, size}, [2]uint64{machines[0].seed, machines[0].size})
	machines[0].mu.Unlock()
	require.NotEqual(t, nodes[0].Status().Cluster, restored[0].Status().Cluster)
	t.Logf("%d MiB: exported to the disk after %v, verified after %v, restored in a new cluster after %v", *backupMiB, exported, verified, took)
	if *backupWithin != 0 {
		require.Less(t, took, *backupWithin)
	}
}
