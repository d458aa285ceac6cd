package wal

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// A keeper is the log's one goroutine. It fills the spare, removes files that aren't needed, and
// marks the last batch once nothing has been written for a while. It sleeps while there is nothing
// to do; Close ends it. With Options.Inline it doesn't run.
type keeper struct {
	wake chan struct{} // holds one token
	quit chan struct{} // closed to end it
	done chan struct{} // closed when it has ended

	unmarked atomic.Bool   // a batch was written since the last mark, and the keeper was told so
	batches  atomic.Uint64 // how many batches were written
}

// start makes the keeper ready, and starts its goroutine unless l does its work inline.
func (k *keeper) start(l *Log) {
	k.wake = make(chan struct{}, 1)
	k.quit = make(chan struct{})
	k.done = make(chan struct{})
	if l.options.Inline {
		close(k.done)
		return
	}
	go k.run(l)
}

// stop ends the keeper and waits until it has ended.
func (k *keeper) stop() {
	close(k.quit)
	<-k.done
}

// signal wakes the keeper.
func (k *keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine. A batch arms the timer. When the timer fires and no other batch has come
// meanwhile, the last one is marked.
func (k *keeper) run(l *Log) {
	defer close(k.done)
	timer := time.NewTimer(l.options.MarkAfter)
	timer.Stop()
	defer timer.Stop()
	waiting, seen := false, uint64(0)
	for {
		select {
		case <-k.quit:
			return
		case <-k.wake:
			if !waiting && k.unmarked.Load() {
				waiting, seen = true, k.batches.Load()
				timer.Reset(l.options.MarkAfter)
			}
			l.tidy()
		case <-timer.C:
			if n := k.batches.Load(); n != seen || !l.tryMark() {
				seen = n
				timer.Reset(l.options.MarkAfter)
				continue
			}
			waiting = false
			l.tidy() // once more, if something failed
		}
	}
}

// tryMark writes a mark, unless somebody is writing at this moment. It returns false if the keeper
// has to try again.
func (l *Log) tryMark() bool {
	select {
	case l.busy <- struct{}{}:
	default:
		return false
	}
	defer func() { <-l.busy }()
	l.keeper.unmarked.Store(false)
	if l.usable() != nil {
		return true
	}
	if err := l.writeMark(); err != nil {
		l.tell(slog.LevelError, "wal: mark not written", err)
	}
	return true
}

// wrote does the work that follows a batch, or has the keeper do it.
func (l *Log) wrote() {
	l.mu.Lock()
	tidy := l.untidy
	l.untidy = false
	l.mu.Unlock()
	tidy = l.wantSpare() || tidy
	if l.options.Inline {
		if tidy {
			l.tidy()
		}
		return
	}
	l.keeper.batches.Add(1)
	if !l.keeper.unmarked.Swap(true) || tidy {
		l.keeper.signal()
	}
}

// tidy fills the spare up to the goal and removes files that aren't needed. When something fails,
// it is tried again after one of the next writes: the log works without it.
func (l *Log) tidy() {
	for {
		select {
		case <-l.keeper.quit:
			return
		default:
		}
		// Removing comes first: the segment behind the removed one may then become the spare.
		removing, err := l.removeGarbage()
		if err != nil {
			l.tell(slog.LevelWarn, "wal: old segment not removed", err)
			return
		}
		filling, err := l.fillSpare()
		if err != nil {
			l.tell(slog.LevelWarn, "wal: next segment not prepared", err)
			return
		}
		if err := l.sweepSnapshots(); err != nil {
			l.tell(slog.LevelWarn, "wal: old snapshot not removed", err)
			return
		}
		if !filling && !removing {
			return
		}
	}
}
