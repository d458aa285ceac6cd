package raft_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A slowDisk takes a millisecond for a call, and writes 88 MiB in a second.
type slowDisk struct {
	raft.SharedStorage
	mu   sync.Mutex
	most int // the bytes that a group has in one call, beyond its first entry
}

const diskRate = 88 << 20

func (d *slowDisk) WriteGroups(writes []raft.GroupWrite) (map[raft.GroupID]error, error) {
	bytes, all := map[raft.GroupID]int{}, 0
	for _, w := range writes {
		for i := range w.Write.Entries {
			size := w.Write.Entries[i].Size()
			all += size
			if _, behind := bytes[w.Group]; behind {
				bytes[w.Group] += size
			} else {
				bytes[w.Group] = 0
			}
		}
	}
	d.mu.Lock()
	for _, n := range bytes {
		d.most = max(d.most, n)
	}
	d.mu.Unlock()
	time.Sleep(time.Millisecond + time.Duration(all)*time.Second/diskRate)
	return d.SharedStorage.WriteGroups(writes)
}

// One group is written as fast as callers can, and the state machine of another one sleeps for a second in
// each batch. The other groups don't notice.
func TestGroupsDontWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disks []*slowDisk
		h := newHostsOf(t, 3, func(c *raft.HostConfig) {
			disk := &slowDisk{SharedStorage: c.Storage}
			disks = append(disks, disk)
			c.Storage = disk
		}, nil)
		defer h.close()
		for i := range 10 {
			h.propose("a", raft.GroupID(fmt.Sprint("g", i)), "1")
		}
		h.propose("a", "large", "1")
		h.propose("a", "slow", "1")
		for _, s := range h.servers {
			h.machine(s.ID, "slow").whileApplying(func(string) { time.Sleep(time.Second) })
		}
		var busy sync.WaitGroup
		command := string(make([]byte, 64<<10))
		for range 1000 {
			busy.Go(func() { h.propose("b", "large", command) })
		}
		for range 10 {
			busy.Go(func() { h.propose("c", "slow", "1") })
		}
		done := make(chan struct{})
		go func() { busy.Wait(); close(done) }()
		var worst time.Duration
		calls := 0
		for running := true; running; calls++ {
			since := time.Now()
			h.propose("a", raft.GroupID(fmt.Sprint("g", calls%10)), "2")
			worst = max(worst, time.Since(since))
			select {
			case <-done:
				running = false
			case <-time.After(5 * time.Millisecond):
			}
		}
		require.Greater(t, calls, 50)
		require.Less(t, worst, 25*time.Millisecond)
		for _, disk := range disks {
			require.LessOrEqual(t, disk.most, 256<<10)
		}
	})
}
