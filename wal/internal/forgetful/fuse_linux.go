package forgetful

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Serve shows the disk as a file in a folder, by a FUSE file system that it mounts there. It
// returns the path of the file, and a function that unmounts the file system and waits until nobody
// is served any more. It needs the right to mount, and /dev/fuse.
func (d *Disk) Serve(folder string) (path string, stop func() error, err error) {
	device, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("forgetful: open /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", device)
	if err := syscall.Mount("forgetful", folder, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		_ = syscall.Close(device)
		return "", nil, fmt.Errorf("forgetful: mount: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- (&server{disk: d, device: device}).serve() }()
	stop = func() error {
		err := syscall.Unmount(folder, 0)
		if err != nil {
			err = errors.Join(fmt.Errorf("forgetful: unmount: %w", err), syscall.Unmount(folder, syscall.MNT_DETACH))
		}
		return errors.Join(err, <-ended, os.Remove(folder))
	}
	return filepath.Join(folder, fileName), stop, nil
}

const fileName = "disk"

// The numbers of FUSE: operations, from the kernel's include/uapi/linux/fuse.h.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opDestroy     = 38
	opForgetBatch = 42
)

// Sizes in bytes, and the nodes of the file system.
const (
	inHeader  = 40
	outHeader = 16
	maxWrite  = 128 << 10

	rootNode = 1
	fileNode = 2
)

var native = binary.NativeEndian

// A server answers the kernel's requests, one after the other.
type server struct {
	disk   *Disk
	device int
	out    []byte
}

// serve answers until the file system is unmounted.
func (s *server) serve() error {
	defer syscall.Close(s.device)
	in := make([]byte, maxWrite+1<<16)
	for {
		n, err := syscall.Read(s.device, in)
		switch {
		case errors.Is(err, syscall.ENODEV): // unmounted
			return nil
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOENT):
			continue
		case err != nil:
			return fmt.Errorf("forgetful: read a request: %w", err)
		case n < inHeader:
			return fmt.Errorf("forgetful: a request of %d bytes", n)
		}
		request := in[:n]
		s.out = append(s.out[:0], make([]byte, outHeader)...)
		failure, answers := s.answer(native.Uint32(request[4:]), native.Uint64(request[16:]), request[inHeader:])
		if !answers {
			continue
		}
		if failure != 0 {
			s.out = s.out[:outHeader]
		}
		native.PutUint32(s.out, uint32(len(s.out)))
		native.PutUint32(s.out[4:], uint32(-int32(failure)))
		copy(s.out[8:16], request[8:16]) // which request it is
		if _, err := syscall.Write(s.device, s.out); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("forgetful: answer a request: %w", err)
		}
	}
}

// answer appends the answer to a request behind its header. It reports false for a request that
// gets none.
func (s *server) answer(op uint32, node uint64, body []byte) (failure syscall.Errno, answers bool) {
	switch op {
	case opForget, opForgetBatch, opInterrupt:
		return 0, false
	case opInit:
		s.init(body)
	case opLookup:
		if node != rootNode || string(body[:max(len(body)-1, 0)]) != fileName {
			return syscall.ENOENT, true
		}
		s.numbers64(fileNode, 0, forEver, forEver)
		s.numbers32(0, 0)
		s.attributes(fileNode)
	case opGetattr:
		s.numbers64(forEver)
		s.numbers32(0, 0)
		s.attributes(node)
	case opOpen:
		const keepCache = 1 << 1
		s.numbers64(0)
		s.numbers32(keepCache, 0)
	case opRead:
		size, offset := native.Uint32(body[16:]), native.Uint64(body[8:])
		from := len(s.out)
		s.out = append(s.out, make([]byte, size)...)
		s.out = s.out[:from+s.disk.read(s.out[from:], int(offset))]
	case opWrite:
		const head = 40
		size, offset := native.Uint32(body[16:]), native.Uint64(body[8:])
		if !s.disk.write(body[head:head+size], int(offset)) {
			return syscall.ENOSPC, true
		}
		s.numbers32(size, 0)
	case opFsync:
		s.disk.flush()
	case opStatfs:
		s.numbers64(0, 0, 0, 0, 0)
		s.numbers32(sectorSize, 255, sectorSize, 0, 0, 0, 0, 0, 0, 0)
	case opFlush, opRelease, opDestroy: // close is no flush
	default:
		return syscall.ENOSYS, true
	}
	return 0, true
}

// forEver is for how many seconds the kernel may keep what it was told.
const forEver = 1 << 30

// init agrees on version 7.31 of the protocol.
func (s *server) init(body []byte) {
	const bigWrites, maxPages, pageSize = 1 << 5, 1 << 22, 4096
	readAhead := native.Uint32(body[8:])
	s.numbers32(7, 31, readAhead, bigWrites|maxPages)
	s.numbers32(16|12<<16, maxWrite, 1, maxWrite/pageSize) // how many requests wait, in two halves
	s.numbers32(0, 0, 0, 0, 0, 0, 0, 0)
}

// attributes appends the attributes of a node.
func (s *server) attributes(node uint64) {
	mode, size := uint32(syscall.S_IFDIR|0o755), 0
	if node == fileNode {
		mode, size = syscall.S_IFREG|0o600, len(s.disk.shown)
	}
	s.numbers64(node, uint64(size), uint64(size/sectorSize), 0, 0, 0)
	s.numbers32(0, 0, 0, mode, 1, 0, 0, 0, sectorSize, 0)
}

func (s *server) numbers32(numbers ...uint32) {
	for _, n := range numbers {
		s.out = native.AppendUint32(s.out, n)
	}
}

func (s *server) numbers64(numbers ...uint64) {
	for _, n := range numbers {
		s.out = native.AppendUint64(s.out, n)
	}
}
