package raft

import "github.com/e17579a5/raft/internal/coalesce"

// BreakHeartbeats makes the next question to the host's Book panic.
func BreakHeartbeats(h *Host) {
	h.book.mu.Lock()
	defer h.book.mu.Unlock()
	*h.book.book = coalesce.Book{}
}
