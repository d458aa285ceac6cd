package model

import "github.com/e17579a5/raft"

// idOf returns the ID of a server, whose number is counted from 0.
func idOf(server int) raft.ServerID { return raft.ServerID([]byte{'1' + byte(server)}) }

// serverOf returns the number of a server, from 0. It returns MaxServers for an ID that no server
// has.
func serverOf(id raft.ServerID) int {
	if len(id) == 1 && id[0] >= '1' && id[0] < '1'+MaxServers {
		return int(id[0] - '1')
	}
	return MaxServers
}

// A naming gives each server another name in encodings. Take all n! namings of n servers. States
// that differ only in the names of servers then have the same set of encodings, and the least of
// these stands for all.
type naming [MaxServers]byte

// of returns the name of a server.
func (n *naming) of(id raft.ServerID) byte {
	if id == "" {
		return 0
	}
	if s := serverOf(id); s < MaxServers {
		return n[s]
	}
	return 255
}

// namings returns the ways to name n servers by the numbers from 1 on. The first way gives each
// server its own number. Without fold it is the only one.
func namings(n int, fold bool) []naming {
	var all []naming
	var own naming
	for i := range own {
		own[i] = byte(i + 1)
	}
	if !fold {
		return []naming{own}
	}
	var permute func(k int)
	permute = func(k int) {
		if k == n {
			all = append(all, own)
			return
		}
		for i := k; i < n; i++ {
			own[k], own[i] = own[i], own[k]
			permute(k + 1)
			own[k], own[i] = own[i], own[k]
		}
	}
	permute(0)
	return all
}
