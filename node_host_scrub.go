package raft

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// A hostScrub reads the logs and snapshots of a host's groups to see whether bytes are lost, one group
// after the other, so that all of them together keep to the rate. It asks no loop for that, and the groups
// rest meanwhile:
//
//	what is read is sound ─▶ the next group
//	anything else         ─▶ the group's core reads it again (Core.Scrub), and does what there is to do;
//	                         then the next group
type hostScrub struct {
	host *Host

	mu    sync.Mutex
	timer *time.Timer // calls next; nil if nothing is to be read
	left  []GroupID   // those that are still to be read in this pass
	ended bool
	runs  bool // next reads
	asked bool // the core of the group reads, and says when it is done

	reading GroupID // the one that is read; "" for none
	passes  uint64  // those that are done

	// What next alone uses: whoever has set runs.
	node     *Node         // of reading, whose storage is in use; nil if no group is under way
	after    Index         // up to where its log was read
	snapshot io.ReadCloser // what is open of its snapshot; nil before and after that
	yields   int           // how many heartbeat intervals the disk has had something else to do
}

const (
	// scrubBatch is how many bytes are read at once, before the host waits for what they may take.
	scrubBatch = 256 << 10
	// scrubRead is what a read counts for at least, at a rate that allows more in a heartbeat interval: a
	// small one costs the disk no less.
	scrubRead = 16 << 10
)

// start plans the first pass.
func (s *hostScrub) start(h *Host) {
	s.host = h
	if h.settings.ScrubBytesPerSecond == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(h.settings.ElectionTimeout, s.next)
}

// next reads on. The timer calls it, in a goroutine of its own.
func (s *hostScrub) next() {
	defer s.host.protect("storage")
	s.mu.Lock()
	if s.runs {
		s.mu.Unlock()
		return
	}
	s.runs = true
	s.mu.Unlock()
	pause := s.batch()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = false
	switch {
	case s.node != nil && (s.ended || s.node.inbox.resigned()):
		s.timer.Reset(0) // to give back what is in use
	case !s.ended && !s.asked:
		s.timer.Reset(pause)
	}
}

// batch reads what is read at once, and returns how long to wait then.
func (s *hostScrub) batch() (pause time.Duration) {
	c := &s.host.settings
	piece := max(int(min(float64(c.ScrubBytesPerSecond)*c.Heartbeat.Seconds(), scrubBatch)), 1)
	for bytes := 0; bytes < scrubBatch; {
		if s.node != nil && (s.isEnded() || s.node.inbox.resigned()) {
			s.leave()
		}
		if s.node == nil && !s.begin() {
			return scrubPause * min(c.ElectionTimeout, time.Hour)
		}
		if s.yields < maxScrubYields && s.host.disk.isBusy() {
			s.yields++
			return c.Heartbeat
		}
		s.yields = 0
		n, done, err := s.read(piece)
		bytes += max(n, min(scrubRead, piece))
		pause = max(time.Duration(min(float64(bytes)/float64(c.ScrubBytesPerSecond), 3600)*float64(time.Second)), c.Heartbeat)
		if err != nil && s.suspect() {
			return pause // that group says when it is done
		}
		if done || err != nil {
			s.leave()
		}
	}
	return pause
}

// begin begins with the next group of this pass that runs. It returns false at the end of the pass.
func (s *hostScrub) begin() bool {
	for {
		group, pass := s.pop()
		if !pass {
			return false
		}
		if n := s.host.node(group); n != nil && n.life.useStorage() {
			s.node, s.after = n, 0
			return true
		}
	}
}

// pop takes the next group of this pass. It returns false at the end of a pass, and of the host.
func (s *hostScrub) pop() (group GroupID, pass bool) {
	s.mu.Lock()
	begins := s.left == nil && !s.ended
	s.mu.Unlock()
	var all []GroupID
	if begins {
		all = s.all()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if begins {
		s.left = all
	}
	s.reading = ""
	if s.ended {
		return "", false
	}
	if len(s.left) == 0 {
		s.left = nil
		s.passes++
		return "", false
	}
	s.reading, s.left = s.left[0], s.left[1:]
	return s.reading, true
}

// all returns the groups that are to be read in a pass.
func (s *hostScrub) all() []GroupID {
	groups := []GroupID{}
	for _, n := range s.host.nodes() {
		groups = append(groups, n.group)
	}
	slices.SortFunc(groups, func(a, b GroupID) int { return strings.Compare(string(a), string(b)) })
	return groups
}

// read reads up to so many bytes of the group that is under way: of its log, and then of its snapshot.
// done says that there is nothing more. Any error is for the group's core.
func (s *hostScrub) read(piece int) (bytes int, done bool, err error) {
	err = guard("storage", func() error {
		if s.snapshot == nil {
			if bytes, done, err = s.readLog(piece); !done || err != nil {
				return err
			}
		}
		var more int
		more, done, err = s.readSnapshot(piece - bytes)
		bytes += more
		return err
	})
	return bytes, done, err
}

// readLog reads on in the log, up to what is committed. What is forgotten meanwhile is passed over.
func (s *hostScrub) readLog(piece int) (bytes int, done bool, err error) {
	g := &s.node.glance
	for {
		s.after = max(s.after, Index(g.base.Load()))
		last := Index(g.commit.Load())
		if s.after >= last {
			return 0, true, nil
		}
		entries, err := s.node.config.Storage.Entries(s.after, last, piece)
		switch {
		case errors.Is(err, ErrCompacted):
			if s.after >= Index(g.base.Load()) {
				return 0, true, nil // the rest isn't written yet
			}
			continue
		case err != nil:
			return 0, true, err
		}
		s.after += Index(len(entries))
		return sizeOf(entries), s.after >= last, nil
	}
}

// readSnapshot reads on in the current snapshot. What keeps it from being read is no damage, unless the
// storage says so: the next pass tries it again.
func (s *hostScrub) readSnapshot(piece int) (bytes int, done bool, err error) {
	if s.snapshot == nil {
		if _, s.snapshot, err = s.node.config.Storage.OpenSnapshot(); err != nil {
			s.snapshot = nil
		}
	}
	if s.snapshot != nil {
		var n int64
		n, err = io.CopyN(io.Discard, s.snapshot, int64(max(piece, 1)))
		bytes = int(n)
	}
	if errors.Is(err, ErrCorrupt) {
		return bytes, true, err
	}
	return bytes, err != nil, nil
}

// suspect has the group's core read what it has, and do what there is to do about it. It returns false
// if the group has ended.
func (s *hostScrub) suspect() bool {
	n := s.node
	s.leave()
	s.mu.Lock()
	s.asked, s.reading = true, n.group
	s.mu.Unlock()
	err := n.inbox.report(func(l *loop, now Instant) {
		l.core.Scrub(now)
		l.scrubbing = true
	})
	if err != nil {
		s.mu.Lock()
		s.asked = false
		s.mu.Unlock()
	}
	return err == nil
}

// leave gives back what the group that is under way uses, if there is one.
func (s *hostScrub) leave() {
	if s.node == nil {
		return
	}
	if s.snapshot != nil {
		_ = guard("storage", s.snapshot.Close) // it says nothing about the snapshot
	}
	s.node.leaveStorage()
	s.node, s.snapshot = nil, nil
}

// done notes that a group's core has read what it has, or has ended.
func (s *hostScrub) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = false
	if !s.ended && !s.runs {
		s.timer.Reset(s.host.settings.Heartbeat)
	}
}

// ends notes that the node of a group ends: it waits for those that use its storage.
func (s *hostScrub) ends(group GroupID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading == group && !s.runs && !s.asked && !s.ended {
		s.timer.Reset(0)
	}
}

// stop ends it.
func (s *hostScrub) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended = true; s.timer != nil {
		s.timer.Reset(0) // to give back what is in use
	}
}

func (s *hostScrub) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}
