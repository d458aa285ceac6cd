package main

import (
	"fmt"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// A printer prints what is in a log.
type printer struct {
	out     *output
	data    int // number of bytes of each command to print
	segment string
}

func (p *printer) printf(format string, arguments ...any) { fmt.Fprintf(p.out, format, arguments...) }

// record prints one record, with its entries.
func (p *printer) record(r *wal.Record) error {
	if r.Segment != p.segment {
		p.segment = r.Segment
		p.printf("%s\n", r.Segment)
	}
	p.printf("%10d  %-5s", r.Offset, r.Kind)
	if r.Kind == "part" {
		p.printf("  group %q (%d)", r.Group, r.GroupNumber)
	}
	if r.Synced > 0 {
		p.printf("  synced to %d", r.Synced)
	}
	if r.Kind == "head" || r.Kind == "open" || r.Head {
		p.printf("  a log to %d", r.Last)
	}
	if n := len(r.Entries); n > 0 {
		p.printf("  entries %d to %d", r.Entries[0].Index, r.Entries[n-1].Index)
	}
	if r.Ends {
		p.printf("  ends")
	}
	if n := len(r.Repairs); n > 0 && r.Moves {
		p.printf("  %d entries moved, of %d to %d", n, r.Repairs[0].Index, r.Repairs[n-1].Index)
	} else if n > 0 {
		p.printf("  %d repairs, of entries %d to %d", n, r.Repairs[0].Index, r.Repairs[n-1].Index)
	}
	if d := r.Durable; d != nil {
		p.printf("  term %d", d.Term)
		if d.Vote != "" {
			p.printf(" vote %q", d.Vote)
		}
		p.printf(" start %s", wire.ShowStart(d.Start))
	}
	if s := r.Snapshot; s != nil {
		p.printf("  snapshot of %d in term %d", s.Index, s.Term)
		if r.Drops {
			p.printf(" in place of the log")
		}
	}
	if r.Compact != nil && *r.Compact > 0 {
		p.printf("  forgotten to %d", *r.Compact)
	}
	p.printf("\n")
	if r.Damaged != nil {
		p.printf("%22s  %v\n", "DAMAGED", r.Damaged)
	}
	for i := range r.Repairs {
		p.entry(&r.Repairs[i])
	}
	for i := range r.Entries {
		p.entry(&r.Entries[i])
	}
	return p.out.err
}

// entry prints one entry.
func (p *printer) entry(e *raft.Entry) {
	p.printf("%22d  term %d  %s", e.Index, e.Term, e.Kind)
	if e.Number != 0 {
		p.printf("  %s/%s/%d", e.Origin.Server, wire.ShowStart(e.Origin.Start), e.Number)
	}
	if e.Kind == wire.EntryConfiguration {
		if c, err := wire.DecodeConfiguration(e.Data); err == nil {
			p.printf("  %s\n", configuration(&c))
			return
		}
	}
	if len(e.Data) > 0 {
		p.printf("  %d bytes", len(e.Data))
		if n := min(p.data, len(e.Data)); n > 0 {
			p.printf(" %q", e.Data[:n])
			if n < len(e.Data) {
				p.printf("…")
			}
		}
	}
	p.printf("\n")
}

// configuration returns all that a configuration says, in one line.
func configuration(c *raft.Configuration) string {
	describe := func(members []raft.Member) string {
		var list []string
		for _, m := range members {
			list = append(list, fmt.Sprintf("%s %s at %q, disk %016x", m.ID, m.Role, m.Address, uint64(m.Incarnation)))
		}
		return strings.Join(list, "; ")
	}
	text := fmt.Sprintf("cluster %x: %s", c.Cluster[:], describe(c.Members))
	if c.Old != nil {
		text += ", and before: " + describe(c.Old)
	}
	if c.Next != nil {
		text += ", to be: " + describe(c.Next)
	}
	if c.Number != 0 {
		text += fmt.Sprintf(", asked for by %s/%s/%d", c.Origin.Server, wire.ShowStart(c.Origin.Start), c.Number)
	}
	if c.Refusal != 0 {
		text += fmt.Sprintf(", given up: %v", c.Refusal)
		if c.About != "" {
			text += fmt.Sprintf(": server %s", c.About)
		}
	}
	if c.Level > wire.LevelFirst {
		text += fmt.Sprintf(", level %d", c.Level)
	}
	if c.Recovered != (raft.ClusterID{}) {
		text += fmt.Sprintf(", recovered from cluster %x", c.Recovered[:])
	}
	return text
}

// report prints the summary and the verdict.
func (p *printer) report(r *wal.Report) {
	state := &r.Saved.State
	p.printf("server     %q, disk %016x, cluster %x\n", state.Server, uint64(state.Incarnation), state.Cluster[:])
	p.printf("state      term %d, vote %q, %d starts, longest lease %d ns, opened %d times\n",
		state.Term, state.Vote, wire.StartCount(state.Start), int64(state.MaxLease), r.Opens)
	for _, s := range r.Segments {
		switch {
		case s.End == 0:
			p.printf("segment    %s: not begun, %d bytes\n", s.Name, s.Size)
		default:
			p.printf("segment    %s: %d records in %d of %d bytes\n", s.Name, s.Records, s.End, s.Size)
		}
	}
	for _, s := range r.Snapshots {
		p.printf("snapshot   %s: ", s.Name)
		if s.Current {
			p.printf("current, ")
		}
		if s.Err != nil {
			p.printf("damaged\n")
			continue
		}
		p.printf("of %d in term %d, %d bytes with frames; %s\n", s.Meta.Index, s.Meta.Term, s.Size, configuration(&s.Meta.Configuration))
	}
	for i := range r.Groups {
		p.group(&r.Groups[i])
	}
	for _, name := range r.Unfinished {
		p.printf("unfinished %s: not needed, the next start removes it\n", name)
	}
	if r.Err == nil {
		p.log(r)
	}
	p.verdict(r)
}

// group prints what a log holds of a group.
func (p *printer) group(g *wal.GroupReport) {
	p.printf("group      %q (%d): ", g.Group, g.Number)
	if g.Err != nil {
		p.printf("DAMAGED, can't be loaded\n")
		return
	}
	p.printf("entries %d to %d, term %d, snapshot of %d\n", g.Saved.Base+1, g.Saved.Last, g.Saved.State.Term, g.Saved.Snapshot.Index)
	p.lost(&g.Saved)
}

// verdict prints what is damaged, what others must give, and whether a server would start.
func (p *printer) verdict(r *wal.Report) {
	for _, damage := range r.Damage {
		p.printf("DAMAGE     %v\n", damage)
	}
	if r.Err == nil {
		p.lost(&r.Saved)
	}
	switch {
	case r.Err != nil:
		p.printf("DAMAGED: no server starts with this log\n")
	case r.Saved.SnapshotDamage != nil && len(r.Saved.Lost) > 0:
		p.printf("DAMAGED: a server starts with this log, and needs a snapshot and entries from the others\n")
	case len(r.Saved.Lost) > 0:
		p.printf("DAMAGED: a server starts with this log, and needs entries from the others\n")
	case r.Saved.SnapshotDamage != nil:
		p.printf("DAMAGED: a server starts with this log, and needs a snapshot from the leader\n")
	case r.Repaired:
		p.printf("repaired: nothing is lost; what is damaged is stored once more, or isn't needed\n")
	case len(r.Damage) > 0:
		p.printf("DAMAGED: a server starts with this log, without what is damaged\n")
	default:
		p.printf("sound\n")
	}
}

// lost prints which entries others must give.
func (p *printer) lost(saved *raft.Saved) {
	losses, err := recovery.Survey(*saved)
	if err != nil {
		p.printf("LOST       %v\n", err)
	}
	for i := range losses {
		switch lost := &losses[i]; {
		case lost.Snapshot:
		case lost.Covered:
			p.printf("LOST       the bytes of entries %d to %d of term %d, which the snapshot covers: only servers that lag behind need them\n",
				lost.First, lost.Last, lost.Term)
		default:
			p.printf("LOST       the bytes of entries %d to %d of term %d: other servers must give them, or a snapshot that covers them\n",
				lost.First, lost.Last, lost.Term)
		}
	}
}

// log prints what the log holds and how it ends.
func (p *printer) log(r *wal.Report) {
	saved := &r.Saved
	if r.Compacted < saved.Last {
		p.printf("log        entries %d to %d are stored", r.Compacted+1, saved.Last)
	} else {
		p.printf("log        no entry is stored, the last was %d", saved.Last)
	}
	if saved.Snapshot.Index > 0 {
		p.printf(", behind a snapshot of %d in term %d", saved.Snapshot.Index, saved.Snapshot.Term)
	}
	if r.Compacted > 0 {
		p.printf("; forgotten to %d", r.Compacted)
	}
	p.printf("\n")
	for _, run := range saved.Runs {
		p.printf("terms      %d from %d on\n", run.Term, run.First)
	}
	for i := range saved.Configurations {
		e := &saved.Configurations[i]
		if c, err := wire.DecodeConfiguration(e.Data); err == nil {
			p.printf("members    at %d: %s\n", e.Index, configuration(&c))
		}
	}
	p.printf("end        %s at %d: ", r.Tail.Segment, r.Tail.Offset)
	switch r.Tail.State {
	case wal.TailClosed:
		p.printf("closed, so nothing follows\n")
	case wal.TailTorn:
		p.printf("a batch was torn while it was written, and nobody was told that it is stored; the next start cuts it off\n")
	default:
		p.printf("not closed: the last %d bytes may not be synced, and what the anchor doesn't know may have followed\n", r.Tail.Unproven)
	}
}
