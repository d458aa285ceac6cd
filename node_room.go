package raft

import (
	"errors"
	"io"
)

// tellRoom asks the storage for its room, and tells the core. It does so in each turn, behind the
// reports of writes: what they took is then no longer counted. A server has a turn in each heartbeat
// interval, so room that comes back is seen soon even if nothing is written.
func (l *loop) tellRoom(now Instant) {
	if l.roomy == nil {
		return
	}
	was := l.step.set(inStorage)
	bytes := l.roomy.Room()
	l.step.set(was)
	l.core.Room(now, bytes)
}

// reserveRoom tells the storage how much room the node needs: so much that the disk doesn't count as
// full, and that the largest command fits beside the reserve.
func (c *Config) reserveRoom(settings *CoreConfig) error {
	storage, ok := c.Storage.(reservingStorage)
	if !ok {
		return nil
	}
	needs := settings.roomyFrom() + uint64(settings.ReserveBytes)/4 + uint64(c.MaxCommandBytes) + besideCommand
	err := guard("storage", func() error { return storage.Reserve(needs) })
	if err != nil {
		return because(errors.New("raft: reserve room"), err)
	}
	return nil
}

// verify reads the current snapshot to its end, and reports whether that went well.
func (t *transfers) verify(meta SnapshotMeta) {
	defer t.life.leave()
	err := errSnapshotUnread
	defer func() { // also when the storage ends the goroutine
		if err != nil && t.life.ctx.Err() == nil {
			t.logger.Error("raft: snapshot not sound", "index", meta.Index, "err", err)
		}
		t.inbox.report(func(l *loop, now Instant) { l.core.SnapshotVerified(now, err) })
	}()
	err = guard("storage", func() error {
		reader, err := t.open(&meta)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, &stoppableReader{reader, t.life.ctx})
		return errors.Join(err, reader.Close())
	})
}

// errSnapshotUnread says that the storage ended the goroutine that was reading a snapshot.
var errSnapshotUnread = errors.New("raft: the storage ended the goroutine that was reading its snapshot")
