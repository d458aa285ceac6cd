package raft

import "slices"

// A Fetch asks for the entries of (After, Last], or for as many of the first of them as fit into
// MaxBytes bytes (Storage.Entries).
type Fetch struct {
	For         ServerID // the server that needs them, or "" when they are to be applied here
	Repair      bool     // whether that server has lost their bytes
	Scrub       bool     // whether they are read only to see that their bytes aren't lost
	After, Last Index
	MaxBytes    int

	// Snapshot, when not nil, asks for no entries, but for MaxBytes bytes of the current snapshot,
	// from Offset on, or as many as there are, to see whether they are sound. It describes that
	// snapshot. If the storage has another one by now, or can't read it at the time, that is reported
	// by Fetched; damage by Damaged.
	Snapshot *SnapshotMeta
	Offset   uint64

	knows uint64 // what the core knew of damage when it began (repairs.changes)
}

// diskReads are the reads of entries that have left the log's tail. The state machine needs these
// entries, or a peer does.
type diskReads struct {
	// fetches are to be handed out.
	fetches []Fetch `state:"transient"`
	// reading counts the fetches that weren't reported yet.
	reading int
}

func (d *diskReads) encode(s *stateEncoder) { s.numbers(uint64(d.reading)) }

func (d *diskReads) clone() diskReads {
	n := *d
	n.fetches = slices.Clone(d.fetches)
	return n
}

// fetchBytes is how many bytes of entries are read from the disk at a time.
const fetchBytes = 1 << 20

// fetch asks for entries from the disk.
func (c *Core) fetch(f Fetch) {
	f.knows = c.repairs.changes
	c.fetches = append(c.fetches, f)
	c.reading++
	c.diskStarts(readDeadline)
}

// fetchDone notes that a fetch was reported. It says whether what the core knows of damage has
// changed since the fetch began.
func (c *Core) fetchDone(f Fetch) (changed bool) {
	changed = f.knows != c.repairs.changes
	defer c.forgetChanges()
	if f.Scrub {
		c.scrubDone()
		return changed
	}
	assert(c.reading > 0, "Fetches Answered Once")
	c.reading--
	c.diskMoved(readDeadline, c.reading)
	if f.Repair {
		return changed
	}
	if f.For == "" {
		c.fetching = false
	} else if l, leads := c.role.(*leader); leads {
		if p := l.peer(f.For); p != nil {
			p.fetching = false
		}
	}
	return changed
}

// forgetChanges lets the changes of damage be counted anew when nothing is read that began before.
func (c *Core) forgetChanges() {
	if c.reading == 0 && !c.scrubbing.reads {
		c.repairs.changes = 0
	}
}

// Fetched reports what Storage.Entries has returned for a fetch. The core takes no entry that the
// log doesn't hold any more, or not in this term. A fetch that came too late (ErrCompacted) is
// reported with no entries. One that has failed with a DamagedError is reported by Damaged. Any
// other failure is the storage's and ends the node, so it isn't reported here.
func (c *Core) Fetched(now Instant, f Fetch, entries []Entry) {
	c.advance(now)
	changed := c.fetchDone(f)
	next := f.After
	for i := range entries {
		if e := &entries[i]; e.Index != next+1 || !c.log.matches(e.Index, e.Term) {
			entries = entries[:i]
			break
		}
		next++
	}
	switch {
	case f.Scrub:
		c.scrubbed(f, next, sizeOf(entries))
		return
	case f.Repair:
		c.repairRead(f, entries, changed)
		return
	}
	if f.For == "" {
		if f.After < c.log.handed {
			return // a snapshot has been installed meanwhile
		}
		assert(f.After == c.log.handed && len(entries) > 0, "Committed Entries Are Stored")
		c.fetched = entries
		return
	}
	if l, leads := c.role.(*leader); leads {
		if p := l.peer(f.For); p != nil {
			c.fetchedToSend(l, p, f, entries)
		}
	}
}
