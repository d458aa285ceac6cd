// Package wire has what the servers of a cluster say to each other and keep in their logs:
// messages, entries, configurations, and their bytes. This page is the specification of the format.
// Entries and configurations have the same bytes on the wire and on disk.
//
// A service that embeds package raft meets the few of these types that raft names too (raft.Entry,
// raft.Index, …). The others are for the authors of a transport, a storage, a driver of the core,
// or a tool.
//
// # Numbers and lengths
//
// Numbers and lengths are varints of base 128, the least significant group first, of the fewest
// bytes possible. Random values (clusters and incarnations) have their fixed size, little endian. A
// string is a length and that many bytes. Every value has exactly one encoding: if bytes are
// decoded without an error, the value is encoded as these bytes. The decoder allocates memory in
// proportion to the number of bytes that it is given, whatever they say.
//
// # Messages
//
// A message is encoded as
//
//	version    1 byte, Version
//	kind       1 byte
//	fields     4 bytes, little endian: a bit for every field that isn't zero
//	From, To   each a server's ID
//	           and then, in the order of the bits, the fields that aren't zero
//
// with these fields:
//
//	 0  Cluster          16 bytes
//	 1  FromIncarnation  8 bytes
//	 2  ToIncarnation    8 bytes
//	 3  Term             number
//	 4  Index            number
//	 5  LogTerm          number
//	 6  Hint             number
//	 7  Commit           number
//	 8  Round            number
//	 9  Start            number
//	10  Number           number
//	11  Granted          the bit is the value
//	12  Transfer         the bit is the value
//	13  Mismatch         the bit is the value
//	14  Entries          a count, not 0, and as many entries
//	15  Numbers          a count, not 0, and as many numbers
//	16  Servers          a count, not 0, and as many servers: each an ID and an address
//	17  Call             a kind (1 byte), Expected (a number), and members
//	18  Refusal          1 byte
//	19  Lease            a number of nanoseconds
//	20  Fitness          number
//	21  ByLease          the bit is the value
//	22  Size             number
//	23  Offset           number
//	24  Level            number
//	25  FromStart        number
//	26  Group            a string, not empty
//	27  Process          numbers, and lists of stands, groups and servers (ProcessHeartbeat)
//
// The first four fields, FromStart and Group belong to the envelope, which every kind of message
// has. FromStart and Group come behind all other fields. The other fields belong to bodies. The method pack of a body's type says which fields its kind
// may have, and what they mean in it. A message with a field that its kind doesn't have is refused,
// and so is an unknown field.
//
// # Entries
//
// An entry is encoded as
//
//	kind       1 byte
//	fields     1 byte: which of the following are there
//	place      Index and Term, unless both are zero (bit 0)
//	origin     the server, Start and Number, unless all are zero (bit 1)
//	data       a length and that many bytes
//
// A later version may add kinds of entries and fields. Here an unknown kind is decoded all the
// same, and the core judges it. An unknown field is refused, so that nothing is lost in silence.
//
// # Configurations
//
// A configuration is encoded as
//
//	version    1 byte: 1, or 2 if there is more than the cluster and its members
//	Cluster    16 bytes
//	Members    a count, and as many members: each an ID, an address, a role (1 byte), and an incarnation
//	           and with version 2:
//	fields     1 byte: which of the following are there
//	Old        members (bit 0)
//	Next       members (bit 1)
//	call       the server of Origin, its Start, and Number (bit 2)
//	refusal    Refusal (1 byte) and About (bit 3)
//	Begun      the bit is the value (bit 4)
//	Level      a number (bit 5)
//	Recovered  16 bytes (bit 6)
//	Keys       KeyOutworn (1 byte, 0 or 1), a count, not 0, and as many keys of 32 bytes (bit 7)
//
// # Sessions
//
// The data of an EntryOpenSession is SessionLimits: Sessions and Bytes. The ID of a session, which
// is also the data of an EntryCloseSession, is a term and an index. The data of an
// EntrySessionCommand is the ID of the session, Sequence, by how much Sequence is above Lowest, and
// the command.
package wire
