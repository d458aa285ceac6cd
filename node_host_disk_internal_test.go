package raft

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A countedDisk notes what is written, and waits before each call until it is let go on.
type countedDisk struct {
	SharedStorage
	calls [][]GroupWrite
	next  chan struct{}
}

func (d *countedDisk) WriteGroups(writes []GroupWrite) (map[GroupID]error, error) {
	d.calls = append(d.calls, append([]GroupWrite(nil), writes...))
	<-d.next
	return nil, nil
}

// bytes returns how many bytes of entries each group has in a call.
func (d *countedDisk) bytes(call int) map[GroupID]int {
	bytes := map[GroupID]int{}
	for _, w := range d.calls[call] {
		bytes[w.Group] += sizeOf(w.Write.Entries)
	}
	return bytes
}

// newWriteLane returns the write lane of a host, and those of some groups.
func newWriteLane(disk *countedDisk, groups int) (*hostDisk, []*groupWrites) {
	h := &Host{config: HostConfig{Storage: disk}}
	h.disk.host, h.disk.queue = h, newQueue[diskTask]()
	var all []*groupWrites
	for i := range groups {
		n := &Node{group: GroupID(fmt.Sprint("g", i)), inbox: inbox{rouse: func() {}}, trace: &Trace{}}
		n.life.begin(&diary{})
		all = append(all, &groupWrites{disk: &h.disk, node: n})
	}
	return &h.disk, all
}

func writeOf(number int, bytes int) Write {
	if bytes == 0 {
		return Write{Number: WriteNumber(number)}
	}
	return Write{Number: WriteNumber(number), Entries: []Entry{{Data: make([]byte, bytes)}}}
}

// A group that has much to write has a bounded part of the calls, whatever it has handed over. Others
// have their writes in the next call, and their calls are short.
func TestSmallWritesDontWaitForABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &countedDisk{next: make(chan struct{})}
		lane, of := newWriteLane(disk, 2)
		go lane.run()
		of[0].add(writeOf(1, 1))
		synctest.Wait()
		const bursts = 64 << 20 / maxGroupWrite
		for i := range bursts {
			of[0].add(writeOf(2+i, maxGroupWrite-100))
		}
		large := 0
		for call := range bursts {
			of[1].add(writeOf(call+1, 100))
			disk.next <- struct{}{}
			synctest.Wait()
			bytes := disk.bytes(call + 1)
			require.LessOrEqual(t, bytes["g0"], maxGroupWrite)
			require.NotZero(t, bytes["g1"])
			large += bytes["g0"]
			require.LessOrEqual(t, large, (call+1)*largeShare)
			require.Greater(t, large, (call+1)*largeShare-maxGroupWrite)
		}
		done := make(chan error)
		go func() { done <- lane.do(func() error { return nil }) }()
		synctest.Wait()
		disk.next <- struct{}{}
		require.NoError(t, <-done, "a start doesn't wait for the burst, either")
		go func() {
			for range bursts * 3 / 4 { // now that they have the disk for themselves, one in each call
				disk.next <- struct{}{}
			}
			lane.queue.close()
		}()
		synctest.Wait()
		require.Len(t, disk.calls, 1+bursts+bursts*3/4)
		require.EqualValues(t, bursts+1, of[0].node.inbox.intake.persisted)
	})
}

// A burst of writes leaves no room behind when it is over. While there are a few at a time, they find the
// room of those before.
func TestBurstOfWritesLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &countedDisk{next: make(chan struct{})}
		lane, of := newWriteLane(disk, 1)
		go lane.run()
		defer lane.queue.close()
		goOn := func() {
			disk.next <- struct{}{}
			synctest.Wait()
		}
		write := func(writes int) (room int) {
			of[0].add(writeOf(1, 0))
			synctest.Wait()
			for range 2 { // what is called for, and what gathers meanwhile
				for i := range writes {
					of[0].add(writeOf(i+1, 0))
				}
				goOn()
			}
			goOn()
			require.Zero(t, len(lane.waiting)+lane.busy.items)
			return cap(lane.queue.items) + cap(lane.waiting) + cap(lane.chosen) + cap(lane.writes)
		}
		require.Zero(t, write(10*keepIdle))
		room := write(10)
		require.NotZero(t, room)
		require.LessOrEqual(t, room, 4*keepIdle)
		require.Equal(t, room, write(10))
	})
}

// Whatever is handed over, each write is done once, those of a group in their order; no call has more than
// its bounds. The write that has waited longest is in the next one if it is small, and otherwise when its group
// may have saved enough, or at once if there is none with small writes alone.
func TestWritesTakeTheirTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const groups = 8
		disk := &countedDisk{next: make(chan struct{})}
		close(disk.next)
		lane, of := newWriteLane(disk, groups)
		var added, done [groups]WriteNumber
		sizes := rapid.SampledFrom([]int{0, 1, 4000, 5000, 100_000, 250_000, 400_000, 2_000_000})
		rounds := rapid.IntRange(1, 10).Draw(t, "rounds")
		var oldest oldestWrite
		for round := 0; round < rounds || len(lane.waiting) > 0; round++ {
			if round < rounds {
				for range rapid.IntRange(0, 30).Draw(t, "writes") {
					g := rapid.IntRange(0, groups-1).Draw(t, "group")
					added[g]++
					of[g].add(writeOf(int(added[g]), sizes.Draw(t, "bytes")))
				}
			}
			tasks := lane.queue.poll(nil)
			first := append(append([]diskTask(nil), lane.waiting...), tasks...)
			disk.calls = nil
			lane.perform(tasks)
			if len(first) == 0 {
				continue
			}
			oldest.check(t, disk, first)
			checkCall(t, disk, &done)
		}
		require.Equal(t, added, done)
	})
}

// An oldestWrite is the write that has waited longest, and for how many calls.
type oldestWrite struct {
	of     GroupID
	number WriteNumber
	calls  int
}

// check checks that the write which waits longest doesn't wait for too long.
func (o *oldestWrite) check(t *rapid.T, disk *countedDisk, waiting []diskTask) {
	first, size := waiting[0], waiting[0].bytes()
	if first.of.node.group != o.of || first.write.Number != o.number {
		*o = oldestWrite{of: first.of.node.group, number: first.write.Number}
	}
	require.Len(t, disk.calls, 1)
	if next := disk.calls[0][0]; next.Group == o.of && next.Write.Number == o.number {
		return
	}
	largest := map[GroupID]int{}
	for i := range waiting {
		group := waiting[i].of.node.group
		largest[group] = max(largest[group], waiting[i].bytes())
	}
	modest := false
	for _, most := range largest {
		modest = modest || most <= smallWrite
	}
	o.calls++
	require.True(t, modest && size > smallWrite && o.calls < (size+largeShare-1)/largeShare, "%d bytes have waited for %d calls", size, o.calls)
}

// checkCall checks the only call of a round.
func checkCall(t *rapid.T, disk *countedDisk, done *[8]WriteNumber) {
	writes, bytes := map[GroupID]int{}, disk.bytes(0)
	large, most := 0, 0
	for _, w := range disk.calls[0] {
		var g int
		_, err := fmt.Sscanf(string(w.Group), "g%d", &g)
		require.NoError(t, err)
		done[g]++
		require.Equal(t, done[g], w.Write.Number)
		if size := sizeOf(w.Write.Entries); size > 0 {
			writes[w.Group]++
			if size > smallWrite {
				large += size
			}
			most = max(most, size)
		}
	}
	for group, n := range writes {
		require.True(t, n == 1 || bytes[group] <= maxGroupWrite, "%s has %d writes of %d bytes", group, n, bytes[group])
	}
	require.LessOrEqual(t, large, max(maxHostWrite, most))
}
