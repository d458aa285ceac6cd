package sim

import (
	"errors"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// A realLog is a real log (package wal) on a simulated file system. A server has one of its own, or the
// groups of a process share one (hosts_wal.go). A call of the log runs to its end at once, but the file
// system defers its syncs: what it wrote has really happened when the last of these syncs is done.
type realLog struct {
	fs  *simfs.FS
	log *wal.Log // nil while no process has it open

	writes, syncs         int64 // number of calls after which the next one fails; negative for never
	failedWrite, failSync bool
	calls                 int64 // number of calls after which the power fails; negative for never
	begun                 bool  // the last attempt to open it has failed in what a start writes
	rotten                []rottenPart
}

// newRealLog returns a log that was never opened.
func newRealLog(seed uint64) *realLog {
	d := &realLog{fs: simfs.New(seed), writes: -1, syncs: -1, calls: -1}
	d.fs.Defer()
	return d
}

// imaged returns an independent copy of a log that isn't open.
func (d *realLog) imaged() *realLog {
	return &realLog{fs: d.fs.Clone(), writes: -1, syncs: -1, calls: -1}
}

// errDisk is the error of a call to a failing disk.
var errDisk = errors.New("input/output error")

const (
	walDir      = "/log"
	anchorEvery = 4 // the anchor is written after one of so many writes, if no other write waits
)

// onCall counts down to the calls that fail.
func (d *realLog) onCall(c simfs.Call) error {
	due := func(left *int64) bool {
		if *left < 0 {
			return false
		}
		*left--
		return *left < 0
	}
	if d.calls == 0 {
		return simfs.ErrPower
	}
	if d.calls > 0 {
		d.calls--
	}
	switch c.Op {
	case simfs.OpWrite:
		if due(&d.writes) {
			d.failedWrite = true
			return errDisk
		}
	case simfs.OpSync, simfs.OpSyncDir:
		if due(&d.syncs) {
			d.failSync = true
			return errDisk
		}
	}
	return nil
}

// open opens the log, and lets begin write what a start writes. If cut isn't 0, the power fails
// meanwhile (see OpStart), if so many calls are made.
func (d *realLog) open(segment int64, salt uint64, cut int64, begin func(*wal.Log) error) error {
	d.calls = cut & 0xff
	if cut == 0 {
		d.calls = -1
	}
	d.fs.OnCall(d.onCall)
	log, err := wal.Open(walDir, wal.Options{FS: d.fs, SegmentSize: segment, Salt: salt, Inline: true})
	if d.begun = err == nil && d.calls != 0; d.begun {
		err = begin(log)
	}
	if err == nil && d.calls == 0 {
		err = simfs.ErrPower
	}
	d.calls = -1
	d.fs.Settle(d.fs.Issued()) // every call that has returned has happened
	if err == nil {
		d.log = log
	}
	return err
}

// A refusal is the reason for which a log isn't opened.
type refusal uint8

const (
	refusedUnknown refusal = iota // none that the simulator knows
	refusedPower                  // the power failed, or the process was killed
	refusedCorrupt                // it was found rotten
	refusedFull                   // the disk is full
	refusedFailing                // a call failed
)

// refused ends the attempt to open the log that has failed with err. luck decides what a power failure
// leaves.
func (d *realLog) refused(err error, cut int64, rotten bool, luck uint64) refusal {
	if cut > 0 && errors.Is(err, simfs.ErrPower) && cut>>8 == 0 {
		d.fs.Reseed(luck)
		d.fs.Cut()
		return refusedPower
	}
	d.fs.Kill()
	switch {
	case cut > 0 && errors.Is(err, simfs.ErrPower):
		return refusedPower
	case errors.Is(err, raft.ErrCorrupt) && rotten:
		return refusedCorrupt
	case errors.Is(err, simfs.ErrFull):
		return refusedFull
	case errors.Is(err, errDisk):
		return refusedFailing
	}
	return refusedUnknown
}

// dies ends the process that has the log open. luck decides what becomes of what isn't durable (see
// OpCrash), and seed how. It returns how many writes to files were torn.
func (d *realLog) dies(luck int64, seed uint64) (torn int) {
	before := d.fs.Losses()
	switch luck {
	case 0:
		d.fs.Lose()
	case 1:
		d.fs.Kill()
	default:
		d.fs.Reseed(seed)
		d.fs.Cut()
	}
	d.log = nil
	return d.fs.Losses().Torn - before.Torn
}

// fails lets the call fail that comes after some others: a write to a file, or a sync.
func (d *realLog) fails(op Op, after int64) {
	left := &d.writes
	if op == OpFailSync {
		left = &d.syncs
	}
	*left = max(after, 1) - 1
}

// fill leaves room for n bytes on the disk.
func (d *realLog) fill(n int64) { d.fs.SetCapacity(d.fs.Used() + n + 1) }

// free gives the disk room again, and ends its failures.
func (d *realLog) free() {
	d.fs.SetCapacity(0)
	d.writes, d.syncs = -1, -1
}

// countFailures counts the calls that have failed.
func (d *realLog) countFailures(stats *Stats) {
	if d.failedWrite {
		stats.FailedWrites++
	}
	if d.failSync {
		stats.FailedSyncs++
	}
	d.failedWrite, d.failSync = false, false
}
