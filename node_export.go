package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ExportSnapshot writes a snapshot of everything that was applied when it was called, in a form
// from which another cluster can be founded with Config.BootstrapFrom, and which shows when it was
// cut off or damaged. It takes a snapshot if the current one covers less (see Snapshot), and then
// reads that; the node works on meanwhile. It returns the index that the snapshot covers. The
// members of the cluster are not in it.
//
// An error says that what was written is of no use: w's, the storage's, one of Snapshot, or
// ctx.Err().
func (n *Node) ExportSnapshot(ctx context.Context, w io.Writer) (Index, error) {
	if _, err := n.Snapshot(ctx); err != nil {
		return 0, err
	}
	cluster := n.Status().Cluster
	meta, reader, err := n.config.Storage.OpenSnapshot()
	if err != nil {
		return 0, fmt.Errorf("raft: export snapshot: %w", err)
	}
	err = writeExport(w, cluster, &meta, &stoppableReader{reader, ctx})
	if err = errors.Join(err, reader.Close()); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return 0, fmt.Errorf("raft: export snapshot: %w", err)
	}
	return meta.Index, nil
}

// bootstrapFrom makes the exported snapshot the state of a storage that holds nothing. It becomes
// that with one write, together with the identity of the server: until then the storage holds
// nothing still, and the next start begins anew.
func (c *Config) bootstrapFrom(incarnation Incarnation) (Saved, error) {
	file, err := c.BootstrapFrom()
	if err != nil {
		return Saved{}, err
	}
	saved, err := c.storeExport(file, incarnation)
	return saved, errors.Join(err, file.Close())
}

// storeExport stores an exported snapshot, and returns what Load would then return.
func (c *Config) storeExport(file io.Reader, incarnation Incarnation) (Saved, error) {
	meta, from, err := readExport(file)
	if err != nil {
		return Saved{}, err
	}
	into, err := c.Storage.CreateSnapshot(meta)
	if err != nil {
		return Saved{}, err
	}
	size, err := io.Copy(into, from)
	if err == nil {
		err = into.Commit()
	}
	if err != nil {
		return Saved{}, errors.Join(err, into.Abort())
	}
	state := DurableState{HardState: HardState{Term: meta.Term}, Server: c.ID, Incarnation: incarnation}
	if err := c.Storage.Write(Write{State: state, Snapshot: &meta}); err != nil {
		return Saved{}, err
	}
	return Saved{
		State: state, Snapshot: meta, SnapshotBytes: uint64(size), Base: meta.Index, BaseTerm: meta.Term, Last: meta.Index,
	}, nil
}
