// Package wal keeps the state of a raft server on disk: it is a raft.Storage in a directory. It is a
// raft.SharedStorage, too, and keeps any number of groups in one log. What is said of a log without
// naming a group is of its group "", which a process with one group has alone.
//
//	log, err := wal.Open(dir, wal.Options{})
//
// Each Write that changes something is one record. It takes one write to a file that was filled
// with zeros beforehand, and one sync of the file's data (fdatasync where the system has it). A
// power cut may tear a record whose Write hadn't returned: Open cuts such a record off. Any other
// damage may concern a vote or an entry that this server has acknowledged, so it is never cut off.
//
// # What must hold
//
// Whatever one fault does to one file of the log, be it bytes of any number at any place, a file
// that is cut short, zeroed, missing, exchanged for another one or taken from another log, Open does
// one of three things:
//
//   - Everything that was acknowledged is there.
//   - The bytes of some entries are lost, but their indexes and terms are known, and so are the
//     state and every configuration. Saved.Lost names them, Entries fails with a *raft.DamagedError
//     where they stood, and Write.Repairs stores them again.
//   - Open refuses the log: the error is a *CorruptError, which is raft.ErrCorrupt, with the file
//     and the offset.
//
// What can't be noticed:
//
//   - After Close has returned nil, and no Write or anchor had failed before (Trouble): nothing, as
//     long as a slot of the anchor is sound.
//   - After the process was killed: what was acknowledged in the last 10 ms before that (see
//     Anchor), if the fault also leaves no header behind it.
//   - After a power cut: the same for what was acknowledged since the anchor last reached the disk,
//     which is about a second. That includes disks that acknowledge a sync and lose the write.
//   - All files put back together to what they once were, or all of them gone.
//   - Damage that passes a CRC: one in 2³² for each entry or prelude that is damaged.
//
// An entry that is damaged while the log is open is found when it is read. It is lost from then on,
// and the log goes on without it.
//
// # What damage costs the groups of a log
//
// The above holds for each group. Of what a fault does to one segment, a log of several groups says
// more exactly whom it concerns:
//
//   - Damage to the part of one group in a record concerns that group. Damage to a header or to a
//     directory concerns the groups that had a part in the records that it has hit. All others are
//     whole, and go on.
//   - A group that is concerned is whole but for bytes of entries, which Saved.Lost names, if a part of
//     it follows that tells what was hit (see the witness): the next one does if the damage isn't larger
//     than 64 KiB, and the first one in the next segment always does.
//   - A group of which all parts can be read is whole. They are counted: where the segments have gone
//     that the count began in, the group counts as concerned.
//   - If none follows, Log.Group refuses the group: the error is a *CorruptError. It keeps the segment
//     in which it may be found, and everything behind that. RemoveGroup gives it up.
//   - If not even the name of such a group is known, Log.Group refuses each name that isn't known,
//     since it may be that one.
//   - Open refuses the log if the group "" is lost, and if it isn't known which groups the damage
//     concerns. That is so if the damage reaches to the end of a log that wasn't closed; if it is larger
//     than 64 KiB, and neither the next segment has begun nor the log was opened or closed behind it;
//     and if it spans the heads of two segments.
//
// Inspect, and the command raft (verify, inspect, dump), look at a log and change nothing.
//
// # Files
//
// This is version 2 of the format. Version 1 was never released; Open names it and refuses it.
// Numbers are little-endian; "uvarint" and "varint" are those of encoding/binary; CRC is CRC-32C
// (Castagnoli). A string is its length as a uvarint, and its bytes. A directory holds
//
//	LOCK                        locked while the log is open
//	ANCHOR                      says how far the log goes
//	0000000000000001.wal        segments: the log, in pieces; 16 hexadecimal digits, without gaps
//	0000000000000002.wal
//	0000000000000001.ready      files that may become segments; nothing is in them
//	0000000000000001.snapshot   snapshots; numbers rise
//	RESERVE                     what becomes the next segment when the disk is full
//	BALLAST                     what becomes the next snapshot when the disk is full
//	….tmp                       files that aren't complete yet; Open removes them
//
// # Segments
//
// A segment is a file of a size that is chosen beforehand. It begins with a preamble of 40 bytes:
//
//	 0  "raft-wal"
//	 8  uint32  version of the format: 2
//	12  uint32  0
//	16  uint64  salt: drawn at random for each log
//	24  uint64  number of the segment, as in its name
//	32  uint32  CRC of bytes 0 to 31
//	36  uint32  0
//
// Records follow the preamble. Each record begins at a multiple of 8, with a header of 40 bytes:
//
//	 0  uint64  place: key + the offset of the header in the file
//	 8  uint32  length of the body
//	12  uint32  where in the body the entries begin; the length if there are none
//	16  uint32  synced: when the record was written, this segment was synced up to this offset;
//	            0 if none of it was
//	20  uint32  kind: 1 head, 2 open, 3 batch, 4 shared
//	24  uint32  where the record before begins in this segment; 0 in a head
//	28  uint32  the chain before this record; in a head, the CRC of the preamble
//	32  uint32  chain: CRC of bytes 0 to 27 and the body, continued from the chain before
//	36  uint32  CRC of bytes 0 to 35
//
// The key is mix(salt + number × 0x9e3779b97f4a7c15), where mix is the finalizer of splitmix64.
// Therefore a header is recognised by itself, whatever precedes it. And a record can't pass for a
// live one if it belongs to another segment or another log, or if another record has replaced it.
// Behind the last record there are zeros, or old bytes if the file had been another segment before.
// Since a header says what the chain was before the record and what it is behind it, the chain can
// be followed over a body that is damaged.
//
// The body of a head, an open or a batch begins with a directory:
//
//	byte     1, 0, 0
//	uvarint  length of the prelude
//	uint32   CRC of the prelude
//	uint32   CRC of the directory up to here
//
// Behind the directory stands the prelude, then the repairs, then the entries, each in a frame:
//
//	uint32  length
//	uint32  CRC of the length and the bytes, continued from the low half of the salt
//	        an entry as encoded by wire.AppendEntry
//
// So damage to an entry costs this entry and no other one, and damage to its length costs the
// entries behind it in the same record.
//
// # Heads and opens
//
// A head is the first record of each segment. An open is written each time an existing log is
// opened. If the segment has no room for it, the next segment begins instead, and its head serves
// as the open. The prelude of both is a checkpoint. It tells the whole identity of the log at that
// moment: everything except the bytes of its entries.
//
//	byte     0xff
//	uvarint  how often the log was opened
//	uint32   in a head, the size of this segment's file when it began; 0 in an open
//	uint32   in a head, where the segment before ends; 0 if there is none, and in an open
//	uint32   in a head, the chain there; 0 if there is none, and in an open
//	identity of the group "":
//	  uvarint  index of the last entry
//	  uvarint  index up to which the log may be forgotten
//	  state, snapshot, runs, configs
//	and if there has been any other group:
//	  uvarint  the number of the next group that is made
//	  byte     1; 0 if the list isn't there, which happens in the anchor
//	  marks    which groups had a part in the segment before this one, in a head, and else in this one
//
// where
//
//	state    term uvarint; vote and server as strings; incarnation uint64; cluster 16 bytes;
//	         start uvarint; longest lease varint; a byte, 1 if the disk is known to have gone back
//	         in time and else 0
//	snapshot number of its file uvarint, 0 for none; and if there is one: index, term and
//	         index of the configuration as uvarints, the configuration as a string
//	runs     the terms of the entries, from the index up to which the log may be forgotten (or 1)
//	configs  all configuration entries behind that index
//
// A configuration is encoded by wire.AppendConfiguration. Runs are a uvarint, twice their number
// (its lowest bit is kept for runs that say more than a term), and for each the difference of its
// first index to that of the run before, and its term, as uvarints. The first run has no
// difference: it begins where the runs begin. Configs are a uvarint, their number, and each as a
// string that holds wire.AppendEntry. Marks are a uvarint, their number, and for each group a uvarint:
// four times the number of the group, 1 more if it has ended, and 2 more if the number of its parts
// follows as a uvarint, because it isn't 1; 0 stands for one that isn't known.
//
// # Batches
//
// A batch is one Write of the group "". No other group has had a part in the records since the place of
// its witness; otherwise the Write is a shared record. Its prelude:
//
//	byte      what it changes: 1 state, 2 snapshot, 4 compaction, 8 entries; 16: the snapshot
//	          replaces the log; 32 repairs
//	state     if it changes, as above
//	snapshot  if it changes, as above
//	uvarint   index up to which the log may be forgotten, if it changes
//	uvarint   number of repairs, if there are any
//	entries   if there are any: uvarint index of the first, uvarint count, runs, configs
//	witness   see below
//
// The entries of a batch replace everything that the log held from the index of the first one on. A
// repair is the bytes of an entry that the log holds already, with this index and this term. It
// takes the place of bytes that are lost, and changes nothing else; if the log doesn't hold the
// entry, or holds its bytes, the repair does nothing. Repairs take effect before the entries do. A
// configuration stands in the prelude and in its frame, so it is never known only once.
//
// # The witness
//
// Each batch tells what the records before it have done, so that they can be damaged and are known
// nevertheless. Take p: the end of the last record that ends at or before the place which lies
// 64 KiB of records before the beginning of the predecessor. The witness says what the log was when
// the batch was written, as far as it was touched since p:
//
//	byte      what was touched since p: 1 state, 2 snapshot, 4 compaction, 8 entries
//	uvarint   the segment of p, and
//	uvarint   the offset of p
//	state     if it was touched
//	snapshot  if it was touched
//	uvarint   index up to which the log may be forgotten, if it was touched
//	uvarint   index of the last entry
//	entries   if they were touched: uvarint how many, from the lowest index that was touched to the
//	          last one, and not before what may be forgotten (0 if the log is empty); their runs;
//	          their configs
//
//	| A | B |/////////////| Z~~~~~~~~| y |     y is the first sound record behind the damage
//	        x     ≤ 64 KiB             |
//	    p ≤ x, since Z begins less than 64 KiB behind x
//
// Z, the predecessor of y, may be as large as it likes: it begins within the damage or before it. So
// the log at y is the log at x below the lowest index that was touched, and what the witness says
// from there on. If p isn't before the damage, only a checkpoint can close it: an open, the head of
// the next segment, or the anchor. The sound records in between still have bytes to give.
//
// A snapshot that drops the log touches the last entry that it holds, and those behind it. A witness
// of more than 1 MiB is left out: p is the beginning of the batch then, and nothing was touched.
//
// After damage was closed like this, an entry is sound only if bytes of the same index and term
// were read. All others are lost. If the predecessor of y begins at x, only its header may be
// damaged; then its body is found between the two.
//
// # Groups
//
// A group gets a number when something of it is stored first, and no other group ever gets that number:
// a group that was removed and is made anew under its name is another one. 0 is the number of the group
// "". A shared record is what one WriteGroups writes. Its directory:
//
//	uvarint  number of parts
//	uvarint  the segment of a place p, and
//	uvarint  the offset of p: as for a witness
//	marks    the groups that had a part in the records since p, this one left out; 0 if there was a
//	         batch
//	         for each part:
//	uvarint  number of the group
//	uvarint  length of its prelude
//	uvarint  length of its repairs, with their frames
//	uvarint  length of its entries, with their frames
//	uint32   CRC of its prelude
//	uint32   CRC of the directory up to here
//
// The parts follow, each with its prelude, its repairs and its entries. The prelude:
//
//	head     maybe: byte 0xfe; the name of the group as a string; its identity, before the part
//	change   as in a batch, up to the witness; the byte may be 0, and further bits of it are 64: the
//	         repairs are moves; 128: the group ends
//	witness  if there is no head, and the group doesn't end: as in a batch, of this group, but without
//	         p, which is in the directory; a byte 0xff if it would be larger than 1 MiB
//
// The first part of a group in a segment carries its head, and so do all further ones as long as that is
// behind p. So nothing but bytes of entries is looked for in an older segment, and a segment isn't
// needed when no bytes of entries that are in a log lie there, and no newest head of a group. (The group
// "" has its head at the beginning of each segment.)
//
//	| A | B |/////////////////| y |       the directory of y names the groups that were touched since p.
//	        x                             If p ≤ x, all others are known, and the parts of these are
//	    p ≤ x                             skipped until one has a head, or a witness with such a p
//
// If p isn't before the damage, the head of the next segment names the groups, an open does, or the
// anchor. Until then each group that has a part is in doubt.
//
// # The cleaner
//
// Segments go in order, the oldest one first: what ends a group must not go before what it ends. What is
// still needed of the oldest one is moved. A move is a part with repairs whose entries also take the
// place of bytes in older segments: it gives bytes to entries of this group, index and term, and
// creates, cuts and revives nothing. If only the head of a group is in the way, the part is empty but
// for its head.
//
// Segments are at least four times as large as the newest heads of all groups, whatever Options.SegmentSize
// says: otherwise each would hold little but heads, and cleaning would have no end.
//
// What is written in the log is at most twice what is needed and four segments, or the cleaner owes it.
// Segments may be larger by as much as a record takes, since a record lies in one of them. A shared record
// moves no more bytes than it has new ones; while nothing is written, and a tenth of the time while
// something is, 256 KiB are moved each 10 ms. Two things hold the cleaner up: a full disk, as long as
// the record doesn't fit into what is filled already, since the reserve is for writes; and a group that
// can't be loaded. A log that has the group "" alone is never cleaned: snapshots are its business.
// Log.Holders says which groups to ask for a snapshot.
//
// # Where the log ends
//
// When a record is written, everything before it in its segment is synced, with one exception: the
// head of a new segment is synced together with the first batch behind it. The record's field
// synced says how far the segment was synced. A head proves that the whole segment before it is
// synced. Reading stops where the next header isn't a header or continues another chain, and where
// a body or its chain is wrong. There, Open looks for any proof that the place was promised: a
// header with a larger synced behind it, the head of the next segment, or the anchor.
//
//	| head | batch | batch |/////////| batch |   synced ≤ x: nobody was told of it. Cut off
//	                       x             |
//	                        <-- synced --+       synced > x: it was promised. Damage
//
// So only one record can be torn, the last one, behind the anchor and behind every synced.
//
// A segment that isn't the newest ends where the head of the next one says. The next segment is
// prepared while the active one fills up, and has its final name before it begins. So all that it
// takes to begin it is the sync of its first batch. It is an old segment, if one isn't needed any
// more, or a file that was filled beforehand; either is renamed, and its size stays. Or else it is
// filled while the log writes, which costs as much of the disk as the writes themselves.
//
// Open may find records that are intact, but that nothing proves to be synced. It writes them once
// more, and syncs them together with the open record: after a sync that failed, the page cache may
// show bytes that the disk doesn't have, and a second sync says nothing about them. For the same
// reason, nothing more is written after a write or a sync that failed.
//
// # New logs
//
// A new log has no old segments. So that its first writes are as fast as its later ones, it fills
// files beforehand, which bear names ending in .ready until then: while no log of the process has
// written to the same file system for 50 ms. It fills 256 KiB to 4 MiB between two syncs, as many as
// the disk takes in a few milliseconds, so that a Write that comes meanwhile waits for no more than
// one of these syncs of another file. With default options
//
//	a log that is new                                          takes  1.5 MiB
//	when it has rested for as long as it takes to fill them         + 128 MiB (Options.Ahead)
//	a log in use                what was written since the snapshot before the last one, the next
//	                            segment, up to 128 MiB of old segments, and what is left of the files
//	                            that were filled beforehand
//
// While as much as that is in old segments, no file is filled beforehand. Close leaves the files
// that are complete, and the next Open takes them over. All logs of a process that are on one file
// system fill one file at a time, and have at most 512 MiB of them (MaxAhead). Nothing of a log is in
// such a file, so it can go at any time: the log removes them first when its disk is full.
//
// # The anchor
//
// What lies behind the last record can't say that it was there. The anchor can, since it is a file
// of its own. It has two slots, at 0 and at 65,536:
//
//	 0  "raft-anc"
//	 8  uint32  version of the format: 2
//	12  uint32  length of the checkpoint
//	16  uint64  salt
//	24  uint64  sequence: the slot with the larger one counts
//	32  uint32  1: the log was closed, and nothing follows the place below
//	36  uint32  chain at the place
//	40  uint64  the place up to which the log is known to be synced: the segment, 0 for none,
//	48  uint32  and the offset
//	52  uint32  0
//	56  uint64  number of the last segment whose name is durable; 0 for none
//	64  uint64  its size, as far as that is durable
//	72          a checkpoint: the log at the place, as in an open. Without the marks, or without all
//	            of it, if the slot would exceed 32 KiB otherwise
//	    uint32  CRC of all this
//
// While batches are written, the anchor is written about every 10 ms, and 5 ms after the last one,
// without a sync. It is synced once a second if it was written; before a segment that it doesn't
// name is begun; by Close; and by Open, which takes back what Close has said, before the first
// batch. The slot that was synced last isn't written before the other one is synced: otherwise a
// power cut could tear both. When the log is opened, the newer slot is written, unless it is the
// only sound one: the older one was synced before the newer one was begun.
//
// Open refuses the log if no slot is sound; if a segment is missing, up to the last one that the
// anchor names; if a segment has become shorter than its head or the anchor says, and no checkpoint
// says what it held; if a segment doesn't hold the chain that the anchor or the next head continues;
// and if the log ends before the anchor's place, unless the log was closed. If it was closed, the
// anchor's checkpoint tells all that is missing.
//
// # Room
//
// Nobody else can take what the log owns: files that were filled and synced beforehand. These are
// the rest of the active segment, the next segment as far as it is filled, and RESERVE. Log.Room
// says for how many bytes of entries the largest of the three has room. A record lies in one
// segment, so the sum would promise too much. The heads of all groups are left out of it: they have to fit into
// the next segment, too. So RESERVE is larger by at least four times their size.
//
//   - RESERVE holds zeros, or the old bytes of a segment: what it holds means nothing. When the next
//     segment has no room for a record, and the disk has none to fill it, RESERVE gets its name. It
//     is then a segment like any other one: terms, votes and entries go on. It is made anew as soon
//     as the disk has room, or from a segment that isn't needed any more. It is about 25 MiB; less
//     with segments of less than 64 MiB; and more if Log.Reserve asks for it, as raft.Start does.
//   - BALLAST is larger by half than the last snapshot was, and 1 MiB at the least; less with
//     segments of less than 16 MiB. A snapshot for which the disk has no room is written into it, cut
//     to its length, synced and renamed. If the snapshot is given up, the file is BALLAST again. A
//     snapshot that isn't needed any more, and that nobody reads, becomes BALLAST if the disk is full.
//
// On a full disk, what isn't needed any more is used again first, and removed if it can't be used.
// After a compaction, the next segment begins though the active one isn't full, if nothing in that
// one is needed: segments go as a whole.
//
// If there is no room even so, Write waits, has changed nothing, and says so (Log.Waiting). It goes
// on within a second when there is room. A quota that is used up counts as a full disk. A file system
// that writes elsewhere what it writes anew (btrfs, ZFS) may lack room for what the log owns: there,
// a Write may fail for want of room.
//
// # Snapshots
//
// A snapshot begins with "raft-snp", uint32 version 1, uint32 length of the description, the
// description (index, term, index of the configuration, configuration, as above; then, as a uvarint,
// the number of the group, unless it is 0), and uint32 CRC of all this. Then come blocks of
//
//	uint32  length, at most 65,536; 0 ends the snapshot
//	uint32  CRC of the length and the bytes, continued from the CRC before
//	        the bytes
//
// A snapshot is written under a temporary name, synced, and renamed. It is the current one once a
// batch names its file. The snapshot before it is kept as long as the log goes on from it: if the
// current one turns out to be damaged, the older one takes its place, unless it is of another cluster.
// Open reads the current snapshot once to find out. A snapshot that no batch has named stays until the
// current one is of a higher index, or until the next Open.
package wal
