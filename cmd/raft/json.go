package main

import (
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A logReport is what raft inspect prints as JSON.
type logReport struct {
	logVerdict
	Disk      string           `json:"disk"`
	Cluster   string           `json:"cluster"`
	Term      raft.Term        `json:"term"`
	Vote      raft.ServerID    `json:"vote"`
	First     raft.Index       `json:"first"` // the first entry that is stored
	Last      raft.Index       `json:"last"`
	LastTerm  raft.Term        `json:"last_term"`
	Snapshot  raft.Index       `json:"snapshot"`
	Members   string           `json:"members,omitempty"` // of the latest configuration
	Tail      string           `json:"tail"`
	Groups    []groupReport    `json:"groups,omitempty"` // but ""
	Segments  []segmentReport  `json:"segments"`
	Snapshots []snapshotReport `json:"snapshots,omitempty"`
}

// A segmentReport and a snapshotReport tell of a file.
type (
	segmentReport struct {
		Name    string `json:"name"`
		Size    int64  `json:"size"`
		Records int    `json:"records"`
	}
	snapshotReport struct {
		Name    string     `json:"name"`
		Size    int64      `json:"size"`
		Index   raft.Index `json:"index"`
		Term    raft.Term  `json:"term"`
		Current bool       `json:"current"`
		Error   string     `json:"error,omitempty"`
	}
)

// A groupReport tells of a group.
type groupReport struct {
	Group    raft.GroupID `json:"group"`
	Number   uint64       `json:"number"`
	Term     raft.Term    `json:"term"`
	First    raft.Index   `json:"first"`
	Last     raft.Index   `json:"last"`
	Snapshot raft.Index   `json:"snapshot"`
	Lost     int          `json:"lost,omitempty"` // stretches of entries
	Error    string       `json:"error,omitempty"`
}

// groupsOf returns what a log holds of the groups but "".
func groupsOf(r *wal.Report) (all []groupReport) {
	for i := range r.Groups {
		g := &r.Groups[i]
		shown := groupReport{
			Group: g.Group, Number: g.Number, Term: g.Saved.State.Term, First: g.Saved.Base + 1, Last: g.Saved.Last,
			Snapshot: g.Saved.Snapshot.Index, Lost: len(g.Saved.Lost),
		}
		if g.Err != nil {
			shown.Error = g.Err.Error()
		}
		all = append(all, shown)
	}
	return all
}

// logOf returns what a log holds.
func logOf(dir string, r *wal.Report) logReport {
	state := &r.Saved.State
	l := logReport{
		logVerdict: verdictOf(dir, r),
		Disk:       fmt.Sprintf("%016x", uint64(state.Incarnation)), Cluster: state.Cluster.String(), Term: state.Term, Vote: state.Vote,
		Tail: string(r.Tail.State),
	}
	if r.Err == nil {
		l.First, l.Last, l.LastTerm, l.Snapshot = r.Compacted+1, r.Saved.Last, r.Saved.LastTerm(), r.Saved.Snapshot.Index
		l.Groups = groupsOf(r)
		if c, _, err := r.Saved.Configuration(); err == nil && c != nil {
			l.Members = configuration(c)
		}
	}
	for _, s := range r.Segments {
		l.Segments = append(l.Segments, segmentReport{s.Name, s.Size, s.Records})
	}
	for _, s := range r.Snapshots {
		shown := snapshotReport{s.Name, s.Size, s.Meta.Index, s.Meta.Term, s.Current, ""}
		if s.Err != nil {
			shown.Error = s.Err.Error()
		}
		l.Snapshots = append(l.Snapshots, shown)
	}
	return l
}

// A recordReport is what raft dump prints of a record, as JSON.
type recordReport struct {
	Segment  string        `json:"segment"`
	Offset   int64         `json:"offset"`
	Kind     string        `json:"kind"`
	Group    raft.GroupID  `json:"group,omitempty"`
	Ends     bool          `json:"ends,omitempty"`
	Moved    bool          `json:"moved,omitempty"` // the repairs are entries that were moved
	Term     raft.Term     `json:"term,omitempty"`
	Vote     raft.ServerID `json:"vote,omitempty"`
	Snapshot raft.Index    `json:"snapshot,omitempty"`
	Compact  raft.Index    `json:"forgotten_to,omitempty"`
	Entries  []entryReport `json:"entries,omitempty"`
	Repairs  []entryReport `json:"repairs,omitempty"`
	Damaged  string        `json:"damaged,omitempty"`
}

// An entryReport is an entry. Data are the first bytes of its command, as base64.
type entryReport struct {
	Index         raft.Index `json:"index"`
	Term          raft.Term  `json:"term"`
	Kind          string     `json:"kind"`
	Bytes         int        `json:"bytes"`
	Data          []byte     `json:"data,omitempty"`
	Configuration string     `json:"configuration,omitempty"`
}

// recordOf returns what a record says, with so many bytes of each command.
func recordOf(r *wal.Record, data int) recordReport {
	shown := recordReport{Segment: r.Segment, Offset: r.Offset, Kind: r.Kind, Group: r.Group, Ends: r.Ends, Moved: r.Moves}
	if r.Durable != nil {
		shown.Term, shown.Vote = r.Durable.Term, r.Durable.Vote
	}
	if r.Snapshot != nil {
		shown.Snapshot = r.Snapshot.Index
	}
	if r.Compact != nil {
		shown.Compact = *r.Compact
	}
	if r.Damaged != nil {
		shown.Damaged = r.Damaged.Error()
	}
	list := func(entries []raft.Entry) (all []entryReport) {
		for i := range entries {
			e := &entries[i]
			one := entryReport{Index: e.Index, Term: e.Term, Kind: e.Kind.String(), Bytes: len(e.Data), Data: e.Data[:min(data, len(e.Data))]}
			if e.Kind == wire.EntryConfiguration {
				if c, err := wire.DecodeConfiguration(e.Data); err == nil {
					one.Configuration, one.Data = configuration(&c), nil
				}
			}
			all = append(all, one)
		}
		return all
	}
	shown.Entries, shown.Repairs = list(r.Entries), list(r.Repairs)
	return shown
}
