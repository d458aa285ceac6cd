package raft

import (
	"errors"
	"io"
	"runtime"
	"syscall"
	"time"
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
		if err != nil && !t.life.stops.given() {
			t.logger.Error("raft: snapshot not sound", "index", meta.Index, "err", err)
		}
		t.inbox.report(func(l *loop, now Instant) { l.core.SnapshotVerified(now, err) })
	}()
	err = guard("storage", func() error {
		reader, err := t.open(&meta)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, &stoppableReader{reader, t.life.context()})
		return errors.Join(err, reader.Close())
	})
}

// errSnapshotUnread says that the storage ended the goroutine that was reading a snapshot.
var errSnapshotUnread = errors.New("raft: the storage ended the goroutine that was reading its snapshot")

// outOfRoom says whether an error means that a disk or a quota is full, or that there is no file
// descriptor left. That may be over by itself.
func outOfRoom(err error) bool {
	const windowsDiskFull, windowsTooManyFiles = syscall.Errno(112), syscall.Errno(4)
	for _, reason := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return runtime.GOOS == "windows" && (errors.Is(err, windowsDiskFull) || errors.Is(err, windowsTooManyFiles))
}

// What has failed for want of room is tried again after minRoomPause, and then less and less often,
// up to every maxRoomPause.
const (
	minRoomPause = 5 * time.Millisecond
	maxRoomPause = 500 * time.Millisecond
)

// patiently calls what the state machine has to do, until it doesn't fail for want of room or the
// node stops. Status.Machine says meanwhile what it waits for.
func (n *Node) patiently(try func() error) error {
	err := try()
	if !outOfRoom(err) {
		return err
	}
	n.logger.Warn("raft: the state machine waits for room", "err", err)
	defer n.lanes.lacks.Store(nil)
	timer := time.NewTimer(minRoomPause)
	defer timer.Stop()
	for pause := minRoomPause; ; timer.Reset(pause) {
		reason := err
		n.lanes.lacks.Store(&reason)
		select {
		case <-timer.C:
		case <-n.life.stops.wait():
			return errStopping
		}
		next := try()
		if !outOfRoom(next) {
			return next
		}
		err = next
		pause = min(2*pause, maxRoomPause)
	}
}
