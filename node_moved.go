package raft

import (
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A server can be reached at the address that the newest configuration in the log names. When it
// moves, a leader puts its new address there. But servers that have all moved can't reach each
// other, so there is no leader to do that. Then Config.Moved says to each of them where the others
// are. It is the word of whoever starts the server, and of nobody else: an address that a server
// says of itself redirects nothing.

// moves are the servers that Config.Moved names: for each the addresses at which it was before, and the
// present one. A server that is at another one, by the log, has been moved again by a leader, and the log
// knows better.
//
// The addresses before are those of the last two configurations in the storage at the start. The newest
// one may not be committed, and a leader that hasn't got it takes it back. The one before is then in force
// again, which is committed: a leader appends no configuration before that. And a server that lagged
// behind may get from the new leader what an earlier one has appended (learn).
type moves struct {
	mu    sync.Mutex
	by    map[ServerID]*move
	begun bool // what the storage had at the start was looked at
}

type move struct {
	from []string
	to   string
	over bool // the log has the present address, or that of a leader who knows better
}

// movesOf compares Config.Moved with what the storage holds.
func (c *Config) movesOf(saved *Saved) (*moves, error) {
	stored, err := storedConfigurations(saved)
	if err != nil {
		return nil, err
	}
	if len(c.Moved) == 0 {
		return nil, nil // there is nothing to remember
	}
	m := &moves{by: make(map[ServerID]*move)}
	for _, s := range c.Moved {
		m.by[s.ID] = &move{to: s.Address}
		for _, configuration := range stored[max(len(stored)-2, 0):] {
			if member := configuration.Member(s.ID); member != nil && member.Address != s.Address {
				m.by[s.ID].from = append(m.by[s.ID].from, member.Address)
			}
		}
	}
	return m, nil
}

// of returns where a server is, given what the log says.
func (m *moves) of(id ServerID, address string) string {
	if m == nil {
		return address
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if moved := m.by[id]; moved != nil && slices.Contains(moved.from, address) {
		return moved.to
	}
	return address
}

// learn notes addresses that have just come into the log. One that an earlier leader has appended is where
// the server was before, until the log has its present address.
func (m *moves) learn(core *Core) {
	if m == nil {
		return
	}
	now := core.Standing()
	if now.Configuration == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.begun {
		m.begun = true // from has it
		return
	}
	for id, moved := range m.by {
		member := now.Configuration.Member(id)
		switch {
		case moved.over || member == nil || slices.Contains(moved.from, member.Address):
		case core.AddressTerm(id) == now.Term:
			moved.over = true
		case member.Address != moved.to:
			moved.from = append(moved.from, member.Address)
		}
	}
}

// servers returns where servers are, given what the log says.
func (m *moves) servers(list []Server) []Server {
	if m == nil {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		list[i].Address = m.of(list[i].ID, list[i].Address)
	}
	return list
}

// settleMoves puts the present addresses into the log while this server leads. Each server is asked
// at its new address whether it is the same one, as in any call of AddServer, so a list that is
// wrong changes nothing. It is the goroutine of a node with Config.Moved.
func (n *Node) settleMoves(m *moves) {
	defer n.life.leave()
	w := n.board.watch()
	defer n.board.leave(w)
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-w.wake:
		case <-again.C:
		case <-n.life.stops.wait():
			return
		}
		leadership, membership, _ := n.board.shown()
		if !leadership.Ready {
			continue
		}
		for _, member := range membership.Configuration.Members {
			to := m.of(member.ID, member.Address)
			if to == member.Address {
				continue
			}
			call := wire.Call{Kind: wire.CallAdd, Members: []Member{{Server: Server{ID: member.ID, Address: to}, Role: member.Role}}}
			if _, err := n.call(n.life.context(), call); err != nil && !n.life.stops.given() {
				n.logger.Warn("raft: the new address of a server isn't in the log", "peer", member.ID, "address", to, "err", err)
				again.Reset(moveAgain * n.config.patience())
			}
		}
	}
}

// moveAgain is after how many quarters of an election timeout settleMoves tries again.
const moveAgain = 40
