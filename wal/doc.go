// Package wal keeps the state of a raft server on disk: it is a raft.Storage in a directory.
//
//	log, err := wal.Open(dir, wal.Options{})
//
// Each Write is one record, one write to a file that was filled with zeros beforehand, and one sync of its
// data (fdatasync where there is one). What a power cut tears off a Write that hadn't returned is cut off
// when the log is opened; damage to anything else is reported as raft.ErrCorrupt, with the file and the
// offset, and never cut off, since it may be what this server voted or acknowledged.
//
// Inspect, and the command raftwal, look at a log and change nothing.
//
// # Files
//
// This is version 1 of the format. Numbers are little-endian; "uvarint" and "varint" are those of
// encoding/binary; CRC is CRC-32C (Castagnoli). A directory holds
//
//	LOCK                        locked while the log is open
//	0000000000000001.wal        segments: the log, in pieces; 16 hexadecimal digits, without gaps
//	0000000000000002.wal
//	0000000000000001.snapshot   snapshots; numbers rise
//	….tmp                       not complete yet; removed by Open
//
// # Segments
//
// A segment is a file of a size chosen beforehand. It begins with a preamble of 40 bytes,
//
//	 0  "raft-wal"
//	 8  uint32  version of the format: 1
//	12  uint32  0
//	16  uint64  salt: drawn at random for each log
//	24  uint64  number of the segment, as in its name
//	32  uint32  CRC of bytes 0 to 31
//	36  uint32  0
//
// which records follow. Each begins at a multiple of 8, with a header of 32 bytes,
//
//	 0  uint64  place: key + the offset of the header in the file
//	 8  uint32  length of the body
//	12  uint32  where in the body the entries begin; the length if there are none
//	16  uint32  synced: up to which offset this segment was synced when the record was written; 0 for none
//	20  uint32  kind: 1 head, 2 open, 3 batch, 4 mark
//	24  uint32  chain: CRC of bytes 0 to 23 and the body, continued from the chain of the record before;
//	            that of the first record is continued from the CRC of the preamble
//	28  uint32  CRC of bytes 0 to 27
//
// and the body. The key is mix(salt + number × 0x9e3779b97f4a7c15), with mix the finalizer of splitmix64.
// So a header is recognised by itself, whatever precedes it, while a record of another segment or log, or
// one that another record has replaced, can't pass for a live one. What follows the last record is zeros or
// the past of a file that is used again.
//
// A head is the first record of each segment, and an open is written each time the log is opened. Both hold
// the whole state beside the entries as it was then, so that nothing of it is looked for in older segments:
//
//	uvarint  how often the log was opened
//	uint32   where the segment before this one ends, and
//	uint32   the chain there (head; otherwise, and without such a segment, both are 0)
//	uvarint  index of the last entry
//	uvarint  index up to which the log may be forgotten
//	state    term uvarint; vote and server as strings; incarnation uint64; cluster 16 bytes;
//	         start uvarint; longest lease varint
//	snapshot number of its file uvarint, 0 for none; and if there is one: index, term and
//	         index of the configuration as uvarints, the configuration as a string
//
// where a string is its length as a uvarint and its bytes, and a configuration is encoded by
// raft.AppendConfiguration. A batch is one Write:
//
//	byte      what it changes: 1 state, 2 snapshot, 4 compaction, 8 entries; 16: the snapshot replaces the log
//	state     if so, as above
//	snapshot  if so, as above
//	uvarint   index up to which the log may be forgotten, if so
//	entries   if so: uvarint index of the first, uvarint count; uvarint number of term runs, each with
//	          uvarint first index and uvarint term; uvarint number of configuration entries, each with
//	          uvarint index. These indexes count from that of the first entry
//	then, from where the header says, for each entry
//	uint32    length
//	uint32    CRC
//	          the entry as encoded by raft.AppendEntry
//
// Entries replace whatever the log held from the first one's index on. A mark has no body, and the next
// record is written over it.
//
// # Where the log ends
//
// A record is written after everything before it was synced, but for the head of its segment when it is the
// first batch there, and says so by its field synced. Where the
// records end for whom reads them, because the next header isn't one or the chain is broken, Open looks
// through the rest of the file for any header with a larger synced:
//
//	| head | batch | batch |/////////| batch |   synced ≤ x: the batch at x was never promised. Cut off
//	                       x             |
//	                        <-- synced --+       synced > x: it was. raft.ErrCorrupt
//
// The last batch has nothing behind it that proves it, so damage to it couldn't be told from a torn write.
// Therefore a mark is put behind it, without a sync of its own, when nothing is written for a while, and by
// Close. A segment that isn't the newest ends where the head of the next one says; one that has no head yet
// hasn't begun, unless a header in it proves that it had. The next segment is prepared while the active one
// is filled, and has its final name from the beginning, so that beginning it takes no more than the sync of
// its first batch.
//
// What isn't proven to be synced when the log is opened, though it is intact, is written once more and
// synced, together with the open record: after a sync that failed, the page cache may show what the disk
// doesn't have, and a second sync would say nothing about it. For the same reason, nothing is written any
// more after a write or sync that failed.
//
// # Snapshots
//
// A snapshot is "raft-snp", uint32 version 1, uint32 length of the description, the description (index,
// term, index of the configuration, configuration, as above), and uint32 CRC of all this; then blocks of
//
//	uint32  length, at most 65,536; 0 ends the snapshot
//	uint32  CRC of the length and the bytes, continued from the CRC before
//	        the bytes
//
// It is written under a temporary name, synced, renamed, and is the current one once a batch names its
// file. The one before is kept as long as the log goes on from it: should the current one be damaged, it
// takes its place. Open reads the current snapshot once to find out.
package wal
