package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// A floorDisk is a file that is written round and round, like a log whose segments are used again.
type floorDisk struct {
	file   *os.File
	offset int64
	syncs  atomic.Uint64
}

const (
	// floorFileSize is how far a file is written before writing begins again at its start.
	floorFileSize = 64 << 20
	// floorReadSize is the size of the buffer into which a follower reads what arrives.
	floorReadSize = 4 << 20
	// floorAck is the size of an acknowledgement, which says how many records the follower has
	// stored.
	floorAck = 8
)

// openFloorDisk creates a file and fills it with zeros, so that writing it changes no metadata.
func openFloorDisk(name string) (*floorDisk, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < floorFileSize+floorReadSize && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros, at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &floorDisk{file: f}, nil
}

// store writes the parts and syncs once.
func (d *floorDisk) store(parts [][]byte) error {
	for _, p := range parts {
		if d.offset >= floorFileSize {
			d.offset = 0
		}
		if _, err := d.file.WriteAt(p, d.offset); err != nil {
			return err
		}
		d.offset += int64(len(p))
	}
	d.syncs.Add(1)
	return datasync(d.file)
}

// connect starts follower i and links it to the leader by one connection.
func (c *floorCluster) connect(i int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	out, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	c.network = append(c.network, out)
	in, err := listener.Accept()
	if err != nil {
		return err
	}
	c.network = append(c.network, in)

	c.follow(floorToFollowers+i-1, func(parts [][]byte, _ uint64) error {
		buffers := net.Buffers(parts)
		_, err := buffers.WriteTo(out)
		return err
	})
	c.running.Go(func() { c.fail(fmt.Errorf("acknowledgements of follower %d: %w", i, c.receiveAcks(i, out))) })
	c.running.Go(func() { c.fail(fmt.Errorf("follower %d: %w", i, c.runFollower(i, in))) })
	return nil
}

// receiveAcks reads acknowledgements. Of those that have arrived together, only the last one
// counts.
func (c *floorCluster) receiveAcks(i int, conn net.Conn) error {
	buffer := make([]byte, 512*floorAck)
	have := 0
	for {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return err
		}
		have += n
		if whole := have - have%floorAck; whole > 0 {
			c.stored[i].Store(binary.LittleEndian.Uint64(buffer[whole-floorAck:]))
			have = copy(buffer, buffer[whole:have])
			c.advance()
		}
	}
}

// runFollower stores the records that have arrived with one sync, acknowledges them, and applies
// them. Records that arrive meanwhile gather in the socket.
func (c *floorCluster) runFollower(i int, conn net.Conn) error {
	buffer := make([]byte, floorReadSize)
	have := 0
	var ack [floorAck]byte
	var stored uint64
	for {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return err
		}
		have += n
		records, size, err := scanRecords(buffer[:have])
		if err != nil {
			return err
		}
		if records == 0 {
			continue
		}
		if err := c.disks[i].store([][]byte{buffer[:size]}); err != nil {
			return err
		}
		stored += records
		binary.LittleEndian.PutUint64(ack[:], stored)
		if _, err := conn.Write(ack[:]); err != nil {
			return err
		}
		applyRecords(c.machines[i], buffer[:size])
		have = copy(buffer, buffer[size:have])
	}
}
