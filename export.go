package raft

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/e17579a5/raft/wire"
)

// An exported snapshot is a file from which another cluster can be founded (Config.BootstrapFrom):
//
//	"raft-exported"
//	version    1 byte: exportVersion
//	cluster    16 bytes: the ID of the cluster that it was exported from
//	index      8 bytes: the index of the last entry that it covers
//	term       8 bytes: the term of that entry
//	crc        4 bytes: CRC-32C of all before
//	blocks     each with
//	           length    4 bytes: at most exportBlock; 0 ends the file
//	           crc       4 bytes: CRC-32C of the length and the bytes, continued from the crc before
//	           bytes     as many as the length says
//
// Numbers are little-endian. The bytes in the blocks, one after the other, are those of the
// snapshot, as an Applier writes it.
const (
	exportMagic   = "raft-exported"
	exportVersion = 1
	exportHead    = len(exportMagic) + 1 + 16 + 8 + 8
	exportBlock   = 64 << 10
)

var exportTable = crc32.MakeTable(crc32.Castagnoli)

// writeExport writes a snapshot as an exported one.
func writeExport(w io.Writer, cluster ClusterID, meta *SnapshotMeta, from io.Reader) error {
	b := append([]byte(exportMagic), exportVersion)
	b = append(b, cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(meta.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(meta.Term))
	crc := crc32.Checksum(b, exportTable)
	if _, err := w.Write(binary.LittleEndian.AppendUint32(b, crc)); err != nil {
		return err
	}
	block := make([]byte, 8+exportBlock)
	for {
		length, err := io.ReadFull(from, block[8:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		last := length == 0
		crc = sealExport(block[:8+length], crc)
		if _, err := w.Write(block[:8+length]); err != nil || last {
			return err
		}
	}
}

// sealExport fills in the length and the CRC of a block, and returns the CRC.
func sealExport(block []byte, crc uint32) uint32 {
	binary.LittleEndian.PutUint32(block, uint32(len(block)-8))
	crc = exportCRC(block, crc)
	binary.LittleEndian.PutUint32(block[4:], crc)
	return crc
}

func exportCRC(block []byte, crc uint32) uint32 {
	return crc32.Update(crc32.Update(crc, exportTable, block[:4]), exportTable, block[8:])
}

// An exportReader reads the snapshot in an exported file. It hands out no byte that it hasn't
// checked.
type exportReader struct {
	from io.Reader
	crc  uint32
	buf  []byte
	left []byte
	err  error
}

// readExport reads the head of an exported file. The SnapshotMeta that it returns has no members,
// and names the cluster that the file is from. The reader returns the bytes of the snapshot. A file
// that is damaged or cut off is ErrCorrupt, and one of another version ErrConfig.
func readExport(from io.Reader) (SnapshotMeta, *exportReader, error) {
	r := &exportReader{from: bufio.NewReader(from), buf: make([]byte, 8+exportBlock)}
	head := make([]byte, exportHead+4)
	if _, err := io.ReadFull(r.from, head); err != nil {
		return SnapshotMeta{}, nil, exportEnded(err)
	}
	if string(head[:len(exportMagic)]) != exportMagic {
		return SnapshotMeta{}, nil, fmt.Errorf("%w: not an exported snapshot", ErrCorrupt)
	}
	r.crc = crc32.Checksum(head[:exportHead], exportTable)
	if binary.LittleEndian.Uint32(head[exportHead:]) != r.crc {
		return SnapshotMeta{}, nil, fmt.Errorf("%w: the head of the exported snapshot is damaged", ErrCorrupt)
	}
	b := head[len(exportMagic):]
	if b[0] != exportVersion {
		return SnapshotMeta{}, nil, fmt.Errorf("%w: the exported snapshot has format version %d, and this program reads version %d",
			ErrConfig, b[0], exportVersion)
	}
	meta := SnapshotMeta{Index: Index(binary.LittleEndian.Uint64(b[17:])), Term: Term(binary.LittleEndian.Uint64(b[25:]))}
	copy(meta.Configuration.Cluster[:], b[1:])
	if meta.Index == 0 || meta.Term == 0 || meta.Term > wire.MaxTerm {
		return SnapshotMeta{}, nil, fmt.Errorf("%w: the exported snapshot has index %d and term %d", ErrCorrupt, meta.Index, meta.Term)
	}
	return meta, r, nil
}

func exportEnded(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: the exported snapshot ends too early", ErrCorrupt)
	}
	return err
}

// Read implements io.Reader.
func (r *exportReader) Read(b []byte) (int, error) {
	for len(r.left) == 0 && r.err == nil {
		r.err = r.block()
	}
	if len(r.left) == 0 {
		return 0, r.err
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

// block reads and checks the next block. It returns io.EOF at the end of the snapshot.
func (r *exportReader) block() error {
	if _, err := io.ReadFull(r.from, r.buf[:8]); err != nil {
		return exportEnded(err)
	}
	length := binary.LittleEndian.Uint32(r.buf)
	if length > exportBlock {
		return fmt.Errorf("%w: a block of the exported snapshot is damaged", ErrCorrupt)
	}
	block := r.buf[:8+length]
	if _, err := io.ReadFull(r.from, block[8:]); err != nil {
		return exportEnded(err)
	}
	crc := binary.LittleEndian.Uint32(block[4:])
	if r.crc = exportCRC(block, r.crc); crc != r.crc {
		return fmt.Errorf("%w: a block of the exported snapshot is damaged", ErrCorrupt)
	}
	if length == 0 {
		return io.EOF
	}
	r.left = block[8:]
	return nil
}

// An Export is what an exported snapshot says of itself, and how large it is.
type Export struct {
	Cluster ClusterID // the cluster that it was exported from
	Index   Index     // of the last entry that it covers
	Term    Term      // of that entry
	Bytes   uint64    // of the state in it, without what the file has beside
}

// VerifyExport reads what Node.ExportSnapshot has written, to its end. It says what it is an export
// of, and finds each byte that is wrong: the error then wraps ErrCorrupt, as for one that was cut off
// or that something follows. One of another version is ErrConfig. Other errors are those of the
// reader. VerifyExport looks at the frame alone: whether the state is one, only the state machine
// can tell, when it is restored (Config.BootstrapFrom).
func VerifyExport(from io.Reader) (Export, error) {
	meta, r, err := readExport(from)
	if err != nil {
		return Export{}, err
	}
	size, err := io.Copy(io.Discard, r)
	if err != nil {
		return Export{}, err
	}
	switch _, err := io.ReadFull(r.from, r.buf[:1]); err {
	case io.EOF:
		return Export{Cluster: meta.Configuration.Cluster, Index: meta.Index, Term: meta.Term, Bytes: uint64(size)}, nil
	case nil:
		return Export{}, fmt.Errorf("%w: something follows the end of the exported snapshot", ErrCorrupt)
	default:
		return Export{}, err
	}
}
