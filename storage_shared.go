package raft

// SharedStorage keeps several groups on one disk. Each of them has a Storage there, with a log, a
// state and snapshots of its own; what all of them write at a time is made durable together.
// Packages wal and memory have one each.
//
// The contract, beside that of Storage, which the Storage of each group keeps:
//
//   - Storages of several groups may be called at the same time, and while WriteGroups runs.
//     WriteGroups itself, and Write of any group, are called by one goroutine at a time.
//   - When WriteGroups has failed as a whole, every further write of every group fails.
//   - What happens to one group, be it a refused write or damage, concerns no other one, as long as
//     it is known to which group it happened.
//
// The optional methods of a Storage (MaxWrite, Waiting, Room, Reserve and Trouble) may be methods of
// the SharedStorage, and count then for the whole disk.
//
// It may have a method Holders() []Holder, if it keeps all groups in one log whose end goes only when no
// group needs anything there. Holders returns the groups that hold it up, those with most bytes there
// first, and nil while the log takes no more than it should. It may be called at any time. A host then asks
// the first of them to shorten their logs, which saves the storage to move what they need.
type SharedStorage interface {
	// Groups returns the groups of which something is stored, in the order of their names.
	Groups() ([]GroupID, error)

	// Group returns the storage of a group. If nothing is stored of it, the storage is empty, and
	// the first write makes the group. Close of that storage releases the group alone. Until then
	// Group isn't asked for it again.
	Group(group GroupID) (Storage, error)

	// WriteGroups makes writes of several groups durable, all of them with one sync. Each of them is
	// atomic, and there may be several of one group, which take effect in order. A group's error in
	// refused says that its write broke the contract, or that its part of the storage can't go on:
	// nothing of that write is stored, nor of the group's later ones, and every further write of
	// that group fails. An error beside it is one of the whole disk, and final.
	WriteGroups(writes []GroupWrite) (refused map[GroupID]error, err error)

	// RemoveGroup forgets a group. When it has returned nil, no later start finds anything of it. A
	// group of the same name that is written later begins empty. RemoveGroup comes after the group's
	// storage was closed, and not while WriteGroups runs.
	RemoveGroup(group GroupID) error

	// Close releases everything, the storages of all groups too. It waits for the calls that are
	// under way.
	Close() error
}

// A Holder is a group that holds up the end of a shared log.
type Holder struct {
	Group GroupID
	// Bytes is about how many bytes of the group's entries lie there. If it is 0, only what is known of the
	// group does, which costs little to move.
	Bytes uint64
	// Live is about how many bytes the group needs of the whole log. A snapshot, and a compaction up to
	// it, frees most of them.
	Live uint64
	// Damaged says that the group can't be loaded: nothing of it is moved before it is removed.
	Damaged bool
}

// A GroupWrite is a write of one group.
type GroupWrite struct {
	Group GroupID
	Write Write
}
