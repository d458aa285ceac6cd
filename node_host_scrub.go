package raft

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// A hostScrub has the groups of a host read their logs and snapshots to see whether bytes are lost, one
// group after the other: so all of them together keep to the rate, and those that aren't read have
// nothing to do.
type hostScrub struct {
	host *Host

	mu    sync.Mutex
	timer *time.Timer // calls next; nil if nothing is to be read
	left  []GroupID   // those that are still to be read in this pass
	ended bool

	reading GroupID // the one that reads; "" for none
	passes  uint64  // those that are done
}

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

// next has the next group read what it has. The timer calls it, in a goroutine of its own.
func (s *hostScrub) next() {
	for {
		group, pass := s.pop()
		if !pass {
			return
		}
		n := s.host.node(group)
		if n == nil {
			continue
		}
		err := n.inbox.report(func(l *loop, now Instant) {
			l.core.Scrub(now)
			l.scrubbing = true
		})
		if err == nil {
			return // the loop says when it is done
		}
	}
}

// pop takes the next group of this pass. After the last one it plans the next pass, and returns false.
func (s *hostScrub) pop() (group GroupID, pass bool) {
	s.mu.Lock()
	begins := s.left == nil
	s.mu.Unlock()
	var all []GroupID
	if begins {
		all = s.all()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return "", false
	}
	if begins {
		s.left = all
	}
	if len(s.left) == 0 {
		s.left, s.reading = nil, ""
		s.passes++
		s.timer.Reset(scrubPause * min(s.host.settings.ElectionTimeout, time.Hour))
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

// done notes that a group has read what it has, or has ended.
func (s *hostScrub) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = ""
	if !s.ended {
		s.timer.Reset(s.host.settings.Heartbeat)
	}
}

// stop ends the timer.
func (s *hostScrub) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended = true; s.timer != nil {
		s.timer.Stop()
	}
}
