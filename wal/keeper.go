package wal

import (
	"sync/atomic"
	"time"
)

// A keeper is the log's one goroutine. It fills the spare, removes what isn't needed and marks the
// last batch once nothing has been written for a while. It sleeps while there is nothing to do; Close
// ends it. With Options.Inline there is none.
type keeper struct {
	wake chan struct{} // holds one
	quit chan struct{} // closed to end it
	done chan struct{} // closed when it has ended

	unmarked atomic.Bool   // a batch was written since the last mark, and the keeper was told
	batches  atomic.Uint64 // how many were written
}

// start starts the keeper of l.
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

func (k *keeper) stop() {
	close(k.quit)
	<-k.done
}

func (k *keeper) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

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

// tryMark writes a mark, unless somebody is writing just now.
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
		l.options.Logger.Error("wal: mark not written", "dir", l.dir, "error", err)
	}
	return true
}

// wrote has done, here or by the keeper, what follows a batch.
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

// tidy fills the spare up to the goal and removes what isn't needed. What fails is tried again after
// one of the next writes: the log works without.
func (l *Log) tidy() {
	for {
		select {
		case <-l.keeper.quit:
			return
		default:
		}
		removing, err := l.removeGarbage() // first, so that what comes after it may become the spare
		if err != nil {
			l.options.Logger.Warn("wal: old segment not removed", "dir", l.dir, "error", err)
			return
		}
		filling, err := l.fillSpare()
		if err != nil {
			l.options.Logger.Warn("wal: next segment not prepared", "dir", l.dir, "error", err)
			return
		}
		if err := l.sweepSnapshots(); err != nil {
			l.options.Logger.Warn("wal: old snapshot not removed", "dir", l.dir, "error", err)
			return
		}
		if !filling && !removing {
			return
		}
	}
}
