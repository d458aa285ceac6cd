package wal

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// A keeper is the log's one goroutine, but for the filler. It fills the spare, removes files that aren't needed, cleans, and
// writes the anchor. It sleeps while there is nothing to do; Close ends it. With Options.Inline it
// doesn't run.
type keeper struct {
	wake chan struct{} // holds one token
	quit chan struct{} // closed to end it
	done chan struct{} // closed when it has ended

	ahead   atomic.Bool   // a batch was written since the last anchor, and the keeper was told so
	batches atomic.Uint64 // how many batches were written
	owes    atomic.Bool   // the cleaner owes something
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

// run is the goroutine. A batch arms the timer. When it fires and no other batch has come meanwhile,
// or the anchor has become too old, the anchor is written. Then the timer is armed once more, for
// the sync of the anchor.
func (k *keeper) run(l *Log) {
	defer close(k.done)
	timer := time.NewTimer(anchorAfter)
	timer.Stop()
	defer timer.Stop()
	var watch anchorWatch
	room := time.NewTimer(roomPause)
	room.Stop()
	defer room.Stop()
	clean := time.NewTimer(cleanPause)
	clean.Stop()
	defer clean.Stop()
	var cleaning cleaning
	tidy := func() {
		if l.tidy(); l.reserve.short.Load() {
			room.Reset(roomPause) // others may make room
		}
	}
	for {
		select {
		case <-k.quit:
			return
		case <-k.wake:
			if !watch.following && k.ahead.Load() {
				watch.follow(time.Now(), k.batches.Load())
				timer.Reset(anchorAfter)
			}
			tidy()
			if k.owes.Load() && !cleaning.due {
				cleaning.due = true
				clean.Reset(cleanPause)
			}
		case <-clean.C:
			if again := cleaning.fired(l); again > 0 {
				cleaning.due = true
				clean.Reset(again)
			}
		case now := <-timer.C:
			if again := watch.fired(l, now); again > 0 {
				timer.Reset(again)
			}
			tidy() // once more, if something failed
			l.startFiller()
		case <-room.C:
			tidy()
		}
	}
}

// An anchorWatch knows when the anchor is due.
type anchorWatch struct {
	following bool      // there are batches that the anchor doesn't know
	since     time.Time // the first of them was written
	seen      uint64    // how many batches there were when the timer was armed
	unsynced  bool      // it was written since it was synced
	synced    time.Time
}

// follow begins to watch batches.
func (w *anchorWatch) follow(now time.Time, batches uint64) {
	w.following, w.since, w.seen = true, now, batches
}

// fired does what is due when the timer has fired, and returns after which time the timer is to
// fire next; 0 for never.
func (w *anchorWatch) fired(l *Log, now time.Time) time.Duration {
	if w.following {
		if n := l.keeper.batches.Load(); n != w.seen && now.Sub(w.since) < anchorEvery {
			w.seen = n
			return anchorAfter
		}
		l.keeper.ahead.Store(false)
		w.following = false
		if w.due(now) {
			l.keepAnchor(anchoring{sync: true})
			return 0
		}
		l.keepAnchor(anchoring{})
		if !w.unsynced {
			w.unsynced = true
			w.synced = now
		}
	} else if w.due(now) {
		l.keepAnchor(anchoring{sync: true})
		return 0
	}
	return max(w.synced.Add(anchorSyncEvery).Sub(now), 1)
}

// due says whether the anchor is to be synced, and notes that it is.
func (w *anchorWatch) due(now time.Time) bool {
	due := w.unsynced && now.Sub(w.synced) >= anchorSyncEvery
	if due {
		w.unsynced = false
	}
	return due
}

// keepAnchor writes the anchor when nobody waits for it. So an error shows in Trouble, and fails the
// next Write.
func (l *Log) keepAnchor(how anchoring) {
	if l.usable() != nil {
		return
	}
	if err := l.writeAnchor(how); err != nil {
		l.tell(slog.LevelError, "wal: anchor not written", err)
	}
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
	owes := l.owed()
	if owes != l.keeper.owes.Load() {
		l.keeper.owes.Store(owes)
		tidy = tidy || owes
	}
	if !l.keeper.ahead.Swap(true) || tidy {
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
		filling, err := l.fillNext()
		if err != nil {
			l.tell(slog.LevelWarn, "wal: next segment not prepared", err)
			return
		}
		if err := l.sweepWithSpare(); err != nil {
			l.tell(slog.LevelWarn, "wal: old snapshot not removed", err)
			return
		}
		if !filling && !removing {
			return
		}
	}
}
