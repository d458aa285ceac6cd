package raft

import (
	"context"
	"errors"
	"io"
)

// ExportSnapshot writes a snapshot to w, in a form by itself: another cluster can be founded with
// it (Config.BootstrapFrom), and it shows when it was cut off or damaged. The members of the
// cluster are not in it.
//
// It covers everything that was applied when ExportSnapshot was called: if the current snapshot
// covers less, another one is taken first (see Snapshot). It returns the index that the exported
// snapshot covers. The node works on meanwhile.
//
// After an error, what was written to w is of no use. The error wraps that of w, that of the
// storage, one of Snapshot, or ctx.Err().
func (n *Node) ExportSnapshot(ctx context.Context, w io.Writer) (Index, error) {
	if _, err := n.Snapshot(ctx); err != nil {
		return 0, err
	}
	cluster := n.Status().Cluster
	index := Index(0)
	err := guard("snapshot", func() (err error) {
		meta, reader, err := n.config.Storage.OpenSnapshot()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, reader.Close()) }() // also when w panics, or ends the goroutine
		index = meta.Index
		return writeExport(w, cluster, &meta, &stoppableReader{reader, ctx})
	})
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return 0, because(errors.New("raft: export snapshot"), err)
	}
	return index, nil
}

// bootstrapFrom makes an exported snapshot the state of a storage that holds nothing. One write
// does that, together with the identity of the server. Until that write the storage holds nothing
// still, and the next start begins anew.
func (c *Config) bootstrapFrom(incarnation Incarnation) (Saved, error) {
	file, err := c.BootstrapFrom()
	if err != nil {
		return Saved{}, err
	}
	saved, err := c.storeExport(file, incarnation)
	return saved, errors.Join(err, file.Close())
}

// storeExport stores an exported snapshot. It returns what Load would return afterwards.
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
