package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// An entry of the log is a format, the version of the protocol that replies are to have, a time, and
// any number of items, and a checksum of all this:
//
//	entry       = format byte, protocol byte, time, item…, CRC-32C in 4 bytes, little endian
//	item        = command | transaction
//	command     = number of the command (1 or more), number of arguments, argument…
//	transaction = 0, number of watches, watch…, number of commands, command…
//	watch       = key, version
//
// Numbers are unsigned varints. Arguments and keys are their length and their bytes. The name of a
// command isn't among its arguments. The time is in milliseconds since 1970. By the checksum an entry
// of a later version of this program is told from what is no entry at all.
const (
	entryFormat = 1
	sumBytes    = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unseal returns an entry without its checksum, and whether that is right.
func unseal(entry []byte) ([]byte, bool) {
	at := len(entry) - sumBytes
	if at < 0 || binary.LittleEndian.Uint32(entry[at:]) != crc32.Checksum(entry[:at], castagnoli) {
		return nil, false
	}
	return entry[:at], true
}

// A Batch collects commands for one entry. Its zero value with Reset called is ready.
type Batch struct{ bytes []byte }

// Reset empties the batch. The replies will be in the given version of the protocol, 2 or 3. now is
// the time that the entry carries.
func (b *Batch) Reset(protocol int, now int64) {
	b.bytes = append(b.bytes[:0], entryFormat, byte(protocol))
	b.bytes = binary.AppendUvarint(b.bytes, uint64(max(now, 0)))
}

// Add adds a command. args begins with its name.
func (b *Batch) Add(command *Command, args [][]byte) {
	b.bytes = binary.AppendUvarint(b.bytes, uint64(command.number))
	b.bytes = binary.AppendUvarint(b.bytes, uint64(len(args)-1))
	for _, arg := range args[1:] {
		b.add(arg)
	}
}

// Transact begins a transaction of so many commands, which are to be added next.
func (b *Batch) Transact(watches []Watch, commands int) {
	b.bytes = append(b.bytes, 0)
	b.bytes = binary.AppendUvarint(b.bytes, uint64(len(watches)))
	for _, w := range watches {
		b.add([]byte(w.Key))
		b.bytes = binary.AppendUvarint(b.bytes, w.Version)
	}
	b.bytes = binary.AppendUvarint(b.bytes, uint64(commands))
}

func (b *Batch) add(bytes []byte) {
	b.bytes = append(binary.AppendUvarint(b.bytes, uint64(len(bytes))), bytes...)
}

// Seal ends the entry and returns it. The next call must be Reset.
func (b *Batch) Seal() []byte {
	b.bytes = binary.LittleEndian.AppendUint32(b.bytes, crc32.Checksum(b.bytes, castagnoli))
	return b.bytes
}

// Shrink lets go of memory that only an unusual batch needed.
func (b *Batch) Shrink() {
	if cap(b.bytes) > 1<<20 {
		b.bytes = nil
	}
}

// A Watch is what a transaction demands: that the state of a key is still the one that had this
// version; 0 if there was no such key.
type Watch struct {
	Key     string
	Version uint64
}

var errEntry = errors.New("the entry is malformed")

// A decoder reads an entry. After an error all that it returns is zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.err = errEntry
	}
	if d.err != nil {
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) number() uint64 {
	if d.err != nil {
		return 0
	}
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.err = errEntry
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

// count reads how many things follow, each of which takes a byte or more.
func (d *decoder) count() int {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.err = errEntry
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	if d.err != nil {
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// command reads a command whose number was read, and appends its arguments to args, with nil for
// its name. It returns nil for a malformed one.
func (d *decoder) command(number uint64, args [][]byte) (*Command, [][]byte) {
	before := len(args)
	args = append(args, nil)
	for range d.count() {
		args = append(args, d.bytes())
	}
	if d.err != nil {
		return nil, args
	}
	command := numbered(number)
	if command == nil {
		d.err = fmt.Errorf("the entry has command number %d, which this version of the program doesn't know", number)
		return nil, args
	}
	if !command.Takes(len(args) - before) {
		d.err = errEntry
		return nil, args
	}
	return command, args
}
