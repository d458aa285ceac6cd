package sim

// The faults of a real log's disk (Params.WAL). Their bits in Params.FaultKinds follow those of the
// other faults.
const (
	faultFailWrite  = numFaults + iota // a write to a file fails
	faultFailSync                      // a sync fails and forgets what it should have written
	faultFull                          // the disk has hardly any room
	faultRot                           // some bytes change
	faultCutOpening                    // the power fails again while a log is opened

	numDiskFaults = iota
)

// maxRoom bounds the bytes for which a disk that fills up still has room.
const maxRoom = 12 << 10

// diskFault lets a fault of a disk happen.
func (w *World) diskFault(kind fault, victim int, span int64, h uint64) {
	e := Event{Server: int8(victim)}
	switch kind {
	case faultFailWrite:
		e.Op, e.N = OpFailWrite, 1+below(h, 8)
	case faultFailSync:
		e.Op, e.N = OpFailSync, 1+below(h, 8)
	case faultFull:
		e.Op, e.N = OpFill, below(mix(h), pick(h, 1, 1<<10, maxRoom))
		w.queue.push(item{at: w.now + 4*span, what: itemFree, a: e.Server})
	case faultRot:
		e.Op, e.N = OpRot, below(h, 1<<32)
	case faultCutOpening:
		w.crashes(victim)
		w.queue.push(item{at: w.now + 1, what: itemRestart, a: e.Server, n: openingLuck(h)})
		return
	}
	w.step(e, nil)
}

// openingLuck returns the call to the file system at which the opening of a log ends, and how it
// ends (see OpStart).
func openingLuck(h uint64) int64 { return 1 + below(h, 40) + int64(mix(h)%2)<<8 }

// crashLuck returns what becomes of the writes of a server with a real log that crashes (see OpCrash).
func crashLuck(h uint64) int64 {
	switch h % 8 {
	case 0:
		return 0
	case 1, 2:
		return 1
	}
	return 2 + below(mix(h), 1<<30)
}

// planStart plans another attempt to start a server, if time passes by itself.
func (w *World) planStart(i int) {
	if w.timed {
		w.queue.push(item{at: w.now + 1 + spread(w.next(luckRestart, i), w.params.DownTime), what: itemRestart, a: int8(i)})
	}
}

// reopen cuts the power of every server and starts it once more, for a last look at what its log
// holds.
func (w *World) reopen() {
	for i := 0; i < w.n; i++ {
		w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
		w.step(Event{Op: OpStart, Server: int8(i)}, nil)
	}
}
