package wal_test

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal"
)

var (
	flips    = flag.Int("flips", 4, "how often TestFlippedBytes damages a file of a server")
	flipSeed = flag.Uint64("flip-seed", 1, "decides which files TestFlippedBytes damages, where, and how")
)

// patientFlips is from how many flips on some are left for the servers to find: that takes a while,
// since a server rests for 60 election timeouts between two passes over its log.
const patientFlips = 10

// A saboteur damages files of a fleet's servers, one server at a time.
type saboteur struct {
	*fleet
	luck *rand.Rand
	// counts says how often each thing was done or has happened.
	counts map[string]int
}

// TestFlippedBytes flips bytes in the files of three servers under load, while they run and while
// they are down. The next server's turn comes when the last one lacks nothing any more. So of each
// entry two copies are sound, and nothing that was acknowledged is lost. A server that refuses its log
// says so by the name of the file, and gets an empty disk.
//
//	go test ./wal -run TestFlippedBytes -v -timeout 30m -flips 100
func TestFlippedBytes(t *testing.T) {
	if *flips == 0 {
		t.Skip("-flips is 0")
	}
	election := 500 * time.Millisecond
	if *flips >= patientFlips {
		election = 150 * time.Millisecond
	}
	w := &saboteur{fleet: startFleet(t, election), luck: rand.New(rand.NewPCG(*flipSeed, 0)), counts: map[string]int{}}
	w.await(func() bool {
		for _, s := range w.servers {
			if status, _ := w.status(s); status.Snapshot == 0 {
				return false
			}
		}
		return true
	}, "there are no snapshots")
	for range *flips {
		w.trial(w.servers[w.luck.IntN(len(w.servers))])
	}
	repaired := int64(0)
	for _, s := range w.servers {
		require.True(t, w.sound(s))
		repaired += s.repaired + s.last.Repaired
	}
	w.compare()
	t.Logf("%d commands acknowledged; %d entries repaired; %v", w.count(), repaired, w.counts)
}

// trial damages a file of a server, and waits until the server is sound.
func (w *saboteur) trial(s *fleetServer) {
	killed, way := w.luck.IntN(2) == 0, w.luck.IntN(4)
	if *flips < patientFlips {
		way %= 3
	}
	switch way {
	case 0, 1: // while it is down
		w.stop(s, killed)
		w.damage(s, true)
	case 2: // and found by the next start
		w.damage(s, false)
		w.stop(s, killed)
	default: // and found by the server itself, in its second pass over the log
		w.damage(s, false)
		before := s.last.Passes
		w.await(func() bool {
			status, ok := w.status(s)
			return !ok || status.Passes >= before+2
		}, "server %s doesn't read its log", s.ID)
		require.True(w.t, w.sound(s), "server %s: %+v", s.ID, s.end)
		killed = false
		w.close(s)
		w.requireFound(s)
	}
	w.start(s, nil)
	switch {
	case w.sound(s):
	case s.last.RolledBack:
		// After a kill, damage to the last record may look as if the record had never been written.
		require.True(w.t, killed, "server %s was closed", s.ID)
		w.counts["went back"]++
		w.kill(s)
		w.replace(s)
	default:
		require.NotNil(w.t, s.end, "server %s has died", s.ID)
		require.True(w.t, s.end.Corrupt, "server %s: %s", s.ID, s.end.Err)
		require.Contains(w.t, s.end.Err, s.folder+"/", "server %s", s.ID)
		w.counts["refused"]++
		w.replace(s)
	}
}

// requireFound demands that a server which has read its log and its snapshot has a sound one now. Its log may
// still have damage that it can't see while it runs: between the entries.
func (w *saboteur) requireFound(s *fleetServer) {
	report, err := wal.Inspect(s.folder, wal.Options{}, nil)
	require.NoError(w.t, err)
	require.NoError(w.t, report.Err)
	for _, snapshot := range report.Snapshots {
		if snapshot.Current {
			require.NoError(w.t, snapshot.Err, "server %s", s.ID)
		}
	}
	w.counts["looked for it itself"]++
	if len(report.Saved.Lost) > 0 {
		w.counts["between the entries"]++
	}
}

// stop ends a server. What it had acknowledged alone with another one is everywhere then, so that a
// server whose last record is damaged takes nothing away.
func (w *saboteur) stop(s *fleetServer, kill bool) {
	if !kill {
		w.counts["closed"]++
		w.close(s)
		return
	}
	w.counts["killed"]++
	w.kill(s)
	w.goOn()
}

// damage damages a file of a server.
func (w *saboteur) damage(s *fleetServer, down bool) {
	w.t.Helper()
	if !down {
		w.status(s) // whose passes are counted from here on
	}
	for {
		name := w.choose(s, down)
		if name == "" {
			continue
		}
		at, how, err := w.flip(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just got another name
		}
		require.NoError(w.t, err)
		w.counts["in "+cmp.Or(filepath.Ext(name), filepath.Base(name))]++
		w.counts[map[bool]string{true: "down", false: "running"}[down]]++
		w.t.Logf("%s, %s at %d of %s", s.ID, how, at, filepath.Base(name))
		return
	}
}

// choose chooses a file of a server: mostly a segment that its log needs, often a snapshot, and the
// anchor now and then.
func (w *saboteur) choose(s *fleetServer, down bool) string {
	var names []string
	switch kind := w.luck.IntN(10); {
	case kind == 0 && down:
		return filepath.Join(s.folder, "ANCHOR")
	case kind <= 3:
		names, _ = filepath.Glob(filepath.Join(s.folder, "*.snapshot"))
	case down:
		report, err := wal.Inspect(s.folder, wal.Options{}, nil)
		require.NoError(w.t, err)
		for _, segment := range report.Segments {
			names = append(names, filepath.Join(s.folder, segment.Name))
		}
	default:
		names, _ = filepath.Glob(filepath.Join(s.folder, "*.wal"))
	}
	if len(names) == 0 {
		return ""
	}
	return names[w.luck.IntN(len(names))]
}

// flip flips a bit of a file, replaces up to 64 of its bytes, or a page. It does so before the zeros
// at its end, and says where and what.
func (w *saboteur) flip(name string) (at int64, how string, err error) {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return 0, "", err
	}
	defer file.Close()
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, "", err
	}
	used := bytes.TrimRight(content, "\x00")
	if len(used) == 0 {
		return 0, "", fs.ErrNotExist // it holds nothing
	}
	at = w.luck.Int64N(int64(len(used)))
	size := 0
	switch w.luck.IntN(3) {
	case 0:
		_, err = file.WriteAt([]byte{used[at] ^ 1<<w.luck.IntN(8)}, at)
		return at, "a bit", err
	case 1:
		how, size = "a few bytes", 1+w.luck.IntN(64)
	default:
		how, size, at = "a page", 4096, at&^4095
	}
	b := used[at:min(int(at)+size, len(used))]
	for i := range b {
		b[i] ^= byte(1 + w.luck.IntN(255))
	}
	_, err = file.WriteAt(b, at)
	return at, how, err
}
