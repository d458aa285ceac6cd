package raft

import "fmt"

// AtRest returns an error unless the node, which was closed, has given back whatever it counts.
func (n *Node) AtRest() error {
	n.inbox.lock()
	got := n.inbox.intake
	counts := map[string]int{
		"goroutines": int(n.life.goroutines.Load()), "users of the storage": int(n.life.storageUsers.Load()),
		"messages": len(got.messages), "hints": len(got.lost), "proposals": len(got.proposals), "reads": len(got.reads),
		"calls": len(got.calls), "cancellations": len(got.cancels), "questions for the status": len(got.queries),
		"reports": len(got.reports), "bulk messages": got.bulk, "bytes of messages": got.bulkBytes, "bytes of commands": got.commandBytes,
	}
	n.inbox.mu.Unlock()
	n.board.mu.Lock()
	counts["watchers"] = len(n.board.watchers)
	n.board.mu.Unlock()
	n.transfers.receiver.mu.Lock()
	counts["streams that came"] = len(n.transfers.receiver.arrivals)
	n.transfers.receiver.mu.Unlock()
	for what, left := range counts {
		if left != 0 {
			return fmt.Errorf("%d %s are left", left, what)
		}
	}
	if n.transfers.receiver.writer != nil {
		return fmt.Errorf("a snapshot that was received in part, %d bytes, is left", n.transfers.receiver.held)
	}
	if !n.life.stops.given() {
		return fmt.Errorf("the context of the node has not ended")
	}
	return nil
}

// Idle returns an error unless the node, at which nothing has happened for a while, holds nothing
// for anybody: neither callers, nor bytes that count against a limit, nor messages.
func (n *Node) Idle() error {
	counts := make(chan map[string]int, 1)
	if err := n.inbox.report(func(l *loop, _ Instant) { counts <- l.held() }); err != nil {
		return err
	}
	for what, left := range <-counts {
		if left != 0 {
			return fmt.Errorf("%s: %d %s are left", n.config.ID, left, what)
		}
	}
	return nil
}

// held returns what the loop and its core hold, by name.
func (l *loop) held() map[string]int {
	c := l.core
	status := c.Status()
	counts := map[string]int{
		"snapshots that callers wait for": len(l.snapshots.calls), "snapshots that are sent": len(l.snapshots.sends),
		"proposals": status.PendingProposals, "reads": status.PendingReads, "calls": status.PendingCalls,
		"messages that wait for the disk": len(c.out.held), "writes": len(c.out.flights), "batches": len(c.applying),
		"bytes of batches": sum(c.applyingBytes), "entries that were read": len(c.fetched),
	}
	for what, table := range map[string]*waiters{"commands": &l.waiting.commands, "reads": &l.waiting.reads, "calls": &l.waiting.calls} {
		counts["waiters for "+what] = table.count
		counts["late waiters for "+what] = len(table.late)
	}
	leads, ok := c.role.(*leader)
	if !ok {
		return counts
	}
	counts["bytes that are not committed"] = leads.uncommitted
	counts["bytes that are not applied"] = leads.unapplied
	counts["bytes that are not stored"] = leads.unstored
	counts["forwarded commands that wait"] = len(leads.waiting)
	for i := range leads.forwards {
		counts["bytes of forwarded commands that wait"] += leads.forwards[i].waiting
	}
	for i := range leads.peers {
		p := &leads.peers[i]
		counts["appends on their way to "+string(p.id)] = len(p.window)
		counts["bytes on their way to "+string(p.id)] = p.windowBytes
	}
	return counts
}
