package coalesce

import (
	"github.com/e17579a5/raft/internal/hash"
	"github.com/e17579a5/raft/wire"
)

// First returns the first of some servers in the order of a group. The order is that of a hash of the
// group and the server. So each of the servers is the first one of about as many groups, all
// processes agree on it, and the first one stays the same when another server goes.
func First(group wire.GroupID, servers []wire.ServerID) (first wire.ServerID) {
	least := uint64(0)
	for _, id := range servers {
		h := hash.String(hash.String(0, group), id)
		if first == "" || h < least || h == least && id < first {
			first, least = id, h
		}
	}
	return first
}
