package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/e17579a5/raft"
)

// A wait that is shorter isn't shown: it is just how things go.
const (
	shortWait    = 250 * time.Millisecond
	shortSilence = time.Second
)

// says returns the sentences of a status. Where package raft has words for something, they are its
// own.
func says(s *raft.Status) []sentence {
	list := []sentence{}
	say := func(bad bool, format string, values ...any) {
		list = append(list, sentence{fmt.Sprintf(format, values...), bad})
	}
	if s.Stuck != "" {
		say(true, "is held up by the %s", s.Stuck)
	}
	for _, trouble := range []error{s.Trouble, s.StorageTrouble, s.SnapshotTrouble, s.Diverged} {
		if trouble != nil {
			say(true, "%s", reason(trouble))
		}
	}
	if d := s.Damage; d != nil {
		say(true, "has lost the bytes of %s for %v, and has asked %v", rangesText(d.Lost), round(d.For), d.Asked)
	}
	if s.FullFor > 0 {
		say(true, "its disk has been full for %v, with room for %s", round(s.FullFor), bytesText(s.Room))
	}
	if s.NoLeader != nil && s.Trouble == nil {
		shown := *s.NoLeader
		shown.For = round(shown.For)
		say(true, "%v", &shown)
	}
	for _, w := range []struct {
		what string
		wait *raft.Wait
	}{{"a command", s.Command}, {"a read", s.Read}, {"a change", s.Call}} {
		if w.wait != nil && w.wait.For >= shortWait {
			shown := *w.wait
			shown.For = round(shown.For)
			say(true, "%s %v", w.what, &shown)
		}
	}
	for _, l := range []struct {
		name string
		lane raft.LaneStatus
	}{{"disk", s.Disk}, {"reads of the disk", s.CatchUp}, {"state machine", s.Machine}} {
		if l.lane.Waits != nil {
			say(true, "its %s: %s", l.name, reason(l.lane.Waits))
		} else if l.lane.For >= shortWait {
			say(true, "its %s: nothing finished for %v", l.name, round(l.lane.For))
		}
	}
	if r := s.Receiving; r != nil {
		say(false, "receives a snapshot up to entry %d: %s, %s of %s", r.Index, r.Stage, bytesText(r.Done), bytesText(r.Size))
	}
	if s.HandingOver != "" {
		say(false, "hands over to %s", s.HandingOver)
	}
	return append(list, ofPeers(s)...)
}

// ofPeers says what a leader knows of the others.
func ofPeers(s *raft.Status) (list []sentence) {
	for i := range s.Peers {
		p := &s.Peers[i]
		switch {
		case p.Trouble != nil:
			list = append(list, sentence{fmt.Sprintf("%s: %s", p.ID, reason(p.Trouble)), true})
		case p.Silent >= shortSilence:
			list = append(list, sentence{fmt.Sprintf("has heard nothing from %s for %v", p.ID, round(p.Silent)), true})
		case p.Snapshot != nil:
			list = append(list, sentence{fmt.Sprintf("sends %s a snapshot up to entry %d: %s", p.ID, p.Snapshot.Index, p.Snapshot.Stage), false})
		case p.Full:
			list = append(list, sentence{fmt.Sprintf("%s's disk is full", p.ID), true})
		}
	}
	return list
}

// cureOf returns the action that helps a server; "" if it needs none.
func cureOf(s *raft.Status) string {
	if errors.Is(s.Trouble, raft.ErrOtherIncarnation) || errors.Is(s.Trouble, raft.ErrRolledBack) {
		return "replace"
	}
	return ""
}

// round rounds a time for people.
func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// bytesText writes a number of bytes for people.
func bytesText(n uint64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
