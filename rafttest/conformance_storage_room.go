package rafttest

import (
	"math"
	"strings"
	"time"

	"github.com/e17579a5/raft"
)

// A roomyStorage is a storage that knows its room, and says what it waits for.
type roomyStorage interface {
	Room() uint64
	Waiting() error
}

// roomy returns the storage as one that knows its room, or nil if it doesn't or if its disk can't
// be filled.
func (s *storageSession) roomy() roomyStorage {
	if s.disk.Fill == nil {
		return nil
	}
	storage := s.storage.(watchedStorage).Storage
	roomy, ok := storage.(roomyStorage)
	if _, knows := storage.(interface{ Room() uint64 }); knows && !ok {
		convict("the storage has a method Room, and no method Waiting, which would say that a Write waits for room")
	}
	if !ok {
		return nil
	}
	return watchedRoom{roomy, s}
}

type watchedRoom struct {
	roomyStorage
	session *storageSession
}

func (w watchedRoom) Room() (bytes uint64) {
	w.session.within("Room", func() { bytes = w.roomyStorage.Room() })
	return bytes
}

func (w watchedRoom) Waiting() (err error) {
	w.session.within("Waiting", func() { err = w.roomyStorage.Waiting() })
	return err
}

// leave leaves so much room on the disk.
func (s *storageSession) leave(bytes uint64) {
	s.note("room for %d more bytes", bytes)
	s.within("Fill of the disk", func() { s.disk.Fill(bytes) })
}

// checkRoom writes as much as there is said to be room for. None of these writes may wait, and none
// may take more than its entries count for.
func checkRoom(s *storageSession) {
	r := s.roomy()
	if r == nil {
		return
	}
	s.append(1, 0, "one")
	s.leave(100_000)
	for after := raft.Index(1); ; after++ {
		before := r.Room()
		w := raft.Write{State: s.model.state, Entries: commands(1, after, strings.Repeat("x", 1000))}
		size := uint64(w.Entries[0].Size())
		if size > before {
			break
		}
		s.write(w)
		if left := r.Room(); left < before-size && left != math.MaxUint64 {
			convict("a Write with one entry, which counts for %d bytes, leaves room for %d bytes; there was room for %d", size, left, before)
		}
		if after > 1000 {
			convict("1,000 entries of 1,000 bytes fit into 100,000 bytes: Room doesn't get less")
		}
	}
	s.note("no more room")
	s.both()
}

// checkFull writes more than there is room for. The write must wait, and be done when there is room.
// What was acknowledged can be loaded from a full disk.
func checkFull(s *storageSession) {
	r := s.roomy()
	if r == nil {
		return
	}
	s.append(1, 0, "one")
	s.leave(2000)
	s.both()
	if r = s.roomy(); r.Room() > 10_000 {
		return // it owns more than that, and nobody can take it away
	}
	w := raft.Write{State: s.model.state, Entries: commands(1, 1, strings.Repeat("x", 20_000))}
	next := s.model.after(w)
	done := make(chan error, 1)
	together(func() { done <- s.storage.(watchedStorage).Storage.Write(w) }, func() {
		for range 1000 {
			if r.Waiting() != nil || len(done) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if len(done) == 0 && r.Waiting() == nil {
			s.leave(math.MaxUint64)
			convict("a Write for which there is no room waits, and Waiting returns nil")
		}
		if len(done) > 0 {
			done <- <-done
			return
		}
		s.model.differsIn(s.storage)
		s.leave(math.MaxUint64)
	})
	must("a Write for which there was no room at first", <-done)
	s.model = next
	if err := r.Waiting(); err != nil {
		convict("Waiting returns %w, though no Write waits", err)
	}
	s.both()
}

// checkCloseFull closes the storage while a write waits for room. The write must fail, and leave
// nothing.
func checkCloseFull(s *storageSession) {
	r := s.roomy()
	if r == nil {
		return
	}
	s.append(1, 0, "one")
	s.leave(2000)
	if r.Room() > 10_000 {
		return
	}
	w := raft.Write{State: s.model.state, Entries: commands(1, 1, strings.Repeat("x", 20_000))}
	next := s.model.after(w)
	var failure, closing error
	together(func() { failure = s.storage.(watchedStorage).Storage.Write(w) }, func() {
		for range 1000 {
			if r.Waiting() != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		closing = s.storage.Close()
	})
	must("Close while a Write waits for room", closing)
	s.leave(math.MaxUint64)
	if failure == nil {
		s.model = next
	}
	s.note("Close while a Write waits for room")
	s.open()
}

// checkSnapshotFull stores a snapshot for which there is no room. That must fail, and neither the
// log nor the snapshot before may suffer.
func checkSnapshotFull(s *storageSession) {
	if s.roomy() == nil {
		return
	}
	s.append(1, 0, "one", "two", "three")
	s.snapshot(raft.SnapshotMeta{Index: 1, Term: 1}, raft.Write{})
	s.leave(1000)
	err := s.tryStore(raft.SnapshotMeta{Index: 2, Term: 1}, make([]byte, 1<<20))
	if err == nil {
		return // it had room in reserve
	}
	s.model.differsIn(s.storage)
	s.leave(math.MaxUint64)
	s.append(2, 3, "four")
	s.snapshot(raft.SnapshotMeta{Index: 3, Term: 1}, raft.Write{Compact: 1})
	s.both()
}
