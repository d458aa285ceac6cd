package wal

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"

	"github.com/e17579a5/raft"
)

// A GroupReport tells of one group of a log, other than "".
type GroupReport struct {
	Group  raft.GroupID // "" if its name was lost
	Number uint64       // the group's own: no other one ever has it
	// Saved is what Load of the group would return. It is complete when Err is nil.
	Saved raft.Saved
	// Err is the error with which Log.Group refuses the group; nil when it doesn't.
	Err error
}

// sound says whether nothing of the group is lost.
func (g *GroupReport) sound() bool {
	return g.Err == nil && len(g.Saved.Lost) == 0 && g.Saved.SnapshotDamage == nil
}

// groups reports the groups of a log that was replayed.
func (i *inspection) groups() error {
	l := i.log
	for _, g := range l.groups.numbered {
		report := GroupReport{Group: g.id, Number: g.number, Err: g.refused}
		if g.refused == nil {
			var err error
			if report.Saved, err = g.load(); err != nil {
				return err
			}
			if err := i.note(report.Saved.SnapshotDamage); err != nil {
				return err
			}
		}
		i.report.Groups = append(i.report.Groups, report)
	}
	slices.SortFunc(i.report.Groups, func(a, b GroupReport) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Number, b.Number))
	})
	return nil
}

// owner returns the group that a snapshot is of, and what it must be, if it is the current one of that
// group. A group that isn't there any more has none.
func (i *inspection) owner(number uint64) (g *group, meta *raft.SnapshotMeta, err error) {
	l := i.log
	for _, g := range append(i.stored(), &l.group) {
		if g.contents.snapshot.file == number {
			return g, &g.contents.snapshot.meta, nil
		}
	}
	r, err := l.openSnapshotFile(number)
	if errors.Is(err, raft.ErrCorrupt) {
		return &l.group, nil, nil // what is wrong shows when it is read
	}
	if err != nil {
		return nil, nil, err
	}
	defer r.file.Close()
	if r.group == 0 {
		return &l.group, nil, nil
	}
	if g := l.groups.numbered[r.group]; g != nil {
		return g, nil, nil
	}
	return &group{log: l, number: r.group}, nil, nil
}

// stored returns the groups but "".
func (i *inspection) stored() (all []*group) {
	for _, g := range i.log.groups.numbered {
		all = append(all, g)
	}
	return all
}

// parts hands the parts of a shared record to the visitor, each as a record of its own.
func (i *inspection) parts(s *segment, at uint32, h header, record []byte) error {
	var d directory
	if err := d.decode(record); err != nil {
		return i.part(&Record{}, s, at, h, err)
	}
	for k := range d.parts {
		p := &d.parts[k]
		out := Record{GroupNumber: p.group, Group: i.names[p.group]}
		err := i.decodePart(&out, p, d.since, record)
		if err := i.part(&out, s, at, h, err); err != nil {
			return err
		}
	}
	return nil
}

// part hands a part to the visitor.
func (i *inspection) part(out *Record, s *segment, at uint32, h header, damage error) error {
	out.Segment, out.Offset, out.Kind, out.Synced = filepath.Base(s.name), int64(at), kindNames[h.kind], int64(h.synced)
	if damage != nil {
		out.Damaged = corrupt(s, at, damage.Error())
		if err := i.note(out.Damaged); err != nil {
			return err
		}
	}
	if i.visit == nil {
		return nil
	}
	return i.visit(out)
}

// decodePart fills in what a part says.
func (i *inspection) decodePart(out *Record, p *part, since place, record []byte) error {
	if !p.sound() {
		return errDamaged
	}
	var c change
	var head groupHead
	headed, err := c.decodePart(p.prelude, &head, since)
	if err != nil {
		return err
	}
	if headed {
		i.names[p.group] = head.id
		out.Group, out.Head, out.Last = head.id, true, head.last
	}
	out.Ends, out.Moves = c.flags&ends != 0, c.flags&moves != 0
	return i.batch(out, &c, record[p.repairs:p.entries], record[p.entries:p.end])
}
