package main

import "sync"

// A queue hands items from many goroutines to one. That goroutine is woken once, and takes all
// items that have gathered. The drivers of peers that bring no goroutines of their own use queues.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	wake  chan struct{}
}

// newQueue returns an empty queue.
func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

// put appends items, in order and next to each other.
func (q *queue[T]) put(items ...T) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	first := len(q.items) == 0
	q.items = append(q.items, items...)
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// take returns everything that has gathered. The queue goes on in spare, whose items are dropped. A
// goroutine that has received from wake may take once, or until nothing is left: it is woken again
// for items that come later.
func (q *queue[T]) take(spare []T) []T {
	clear(spare)
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = spare[:0]
	return items
}
