// Package wal keeps the state of a raft server on disk: it is a raft.Storage in a directory.
//
//	log, err := wal.Open(dir, wal.Options{})
//
// Each Write that changes something is one record. It takes one write to a file that was filled
// with zeros beforehand, and one sync of the file's data (fdatasync where the system has it). A
// power cut may tear a record whose Write hadn't returned: Open cuts such a record off. Any other
// damage may concern a vote or an entry that this server has acknowledged, so it is never cut off.
// It is reported as raft.ErrCorrupt, with the file and the offset.
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
//	….tmp                       files that aren't complete yet; Open removes them
//
// # Segments
//
// A segment is a file of a size that is chosen beforehand. It begins with a preamble of 40 bytes:
//
//	 0  "raft-wal"
//	 8  uint32  version of the format: 1
//	12  uint32  0
//	16  uint64  salt: drawn at random for each log
//	24  uint64  number of the segment, as in its name
//	32  uint32  CRC of bytes 0 to 31
//	36  uint32  0
//
// Records follow the preamble. Each record begins at a multiple of 8, with a header of 32 bytes:
//
//	 0  uint64  place: key + the offset of the header in the file
//	 8  uint32  length of the body
//	12  uint32  where in the body the entries begin; the length if there are none
//	16  uint32  synced: when the record was written, this segment was synced up to this offset;
//	            0 if none of it was
//	20  uint32  kind: 1 head, 2 open, 3 batch, 4 mark
//	24  uint32  chain: CRC of bytes 0 to 23 and the body, continued from the chain of the record
//	            before; the first record continues the CRC of the preamble
//	28  uint32  CRC of bytes 0 to 27
//
// The body follows its header. The key is mix(salt + number × 0x9e3779b97f4a7c15), where mix is the
// finalizer of splitmix64. Therefore a header is recognised by itself, whatever precedes it. And a
// record can't pass for a live one if it belongs to another segment or another log, or if another
// record has replaced it. Behind the last record there are zeros, or old bytes if the file had been
// another segment before.
//
// A head is the first record of each segment. An open is written each time an existing log is
// opened. If the segment has no room for it, the next segment begins instead, and its head serves
// as the open. Heads and opens hold the whole state at that moment, except the entries; so nothing
// of the state is looked for in older segments:
//
//	uvarint  how often the log was opened
//	uint32   head: where the segment before this one ends; 0 if there is none, and in an open
//	uint32   head: the chain there; 0 if there is none, and in an open
//	uvarint  index of the last entry
//	uvarint  index up to which the log may be forgotten
//	state    term uvarint; vote and server as strings; incarnation uint64; cluster 16 bytes;
//	         start uvarint; longest lease varint
//	snapshot number of its file uvarint, 0 for none; and if there is one: index, term and
//	         index of the configuration as uvarints, the configuration as a string
//
// A string is its length as a uvarint, and its bytes. A configuration is encoded by
// wire.AppendConfiguration. A batch is one Write:
//
//	byte      what it changes: 1 state, 2 snapshot, 4 compaction, 8 entries;
//	          16: the snapshot replaces the log
//	state     if it changes, as above
//	snapshot  if it changes, as above
//	uvarint   index up to which the log may be forgotten, if it changes
//	entries   if there are any: uvarint index of the first, uvarint count; uvarint number of term
//	          runs, each with uvarint first index and uvarint term; uvarint number of
//	          configuration entries, each with uvarint index. The indexes of runs and of
//	          configuration entries count from the index of the first entry
//	then, from where the header says, for each entry
//	uint32    length
//	uint32    CRC
//	          the entry as encoded by wire.AppendEntry
//
// The entries of a batch replace everything that the log held from the index of the first one on. A
// mark has no body, and the next record is written over it.
//
// # Where the log ends
//
// When a record is written, everything before it in its segment is synced, with one exception: the
// head of a new segment is synced together with the first batch behind it. The record's field
// synced says how far the segment was synced. Reading stops where the next header isn't a header,
// or where the chain is broken. There, Open looks through the rest of the file for any header with
// a larger synced:
//
//	| head | batch | batch |/////////| batch |   synced ≤ x: nobody was told of it. Cut off
//	                       x             |
//	                        <-- synced --+       synced > x: it was promised. ErrCorrupt
//
// Behind the last batch there is no record that proves it; so damage to it couldn't be told from a
// torn write. Therefore a mark is written behind it when nothing else is written for a while, and
// by Close. The mark needs no sync of its own. A segment that isn't the newest ends where the head
// of the next one says. A segment without a head hasn't begun, unless a header in it proves that it
// had. The next segment is prepared while the active one fills up, and it has its final name from
// the start. So all that it takes to begin it is the sync of its first batch.
//
// Open may find records that are intact, but that nothing proves to be synced. It writes them once
// more, and syncs them together with the open record: after a sync that failed, the page cache may
// show bytes that the disk doesn't have, and a second sync says nothing about them. For the same
// reason, nothing more is written after a write or a sync that failed.
//
// # Snapshots
//
// A snapshot begins with "raft-snp", uint32 version 1, uint32 length of the description, the
// description (index, term, index of the configuration, configuration, as above), and uint32 CRC of
// all this. Then come blocks of
//
//	uint32  length, at most 65,536; 0 ends the snapshot
//	uint32  CRC of the length and the bytes, continued from the CRC before
//	        the bytes
//
// A snapshot is written under a temporary name, synced, and renamed. It is the current one once a
// batch names its file. The snapshot before it is kept as long as the log goes on from it: if the
// current one turns out to be damaged, the older one takes its place. Open reads the current
// snapshot once to find out.
package wal
