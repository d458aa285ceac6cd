package wal_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal/internal/strace"
)

var (
	failures    = flag.Int("failures", 4, "how many calls to the file system fail in TestFailingCalls")
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
	u := &unlucky{fleet: startFleet(t, 500*time.Millisecond), luck: rand.New(rand.NewPCG(*failureSeed, 0)), counts: map[string]int{}}
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
	u.t.Logf("%s at server %s, %s: %+v", call, s.ID, failed, s.end)
	u.requireNamed(s, failed)
	calls, err := strace.Read(out, s.folder)
	require.NoError(u.t, err)
	var d doubt
	require.NoError(u.t, d.follow(calls, s.folder), "%s at server %s, %s", call, s.ID, failed)
	for name, ranges := range d.lacks {
		u.lose(name, ranges)
	}
	for _, n := range slices.Backward(d.nameless) {
		u.unname(n)
	}
	u.start(s, nil)
	require.True(u.t, u.sound(s), "server %s after %s, %s: %+v", s.ID, call, failed, s.end)
}

// awaitFailure waits until a call has failed, and returns a text that names it; "" if the server doesn't
// come to it soon.
func (u *unlucky) awaitFailure(s *fleetServer, out string) string {
	for late := time.Now().Add(5 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(out)
		require.NoError(u.t, err)
		if !bytes.Contains(text, []byte("(INJECTED)")) {
			continue
		}
		calls, err := strace.Read(out, u.folder)
		require.NoError(u.t, err)
		for _, c := range calls {
			if c.Error != "" && (c.Name == "pwrite64" || c.Name == "fdatasync" || c.Name == "fsync") {
				return fmt.Sprintf("%s of %s", c.Name, strings.TrimPrefix(c.Path, u.folder+"/"))
			}
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

// unname takes back that a file has got a name.
func (u *unlucky) unname(n naming) {
	u.counts["names lost"]++
	if n.from != "" {
		require.NoError(u.t, os.Rename(n.name, n.from))
		return
	}
	require.NoError(u.t, os.Remove(n.name))
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

// A naming gave a file a name. from is its name before; "" if the file was created.
type naming struct{ name, from string }

// A doubt is what a disk may lack although a sync was tried: what was written before a sync that has
// failed, or by a write that has failed, and not once more; and names that were given before a sync of
// their folder that has failed.
type doubt struct {
	written, lacks  map[string]extents // by file
	given, nameless []naming
}

// follow follows the calls of a process. It returns an error if a sync succeeds that can't make good
// what has failed in its file before.
func (d *doubt) follow(calls []strace.Call, folder string) error {
	d.written, d.lacks = map[string]extents{}, map[string]extents{}
	for i, c := range calls {
		r := extent{c.Offset, c.Offset + c.Size}
		switch {
		case c.Name == "pwrite64":
			d.written[c.Path] = append(d.written[c.Path], r)
			d.lacks[c.Path] = d.lacks[c.Path].without(r)
			if c.Error != "" {
				d.lacks[c.Path] = append(d.lacks[c.Path], r)
			}
		case c.Name == "fsync" && c.Path == folder:
			if c.Error != "" {
				d.nameless = append(d.nameless, d.given...)
			}
			d.given = nil
		case c.Name == "fdatasync" || c.Name == "fsync":
			if lacks := d.lacks[c.Path]; c.Error == "" && len(lacks) > 0 {
				return fmt.Errorf("call %d syncs %s, in which a call has failed: %v", i, c.Path, lacks)
			}
			if c.Error != "" {
				d.lacks[c.Path] = append(d.lacks[c.Path], d.written[c.Path]...)
			}
			delete(d.written, c.Path)
		case c.Error != "":
		case c.New:
			d.name(naming{name: c.Path})
		case c.Name == "renameat" || c.Name == "renameat2":
			d.written[c.To], d.lacks[c.To] = d.written[c.Path], d.lacks[c.Path]
			d.forget(c.Path)
			d.name(naming{c.To, c.Path})
		case c.Name == "unlinkat":
			d.forget(c.Path)
		}
	}
	return nil
}

// name notes that a file has got a name.
func (d *doubt) name(n naming) {
	d.nameless = slices.DeleteFunc(d.nameless, func(old naming) bool { return old.name == n.name })
	d.given = append(d.given, n)
}

// forget notes that a name is gone.
func (d *doubt) forget(name string) {
	delete(d.written, name)
	delete(d.lacks, name)
	for _, names := range []*[]naming{&d.given, &d.nameless} {
		*names = slices.DeleteFunc(*names, func(old naming) bool { return old.name == name })
	}
}
