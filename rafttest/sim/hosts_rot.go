package sim

import (
	"errors"
	"path"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// What changes on the disk of a process may be a part of one group. Then the others must not notice it:
// what they have is whole, and their log is opened.

// logSuffers lets a fault happen to the real log of a process.
func (h *Hosts) logSuffers(kind hostFault, i int, span int64, luck uint64) {
	p := &h.processes[i]
	if p.real == nil {
		return // it has another disk, and hasn't started since
	}
	switch kind {
	case hostFailWrite, hostFailSync:
		if op := map[hostFault]Op{hostFailWrite: OpFailWrite, hostFailSync: OpFailSync}[kind]; !h.anyRotten(i) {
			p.real.fails(op, 1+below(luck, 8))
		}
	case hostFull:
		p.real.fill(below(mix(luck), pick(luck, 1, 1<<10, maxRoom)))
		h.queue.push(item{at: h.now + 4*span, what: itemFree, a: int8(i)})
	case hostRot:
		h.rots(i, luck)
	case hostCutOpening:
		h.crashes(i)
		h.queue.push(item{at: h.now + 1, what: itemRestart, a: int8(i), n: openingLuck(luck)})
	}
}

// rots damages the log of a process, if it has been idle for long enough (World.rot), and if every group
// can do without the disk: the whole log may be refused.
func (h *Hosts) rots(i int, luck uint64) {
	p := &h.processes[i]
	if !p.up || p.batch != nil || p.failed != nil || h.anyRotten(i) || !h.expendable(i) {
		return
	}
	for _, w := range h.worlds {
		if len(w.servers[i].writes) > 0 || p.ending[w.group] != nil {
			return
		}
	}
	p.real.writes, p.real.syncs = -1, -1
	if err := p.real.log.Anchor(); err != nil {
		return
	}
	p.real.fs.Flush()
	before := p.real.fs.Clone()
	places := p.real.rot(luck)
	if !p.real.rots() {
		return
	}
	hit := h.concerned(before, places)
	p.refusable = hit.whole
	h.all(func(w *World) {
		s := &w.servers[i]
		s.rotten, s.spared = true, !hit.groups[w.group]
		if s.spared {
			h.stats.Spared++
		}
	})
	h.tells(i, "bytes on its disk change")
}

// A damage says whom it concerns what has changed in a log.
type damage struct {
	whole  bool // the log may be refused
	groups [MaxGroups]bool
}

// all notes that all may be concerned.
func (d *damage) all() {
	d.whole = true
	for g := range d.groups {
		d.groups[g] = true
	}
}

// concerned finds out whom damage to a log concerns: the groups that have a part in the records that it
// has hit, as package wal says.
func (h *Hosts) concerned(before *simfs.FS, places []spot) (hit damage) {
	before.Kill()
	type record struct {
		segment string
		at      int64
		group   string
		kind    string
	}
	var records []record
	report, err := wal.Inspect(walDir, wal.Options{FS: before}, func(r *wal.Record) error {
		records = append(records, record{r.Segment, r.Offset, string(r.Group), r.Kind})
		return nil
	})
	if err != nil || report.Err != nil || len(places) > 1 {
		hit.all()
		return hit
	}
	for _, s := range places {
		name := path.Base(s.file)
		at := slices.IndexFunc(report.Segments, func(r wal.SegmentReport) bool { return r.Name == name })
		if at < 0 || s.whole {
			hit.all() // the anchor, a snapshot, or a file that isn't itself any more
			continue
		}
		for j := range records {
			r := &records[j]
			if r.segment != name {
				continue
			}
			end, last := report.Segments[at].End, true
			for k := j + 1; k < len(records); k++ {
				if next := &records[k]; next.segment != name || next.at > r.at {
					if next.segment == name {
						end = next.at
					}
					last = false
					break
				}
			}
			if s.from >= end || s.to <= r.at {
				continue
			}
			if r.kind != "part" || r.group == "" || last {
				hit.all()
				continue
			}
			hit.groups[r.group[1]-'0'] = true
		}
		if s.from < preamble {
			hit.all()
		}
	}
	return hit
}

// preamble is where the first record of a segment begins.
const preamble = 40

// foundByCleaner reports whether the cleaner of a shared log has found entries of a server lost. Nobody is
// told of that before they are read, and what has changed may be gone with its segment. While more is being
// written, the log may hold less than what was reported: then it isn't known, and may be so.
func (w *World) foundByCleaner(s *server) bool {
	d := s.disk.wal
	if !d.shared {
		return false
	}
	if len(s.writes) > 0 || w.hosts.processes[w.index(s)].batch != nil {
		return true
	}
	for after := s.disk.base; after < s.disk.last(); {
		entries, err := d.storage.Entries(after, s.disk.last(), 1<<20)
		var damage *raft.DamagedError
		switch {
		case err == nil:
			after += raft.Index(len(entries))
		case errors.As(err, &damage) && s.hit():
			w.rotFound(s, damage.Lost)
			after = damage.Lost.Last
		default:
			w.fail(Recovery, w.index(s), "what should be there can't be read: %v", err)
			return false
		}
	}
	return len(s.disk.gone) > 0
}

// mayRefuse reports whether the log of a process may be refused as a whole.
func (h *Hosts) mayRefuse(i int) bool { return h.processes[i].refusable && h.anyRotten(i) }

// mayLose reports whether the log of a process may refuse a group: one that is concerned; or one of which
// nothing is known, since the name of a group that is concerned may be lost, which may be this one.
func (h *Hosts) mayLose(w *World, i int) bool {
	s := &w.servers[i]
	nameless := len(s.disk.entries) == 0 && slices.ContainsFunc(h.worlds, func(w *World) bool { return w.servers[i].hit() })
	return s.hit() || nameless
}

// cleansUp lets the cleaner of a process's log do what it owes, and checks then that the log takes no more
// than twice what its groups need, and some segments.
func (h *Hosts) cleansUp(i int) {
	p := &h.processes[i]
	for n, moved := 0, true; moved; n++ {
		var err error
		if moved, err = p.real.log.Clean(); errors.Is(err, errDisk) {
			return // a write has failed that nobody waited for, and nothing was to be written since
		} else if err != nil {
			h.fail(Recovery, nil, i, "the log can't be cleaned: %v", err)
			return
		}
		if n > maxCleans {
			h.fail(LogCleaned, nil, i, "its log is still being cleaned after %d steps", n)
			return
		}
	}
	p.real.fs.Settle(p.real.fs.Issued())
	h.checkSize(i)
}

// maxCleans is more steps than a cleaner takes: in each it moves all that is needed of a segment.
const maxCleans = 300

// checkSize checks how much is written in a log whose cleaner has done what it owes, and how large its files
// are: a segment may end with less room than the next record takes. A group that is refused keeps what is
// behind it.
func (h *Hosts) checkSize(i int) {
	p := &h.processes[i]
	holders := p.real.log.Holders()
	if h.anyRotten(i) {
		return
	}
	if len(holders) > 0 {
		h.fail(LogCleaned, nil, i, "the log takes more than it should, held up by group %q and %d others, and nothing is moved", holders[0].Group, len(holders)-1)
		return
	}
	files := p.real.fs.Clone()
	files.Kill()
	report, err := wal.Inspect(walDir, wal.Options{FS: files}, nil)
	if err != nil || report.Err != nil {
		h.fail(LogCleaned, nil, i, "the log can't be looked at: %v", errors.Join(err, report.Err))
		return
	}
	written, takes, largest := int64(0), int64(0), h.params.Segment
	for i := range report.Segments {
		s := &report.Segments[i]
		written, takes, largest = written+s.End, takes+s.Size, max(largest, s.Size)
	}
	needed := int64(0)
	for _, w := range h.worlds {
		needed += w.servers[i].disk.needs()
	}
	if limit := 2*needed + 8*largest; written > limit || takes > 2*limit {
		h.fail(LogCleaned, nil, i, "%d bytes of %d are written in the log, and its groups need %d: %d are allowed", written, takes, needed, limit)
	}
	h.stats.Cleaned++
}

// entryNeeds is what an entry takes in a real log beside its bytes, and headNeeds what a group does, at
// most.
const (
	entryNeeds = 64
	headNeeds  = 1 << 10
)

// needs returns how many bytes of a real log a group needs.
func (d *disk) needs() int64 {
	if d.state == (raft.DurableState{}) {
		return 0
	}
	bytes := int64(headNeeds)
	for i := int(d.base); i < len(d.entries); i++ {
		e := &d.entries[i]
		bytes += int64(len(e.Data)) + entryNeeds
		if e.Kind == wire.EntryConfiguration {
			bytes += 2 * int64(len(e.Data)) // it stands in the head, too
		}
	}
	return bytes
}
