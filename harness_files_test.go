package raft_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// An ending is how the processes of three servers ended.
type ending string

const (
	closed     ending = "closed"         // all of them closed their logs
	killed     ending = "killed at rest" // when nothing had been written for a while
	cut        ending = "cut at rest"    // so had the power
	killedBusy ending = "killed in the middle"
	cutBusy    ending = "cut in the middle"
)

// What a fault may hide of what was acknowledged last, as README and the documentation of wal say:
// the last 10 ms before a kill, and about a second before a power cut.
var hidden = map[ending]time.Duration{killedBusy: 10 * time.Millisecond, cutBusy: 1100 * time.Millisecond}

// An acknowledgement is a command that was acknowledged, with its place in the order of all
// commands.
type acknowledgement struct {
	command string
	place   int // the result of the journal: 1 for the first command
	at      time.Time
}

// A filesHistory is what three servers with real logs of many small segments have written, and what
// they have acknowledged.
type filesHistory struct {
	*cluster
	luck          *rand.Rand
	seed          uint64
	segment       int64 // the size of segments
	snapshotEvery int   // bytes of the log
	files         map[raft.ServerID]*simfs.FS

	mu      sync.Mutex
	sent    map[string]bool
	acked   []acknowledgement
	callers sync.WaitGroup

	ended ending
	end   time.Time
	whole bool                            // each server has applied all that was acknowledged
	older map[raft.ServerID][]earlierFile // what files have held earlier
	base  map[raft.ServerID]*wal.Report   // of the disks in the end
	marks map[string][]int64              // where records begin, by server and file
}

// An earlierFile is a file as it once was.
type earlierFile struct {
	name  string
	bytes []byte
}

// logDir is the directory of each log on its own disk.
const logDir = "log"

// options are those of a server's log on a disk.
func (h *filesHistory) options(id raft.ServerID, fs *simfs.FS) wal.Options {
	return wal.Options{FS: fs, SegmentSize: h.segment, Salt: h.seed<<8 + uint64(id[0]), Logger: slog.New(slog.DiscardHandler)}
}

// newFilesHistory runs three servers for real: commands of many sizes, snapshots, servers that are
// restarted or cut off. In the end it ends them all.
func newFilesHistory(t *testing.T, seed uint64) *filesHistory {
	h := &filesHistory{
		cluster: newCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond}),
		luck:    rand.New(rand.NewPCG(seed, 2)), seed: seed, files: map[raft.ServerID]*simfs.FS{},
		sent: map[string]bool{}, older: map[raft.ServerID][]earlierFile{}, base: map[raft.ServerID]*wal.Report{}, marks: map[string][]int64{},
	}
	h.segment = []int64{wal.MinSegmentSize, 8 << 10, 16 << 10}[h.luck.IntN(3)]
	h.snapshotEvery = []int{4 << 10, 16 << 10, 1 << 20}[h.luck.IntN(3)]
	h.adjust = func(config *raft.Config) {
		h.configure(config)
		log, err := wal.Open(logDir, h.options(config.ID, h.files[config.ID]))
		require.NoError(h.t, err)
		config.Storage = log
	}
	for _, id := range h.ids {
		h.files[id] = simfs.New(seed<<8 + uint64(id[0]))
		h.start(id)
	}
	for range 12 + h.luck.IntN(24) {
		h.step()
	}
	h.finish()
	h.inspect()
	return h
}

// configure makes limits small enough for a small history.
func (h *filesHistory) configure(config *raft.Config) {
	config.Seed = h.seed<<8 + uint64(config.ID[0])
	config.ReserveBytes, config.MaxCommandBytes = 1<<10, 1<<10
	config.TailBytes, config.MaxAppendBytes = 2<<10, 2<<10
	config.SnapshotMinBytes, config.SnapshotFactor = h.snapshotEvery, 1
}

// any draws a server.
func (h *filesHistory) any() raft.ServerID { return h.ids[h.luck.IntN(len(h.ids))] }

// step does one thing at random.
func (h *filesHistory) step() {
	switch id := h.any(); h.luck.IntN(20) {
	case 0, 1:
		_, _ = h.nodes[id].Snapshot(within(h.t, time.Minute)) // there may be nothing to take one of
	case 2:
		h.restart(id)
	case 3:
		h.network.Isolate(id)
		h.propose(h.otherThan(id), 1+h.luck.IntN(6))
		h.network.Heal()
	case 4, 5, 6:
		for _, name := range h.files[id].Names() {
			h.older[id] = append(h.older[id], earlierFile{name, h.files[id].Bytes(name)})
		}
	case 7:
		time.Sleep(time.Duration(h.luck.IntN(2000)) * time.Millisecond)
	case 8:
		_ = h.nodes[id].TransferLeadership(within(h.t, 4*electionTimeout), h.otherThan(id)) // it may lead already
	default:
		h.propose(id, 1+h.luck.IntN(6))
	}
}

func (h *filesHistory) otherThan(id raft.ServerID) raft.ServerID {
	return h.ids[(slices.Index(h.ids, id)+1+h.luck.IntN(2))%3]
}

// restart ends one server in one of three ways, and starts it again. The others go on meanwhile.
func (h *filesHistory) restart(id raft.ServerID) {
	how := h.luck.IntN(3)
	if how == 0 {
		require.NoError(h.t, h.nodes[id].Close(context.Background()))
	}
	h.stopDisk(id, how == 2)
	_ = h.nodes[id].Close(context.Background()) // its disk may have failed
	h.propose(h.otherThan(id), h.luck.IntN(6))
	h.start(id)
}

// stopDisk ends the process of a server, as its disk sees it.
func (h *filesHistory) stopDisk(id raft.ServerID, power bool) {
	if power {
		h.files[id].Cut()
	} else {
		h.files[id].Kill()
	}
}

// propose proposes some commands at a server, and waits for what becomes of them.
func (h *filesHistory) propose(id raft.ServerID, count int) {
	for range count {
		h.call(id, h.command(), 20*time.Second)
	}
}

// command makes up a command that differs from all others.
func (h *filesHistory) command() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	size := []int{1, 20, 100, 300, 900}[h.luck.IntN(5)]
	command := fmt.Sprintf("command %d, %s", len(h.sent), strings.Repeat(string(rune('a'+len(h.sent)%26)), size))
	h.sent[command] = true
	return command
}

// call proposes a command, and notes its acknowledgement.
func (h *filesHistory) call(id raft.ServerID, command string, patience time.Duration) {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	result, err := h.nodes[id].Propose(ctx, []byte(command))
	if err != nil {
		return // nobody was promised anything
	}
	var place int
	_, err = fmt.Sscan(string(result), &place)
	require.NoError(h.t, err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = append(h.acked, acknowledgement{command, place, time.Now()})
}

// finish ends all servers.
func (h *filesHistory) finish() {
	h.propose(h.any(), 3)
	h.ended = []ending{closed, closed, killed, cut, killedBusy, cutBusy}[h.luck.IntN(6)]
	_, busy := hidden[h.ended]
	behind := raft.ServerID("")
	if h.luck.IntN(3) == 0 {
		behind = h.any()
		h.network.Isolate(behind)
		h.propose(h.otherThan(behind), 1+h.luck.IntN(8))
	}
	if busy {
		for range 1 + h.luck.IntN(12) {
			id, command := h.any(), h.command()
			h.callers.Go(func() { h.call(id, command, time.Minute) })
			time.Sleep(time.Duration(h.luck.IntN(700)) * time.Microsecond)
		}
	} else {
		for _, id := range h.ids {
			if id != behind {
				require.NoError(h.t, h.nodes[id].Read(within(h.t, time.Minute)))
			}
		}
		time.Sleep(3 * time.Second)
	}
	h.whole = !busy && behind == ""
	if h.ended == closed {
		for _, id := range h.ids {
			require.NoError(h.t, h.nodes[id].Close(context.Background()))
		}
	}
	h.end = time.Now()
	for _, id := range h.ids {
		h.stopDisk(id, h.ended == cut || h.ended == cutBusy)
	}
	for _, id := range h.ids {
		_ = h.nodes[id].Close(context.Background()) // its disk may have failed
		h.files[id].Kill()
		h.files[id].Flush()
	}
	h.callers.Wait()
	slices.SortFunc(h.acked, func(a, b acknowledgement) int { return a.place - b.place })
}

// inspect finds out what the disks hold, and where records begin.
func (h *filesHistory) inspect() {
	for _, id := range h.ids {
		report, err := wal.Inspect(logDir, h.options(id, h.files[id]), func(r *wal.Record) error {
			key := string(id) + logDir + "/" + r.Segment
			h.marks[key] = append(h.marks[key], r.Offset)
			return nil
		})
		require.NoError(h.t, err)
		require.NoError(h.t, report.Err, "history %d", h.seed)
		require.Empty(h.t, report.Saved.Lost, "history %d", h.seed)
		h.base[id] = &report
		for _, s := range report.Segments {
			key := string(id) + logDir + "/" + s.Name
			h.marks[key] = append(h.marks[key], s.End)
		}
		h.marks[string(id)+filepath.Join(logDir, "ANCHOR")] = []int64{0, 64 << 10}
	}
}

// afterwards is how commands begin that are proposed after the damage.
const afterwards = "afterwards"

// disagreement returns what is wrong with the commands that a server has applied, or "". A server
// that answers has applied all that was acknowledged; another one may have applied less. What was
// acknowledged so shortly before the end may be missing.
func (h *filesHistory) disagreement(applied []string, role answering, lately time.Duration) string {
	seen := map[string]bool{}
	for _, command := range applied {
		if seen[command] || !h.sent[command] && !strings.HasPrefix(command, afterwards) {
			return fmt.Sprintf("%.30q was applied twice, or never sent", command)
		}
		seen[command] = true
	}
	for _, a := range h.acked {
		if lately > 0 && a.at.After(h.end.Add(-lately)) {
			continue
		}
		if a.place > len(applied) {
			if role == answers {
				return fmt.Sprintf("%.30q is missing at %d: %d were applied", a.command, a.place, len(applied))
			}
			continue
		}
		if applied[a.place-1] != a.command {
			return fmt.Sprintf("%.30q was acknowledged at %d, where %.30q was applied", a.command, a.place, applied[a.place-1])
		}
	}
	return ""
}

// An answering says whether a server answers reads.
type answering bool

const (
	answers     answering = true
	keepsSilent answering = false
)
