package sim

import (
	"bytes"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wire"
)

// A rottenPart is a part of a file that has changed.
type rottenPart struct {
	file     string
	at       int64
	was, now []byte
}

// rots reports whether a byte of it that has changed is still there.
func (r *rottenPart) rots(fs *simfs.FS) bool {
	content := fs.Bytes(r.file)
	for i := range r.now {
		if at := int(r.at) + i; at < len(content) && content[at] == r.now[i] && r.now[i] != r.was[i] {
			return true
		}
	}
	return false
}

// hit reports whether what has changed on a server's disk may have damaged what is the server's.
func (s *server) hit() bool { return s.rotten && !s.spared }

// rot damages a log in one or several places. Damage to the log's last write can't be told from a write that a
// power cut tore, unless the anchor proves that the write was there. So rot hits only a log that has
// been idle for long enough to have an anchor that knows all of it.
func (w *World) rot(s *server, luck uint64) bool {
	d := s.disk.wal
	if !s.up || s.rotten || len(s.writes) > 0 || !w.expendable(w.index(s)) {
		return false
	}
	d.writes, d.syncs = -1, -1
	if err := d.log.Anchor(); err != nil {
		return false
	}
	d.fs.Flush()
	d.rot(luck)
	s.rotten = d.rots()
	return s.rotten
}

// A spot is where something has changed in a file, or in all of it.
type spot struct {
	file     string
	from, to int64
	whole    bool
}

// rot damages a log in one or several places, and returns where.
func (d *realLog) rot(luck uint64) (spots []spot) {
	names, places := d.fs.Names(), pick(mix(luck+4), 1, 1, 2, 8)
	if places > 1 || mix(luck+3)%2 == 0 { // without the anchor, an end that is damaged may look torn
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".wal") })
	}
	for n := range uint64(places) {
		h := mix(luck + n<<32)
		name := func(h uint64) string { return names[below(mix(h), int64(len(names)))] }
		spots = append(spots, d.damage(name(h+1), name(h+6), h))
	}
	return spots
}

// damage flips a bit of a file, writes zeros over a part of it, cuts it short, or puts another file in
// its place. It returns where.
func (d *realLog) damage(name, other string, luck uint64) spot {
	content := bytes.TrimRight(d.fs.Bytes(name), "\x00")
	at := below(mix(luck+2), int64(len(content)))
	switch mix(luck+5) % 6 {
	case 0:
		d.fs.Replace(name, content[:at])
		return spot{file: name, whole: true}
	case 1:
		with := d.fs.Bytes(other)
		for i, b := range with {
			if i < len(content) && b != content[i] {
				d.fs.Replace(name, with)
				return spot{file: name, whole: true}
			}
		}
	}
	with := make([]byte, min(pick(mix(luck+3), 1, 1, 1, 512, 4096, 1<<20), int64(len(content))-at))
	if len(with) == 1 {
		with[0] = content[at] ^ byte(1)<<(luck%8)
	}
	if was := content[at : int(at)+len(with)]; !bytes.Equal(with, was) && d.fs.Overwrite(name, at, with) {
		d.rotten = append(d.rotten, rottenPart{name, at, was, with})
	}
	return spot{file: name, from: at, to: at + int64(len(with))}
}

// rots reports whether any byte of a log that has changed is still there, or any file that was cut or
// exchanged.
func (d *realLog) rots() bool {
	d.rotten = slices.DeleteFunc(d.rotten, func(r rottenPart) bool { return !r.rots(d.fs) })
	return len(d.rotten) > 0 || d.fs.Replaced()
}

// rotFound notes which entries a log has found lost. They are those that a rotten byte has hit.
func (w *World) rotFound(s *server, lost ...wire.Range) {
	d := s.disk
	for _, r := range lost {
		for index := max(r.First, d.base+1); index <= min(r.Last, d.last()); index++ {
			if d.gone == nil {
				d.gone = map[raft.Index]bool{}
			}
			if !d.gone[index] {
				d.gone[index] = true
				w.stats.RottenEntries++
			}
		}
	}
}
