package raft

import "fmt"

// AtRest returns an error unless the node, which was closed, has given back whatever it counts.
func (n *Node) AtRest() error {
	n.inbox.mu.Lock()
	got := &n.inbox.intake
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
	if n.life.ctx.Err() == nil {
		return fmt.Errorf("the context of the node has not ended")
	}
	return nil
}
