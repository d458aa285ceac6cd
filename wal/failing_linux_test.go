package wal_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal/internal/strace"
)

var (
	failures    = flag.Int("failures", 6, "how many calls to the file system fail in TestFailingCalls")
	failureSeed = flag.Uint64("failure-seed", 1, "decides which calls fail in TestFailingCalls")
)

// An unlucky is a fleet in which calls of one server to the file system fail.
type unlucky struct {
	*fleet
	luck   *rand.Rand
	counts map[string]int
}

// TestFailingCalls lets writes and syncs of servers under load fail, by strace, one server at a time.
// The server ends and names the call and the file, or it makes good what has failed: no sync is
// believed that comes after one that failed, unless everything was written once more. What the disk
// may lack after the failed call is taken away, and then the server starts and has all that was acknowledged.
//
//	go test ./wal -run TestFailingCalls -v -timeout 30m -failures 100
func TestFailingCalls(t *testing.T) {
	if err := strace.Possible(); err != nil {
		t.Skip(err)
	}
	u := &unlucky{fleet: startFleet(t), luck: rand.New(rand.NewPCG(*failureSeed, 0)), counts: map[string]int{}}
	for range *failures {
		u.trial(u.servers[u.luck.IntN(len(u.servers))])
	}
	u.compare()
	t.Logf("%d commands acknowledged; %v", u.count(), u.counts)
}

// failing are the calls that fail, and up to which of its kind in a thread is chosen.
var failing = []struct {
	call string
	most int
}{
	{"fdatasync:error=EIO", 60}, {"pwrite64:error=EIO", 80}, {"pwrite64:error=ENOSPC", 80}, {"fdatasync:error=ENOSPC", 60}, {"fsync:error=EIO", 8},
}

// trial lets a call of a server fail.
func (u *unlucky) trial(s *fleetServer) {
	kind := failing[u.luck.IntN(len(failing))]
	call := fmt.Sprintf("%s:when=%d", kind.call, 1+u.luck.IntN(kind.most))
	out := s.folder + ".trace"
	require.NoError(u.t, os.WriteFile(out, nil, 0o600))
	u.goOn()
	u.close(s)
	u.start(s, nil, strace.Failing(out, call)...)
	failed := u.awaitFailure(s, out)
	if !u.ends(s) {
		u.goOn()
		u.kill(s)
	}
	calls, err := strace.Read(out, s.folder)
	require.NoError(u.t, err)
	doubt, err := doubts(calls)
	require.NoError(u.t, err, "%s at server %s, %s", call, s.ID, failed)
	u.t.Logf("%s at server %s, %s: %+v", call, s.ID, failed, s.end)
	u.requireNamed(s, failed)
	for name, ranges := range doubt {
		u.lose(name, ranges)
	}
	u.start(s, nil)
	require.True(u.t, u.sound(s), "server %s after %s, %s: %+v", s.ID, call, failed, s.end)
}

// anInjected finds the file of a call that was made to fail.
var anInjected = regexp.MustCompile(`(?m)^\d+ +(?:(\w+)\(\d+<([^>]*)>|<\.\.\. (\w+) resumed>).*\(INJECTED\)$`)

// awaitFailure waits until a call has failed, and returns a text that names it; "" if the server doesn't
// come to it soon.
func (u *unlucky) awaitFailure(s *fleetServer, out string) string {
	for late := time.Now().Add(5 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(out)
		require.NoError(u.t, err)
		if found := anInjected.FindSubmatch(text); found != nil {
			return fmt.Sprintf("%s%s of %s", found[1], found[3], filepath.Base(string(found[2])))
		}
	}
	return ""
}

// ends says whether a server ends soon by itself.
func (u *unlucky) ends(s *fleetServer) bool {
	select {
	case <-s.ended:
		return true
	case <-time.After(time.Second):
		return false
	}
}

// requireNamed demands that a server that has ended has said why.
func (u *unlucky) requireNamed(s *fleetServer, failed string) {
	switch {
	case failed == "":
		u.counts["nothing failed"]++
		return
	case s.end == nil:
		u.counts["went on"]++ // and was killed
		return
	}
	u.counts["ended"]++
	require.False(u.t, s.end.Corrupt, s.end.Err)
	require.Regexp(u.t, "input/output error|no space left on device", s.end.Err)
	require.Contains(u.t, s.end.Err, s.folder, "the file")
}

// lose puts zeros in the place of what a disk may not have.
func (u *unlucky) lose(name string, ranges extents) {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	require.NoError(u.t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(u.t, err)
	for _, r := range ranges {
		if size := min(r.end, info.Size()) - r.at; size > 0 {
			_, err := file.WriteAt(bytes.Repeat([]byte{0}, int(size)), r.at)
			require.NoError(u.t, err)
			u.counts["lost"]++
		}
	}
}

// An extent is a part of a file, from at to end.
type extent struct{ at, end int64 }

type extents []extent

// without returns what is left of them without another one.
func (x extents) without(gone extent) (left extents) {
	for _, r := range x {
		for _, part := range []extent{{r.at, min(r.end, gone.at)}, {max(r.at, gone.end), r.end}} {
			if part.at < part.end {
				left = append(left, part)
			}
		}
	}
	return left
}

// doubts returns, for each file, what its disk may lack although a sync was tried: what was written
// before a sync that has failed, and not once more. It returns an error if a file with something of
// that kind was synced again.
func doubts(calls []strace.Call) (map[string]extents, error) {
	written, doubtful := map[string]extents{}, map[string]extents{}
	for i, c := range calls {
		r := extent{c.Offset, c.Offset + c.Size}
		switch c.Name {
		case "pwrite64":
			written[c.Path] = append(written[c.Path], r)
			doubtful[c.Path] = doubtful[c.Path].without(r)
			if c.Error != "" {
				doubtful[c.Path] = append(doubtful[c.Path], r)
			}
		case "fdatasync", "fsync":
			if c.Error != "" {
				doubtful[c.Path] = append(doubtful[c.Path], written[c.Path]...)
			} else if lacks := doubtful[c.Path]; len(lacks) > 0 {
				return nil, fmt.Errorf("call %d syncs %s, in which a call has failed: %v", i, c.Path, lacks)
			}
			delete(written, c.Path)
		case "renameat", "renameat2":
			if c.Error == "" {
				written[c.To], doubtful[c.To] = written[c.Path], doubtful[c.Path]
				delete(written, c.Path)
				delete(doubtful, c.Path)
			}
		case "unlinkat":
			if c.Error == "" {
				delete(written, c.Path)
				delete(doubtful, c.Path)
			}
		}
	}
	return doubtful, nil
}
