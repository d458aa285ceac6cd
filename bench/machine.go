package main

import (
	"encoding/binary"
	"hash/crc32"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// commandHeader is what a command begins with: the client and its count of commands, which makes
// each command of a run different from all others.
const commandHeader = 16

// hashSeed is the same for all machines and clients of the process.
var hashSeed = maphash.MakeSeed()

// result64 is the result of a command: a hash of it, so that a client can tell that the answer
// belongs to its command.
func result64(command []byte) uint64 { return maphash.Bytes(hashSeed, command) }

// A Machine is the state machine of a server, the same in every peer. It keeps what shows afterwards
// whether two servers applied the same commands: a hash chain over them, which depends on their
// order, and the sum of their hashes, which clients can form too.
type Machine struct {
	count atomic.Uint64 // commands applied; stored after the other fields
	chain uint64
	sum   uint64
	// more is what few machines do besides; nil for the others.
	more atomic.Pointer[machineExtras]
	_    [32]byte // machines of different servers share no cache line
}

// machineExtras are what a machine does in some cells.
type machineExtras struct {
	pause time.Duration // how long it sleeps after every pauseEvery commands; 0 is never
	// across is a chain as in Machine, of a hash that is the same in all processes.
	across atomic.Uint64
	// ballast is what makes snapshots as large as those of a service with some state; nil where none are taken. Commands don't change
	// it. saved is how many snapshots were written, restored how many commands the last one had that was read.
	ballast         []byte
	saved, restored atomic.Uint64
}

// pauseEvery is after how many commands a slow machine sleeps. One sleep per command would be bound by the precision of
// the system's timers, and measure that.
const pauseEvery = 50

// applyPause is how long a slow machine sleeps then.
const applyPause = time.Millisecond

// Apply applies a command and returns its result. It is called by one goroutine at a time.
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

// apply does what is done besides.
func (e *machineExtras) apply(count uint64, command []byte) {
	e.across.Store(e.across.Load()*0x9e3779b97f4a7c15 + uint64(crc32.Checksum(command, castagnoli)))
	if e.pause > 0 && count%pauseEvery == 0 {
		time.Sleep(e.pause)
	}
}

// AppendResult applies a command and appends its result in 8 bytes, for peers whose results are bytes.
func (m *Machine) AppendResult(b, command []byte) []byte {
	return binary.LittleEndian.AppendUint64(b, m.Apply(command))
}
