package raft_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

// An askedLog is a log of which the tests know how often its host has asked for the holders, and whether there were
// any.
type askedLog struct {
	*wal.Log
	asked, named *atomic.Int64
}

func (l askedLog) Holders() []raft.Holder {
	held := l.Log.Holders()
	l.asked.Add(1)
	l.named.Add(int64(len(held)))
	return held
}

// filed are hosts with real files.
type filed struct {
	*hosts
	tallies
	dir          string
	logBytes     int // HostConfig.LogBytes
	asked, named atomic.Int64
	want         map[raft.GroupID]uint64 // how many commands each group has applied
}

// newFiled starts hosts a, b and c.
func newFiled(t *testing.T) *filed {
	f := &filed{dir: t.TempDir(), want: map[raft.GroupID]uint64{}}
	f.hosts = &hosts{t: t, network: memory.NewNetwork(memory.Options{}), running: map[raft.ServerID]*raft.Host{}, unknown: map[raft.GroupID]bool{}}
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		f.servers = append(f.servers, raft.Server{ID: id, Address: string(id)})
	}
	f.startAll()
	return f
}

func (f *filed) folder(id raft.ServerID) string { return filepath.Join(f.dir, string(id)) }

func (f *filed) startAll() {
	for _, s := range f.servers {
		log, err := wal.Open(f.folder(s.ID), wal.Options{SegmentSize: 256 << 10, Ahead: -1, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(f.t, err)
		f.running[s.ID], err = raft.StartHost(raft.HostConfig{
			ID: s.ID, Address: s.Address, Storage: askedLog{log, &f.asked, &f.named}, Transport: f.network.Join(s.ID), LogBytes: f.logBytes,
			ScrubBytesPerSecond: -1, Logger: slog.New(slog.DiscardHandler), Group: func(group raft.GroupID) raft.Config { return f.group(s.ID, group) },
		})
		require.NoError(f.t, err)
	}
}

// group says what a group of a host is made of.
func (f *filed) group(id raft.ServerID, group raft.GroupID) raft.Config {
	f.hosts.mu.Lock()
	defer f.hosts.mu.Unlock()
	if f.unknown[group] {
		return raft.Config{}
	}
	var c raft.Config
	f.config(id, group, &c)
	c.Bootstrap = f.servers
	return c
}

// write has a group apply commands, of so many bytes each, at one host.
func (f *filed) write(id raft.ServerID, group raft.GroupID, n, size int) {
	for range n {
		f.want[group]++
		command := fmt.Sprintf("command %d of %s ", f.want[group], group)
		f.propose(id, group, command+strings.Repeat("x", max(0, size-len(command))))
	}
}

// check requires that each group has applied what it should at every host.
func (f *filed) check() {
	f.t.Helper()
	for _, s := range f.servers {
		for group, want := range f.want {
			node, err := f.running[s.ID].Group(group)
			require.NoError(f.t, err, "%s at %s", group, s.ID)
			require.NoError(f.t, node.Read(f.t.Context()), "%s at %s", group, s.ID)
			f.tallies.mu.Lock()
			m := f.of[s.ID][group]
			f.tallies.mu.Unlock()
			require.Equal(f.t, want, m.counted(), "%s at %s", group, s.ID)
		}
	}
}

func (f *filed) closeAll() {
	for _, s := range f.servers {
		require.NoError(f.t, f.running[s.ID].Close(context.Background()))
	}
}

// flip changes a byte of a text in the files of a host, wherever it is there. It returns how often that is.
func (f *filed) flip(id raft.ServerID, text string) (n int) {
	names, err := filepath.Glob(filepath.Join(f.folder(id), "*.wal"))
	require.NoError(f.t, err)
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(f.t, err)
		for at := bytes.Index(content, []byte(text)); at >= 0; at = bytes.Index(content, []byte(text)) {
			content[at] ^= 1
			n++
		}
		require.NoError(f.t, os.WriteFile(name, content, 0o600))
	}
	return n
}

func filedGroup(i int) raft.GroupID { return raft.GroupID(fmt.Sprintf("group-%02d", i)) }

// remove removes a group from all hosts, which don't know it any more. All of them forget it at one moment: what is
// left of other groups isn't moved meanwhile.
func (f *filed) remove(group raft.GroupID) {
	f.hosts.mu.Lock()
	f.unknown[group] = true
	f.hosts.mu.Unlock()
	for _, s := range f.servers {
		for id, node := range f.running[s.ID].Groups() {
			if id == group {
				require.NoError(f.t, node.Close(f.t.Context()))
			}
		}
	}
	for _, s := range f.servers {
		require.NoError(f.t, f.running[s.ID].Remove(f.t.Context(), group))
	}
	delete(f.want, group)
}

const filedGroups = 50

// Hosts with real files keep what was acknowledged, in each of many groups: while groups that hold up their logs
// shorten them, though one group was removed that took most of the disk, and others are made anew; from one start to
// the next; and when bytes of two groups are lost at one host. Of these groups one is repaired, and one is refused
// there. All others go on.
func TestHostsLiveOnFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFiled(t)
		defer f.close() // of those that run, if something fails
		f.fill()
		f.makeAnew()
		f.closeAll()
		f.logBytes = 512 << 10
		f.startAll()
		f.check()
		f.boundLogs()
		f.closeAll()
		f.startAll()
		f.check()
		f.closeAll()
		f.loseBytes()
	})
}

// fill has a large group removed. The groups with little hold up the logs then, and shorten theirs while much is
// written.
func (f *filed) fill() {
	f.t.Helper()
	for i := range filedGroups {
		f.write(f.servers[i%3].ID, filedGroup(i), 12, 10_000)
	}
	f.write("a", "large", 25, 1<<20) // a little less than that after which a host asks for the holders
	f.remove("large")
	require.Zero(f.t, f.asked.Load())
	require.Empty(f.t, f.took())
	f.write("a", "busy", 2, 1<<20)
	synctest.Wait()
	require.EqualValues(f.t, 3, f.asked.Load(), "each host has asked its storage once")
	require.Positive(f.t, f.named.Load())
	taken := f.took()
	require.NotEmpty(f.t, taken)
	require.NotContains(f.t, taken, raft.GroupID("busy"))
	f.check()
}

// makeAnew has groups removed, and others of the same names come. They know nothing of those before.
func (f *filed) makeAnew() {
	f.t.Helper()
	for i := range 5 {
		f.remove(filedGroup(i))
	}
	time.Sleep(time.Second)
	for i := range 5 {
		_, err := f.running["c"].Group(filedGroup(i))
		require.ErrorIs(f.t, err, raft.ErrConfig, "there is no such group")
	}
	f.hosts.mu.Lock()
	clear(f.unknown)
	f.hosts.mu.Unlock()
	f.write("c", filedGroup(0), 1, 100)
	f.write("b", filedGroup(1), 30, 2000)
	f.check()
}

// boundLogs has the logs of all groups kept together within the bound.
func (f *filed) boundLogs() {
	f.t.Helper()
	for i := range filedGroups {
		f.write(f.servers[i%3].ID, filedGroup(i), 2, 2000)
	}
	synctest.Wait()
	require.NotEmpty(f.t, f.took())
	for id, host := range f.running {
		require.LessOrEqual(f.t, host.Status().LogBytes, uint64(f.logBytes+f.logBytes/8), "of %s", id)
	}
	f.check()
}

// loseBytes damages one entry of a group in the files of a host that is down, and all that is known of another group.
func (f *filed) loseBytes() {
	f.t.Helper()
	repaired, refused := filedGroup(7), filedGroup(9)
	require.Positive(f.t, f.flip("b", fmt.Sprintf("command 14 of %s ", repaired)))
	require.Positive(f.t, f.flip("b", string(refused)))
	for range 2 { // it is the same after the next start
		f.startAll()
		_, err := f.running["b"].Group(refused)
		require.ErrorIs(f.t, err, raft.ErrCorrupt)
		for i := range filedGroups {
			f.write(f.servers[2*(i%2)].ID, filedGroup(i), 1, 1000) // at a and c, which have all of them
		}
		want := f.want[refused]
		delete(f.want, refused)
		f.check()
		for _, id := range []raft.ServerID{"a", "c"} {
			node, err := f.running[id].Group(refused)
			require.NoError(f.t, err)
			require.NoError(f.t, node.Read(f.t.Context()))
			require.Equal(f.t, want, f.of[id][refused].counted())
		}
		f.want[refused] = want
		require.NoError(f.t, f.running["b"].Err())
		f.closeAll()
	}
}
