package main

import (
	"encoding/binary"
	"hash/crc32"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// commandHeader is the size of the beginning of a command: the client and the client's count of its
// commands. They make each command of a run different from all others.
const commandHeader = 16

// hashSeed is the same for all machines and clients of the process.
var hashSeed = maphash.MakeSeed()

// result64 returns the result of a command: a hash of it, by which a client can tell that an answer
// belongs to its command.
func result64(command []byte) uint64 { return maphash.Bytes(hashSeed, command) }

// A Machine is the state machine of a server, and is the same for every peer. It keeps what shows
// afterwards whether two servers applied the same commands: a hash chain over them, which depends
// on their order, and the sum of their hashes, which clients can compute too.
type Machine struct {
	count atomic.Uint64 // how many commands are applied; stored after chain and sum
	chain uint64
	sum   uint64
	// more has what only some machines need; nil for the others.
	more atomic.Pointer[machineExtras]
	_    [32]byte // machines of different servers share no cache line
}

// machineExtras are what a machine has and does in some cells only.
type machineExtras struct {
	pause time.Duration // how long the machine sleeps after every pauseEvery commands; 0 means that it never does
	// across is a chain like Machine.chain, over hashes that are the same in all processes, and
	// acrossSum is the sum of these hashes.
	across, acrossSum atomic.Uint64
	// batchPause is how long the machine sleeps before each batch, in nanoseconds.
	batchPause atomic.Int64
	// ballast makes snapshots as large as those of a service with some state; it is nil where no
	// snapshots are taken. Commands don't change it. saved is how many snapshots were written
	// completely; restored is how many commands the snapshot had that was restored last.
	ballast         []byte
	saved, restored atomic.Uint64
}

// pauseEvery is the number of commands after which a slow machine sleeps. A sleep after each
// command would mostly measure the precision of the system's timers.
const pauseEvery = 50

// applyPause is how long a slow machine then sleeps.
const applyPause = time.Millisecond

// Apply applies a command and returns its result. One goroutine calls it at a time.
func (m *Machine) Apply(command []byte) uint64 {
	h := result64(command)
	m.chain = (m.chain ^ h) * 0x9e3779b97f4a7c15
	m.chain ^= m.chain >> 29
	m.sum += h
	count := m.count.Load() + 1
	m.count.Store(count)
	if more := m.more.Load(); more != nil {
		more.apply(count, command)
	}
	return h
}

// apply does the extra work of a command.
func (e *machineExtras) apply(count uint64, command []byte) {
	h := across(command)
	e.across.Store(e.across.Load()*0x9e3779b97f4a7c15 + h)
	e.acrossSum.Add(h)
	if e.pause > 0 && count%pauseEvery == 0 {
		time.Sleep(e.pause)
	}
}

// across returns a hash of a command that is the same in all processes.
func across(command []byte) uint64 { return uint64(crc32.Checksum(command, castagnoli)) }

// beginBatch does the extra work of a batch, before its commands are applied.
func (m *Machine) beginBatch() {
	if more := m.more.Load(); more != nil {
		if pause := more.batchPause.Load(); pause > 0 {
			time.Sleep(time.Duration(pause))
		}
	}
}

// AppendResult applies a command and appends its result in 8 bytes, for peers whose results are
// bytes.
func (m *Machine) AppendResult(b, command []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, m.Apply(command))
}
