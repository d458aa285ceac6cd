package raft_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
)

// A striker does damage to files of the disks that a history has left.
type striker struct {
	t       *testing.T
	luck    *rand.Rand
	history *filesHistory
	foreign *filesHistory // of another cluster
	disks   map[raft.ServerID]*simfs.FS
	struck  map[raft.ServerID]map[string]bool // the files that have changed, by server
	told    []string
}

// newStriker returns a striker of copies of a history's disks.
func newStriker(t *testing.T, luck *rand.Rand, history, foreign *filesHistory) *striker {
	s := &striker{t: t, luck: luck, history: history, foreign: foreign,
		disks: map[raft.ServerID]*simfs.FS{}, struck: map[raft.ServerID]map[string]bool{}}
	for _, id := range history.ids {
		s.disks[id] = history.files[id].Clone()
	}
	return s
}

func (s *striker) String() string { return strings.Join(s.told, "; ") }

// A reach says whose files are taken to do damage to a server.
type reach bool

const (
	ownFiles    reach = false // what is exchanged is of this server alone
	othersFiles reach = true  // files may be exchanged with those of other servers
)

// strike does so many kinds of damage to a server's disk.
func (s *striker) strike(id raft.ServerID, times int, reach reach) {
	for done := 0; done < times; {
		if s.once(id, reach) {
			done++
		}
	}
}

// once tries one kind of damage, and says whether a file has changed.
func (s *striker) once(id raft.ServerID, reach reach) bool {
	name := s.file(id)
	switch s.luck.IntN(9) {
	case 0, 1:
		return s.shorten(id, name)
	case 2, 3:
		return s.zero(id, name)
	case 4:
		return s.scramble(id, name)
	case 5:
		s.remove(id, name)
		return true
	case 6:
		if other := s.otherServer(id); reach == othersFiles && s.luck.IntN(2) == 0 {
			return s.exchange(id, name, other, s.matching(s.disks[other], name))
		}
		return s.exchange(id, name, id, s.file(id))
	case 7:
		return s.goBack(id)
	default:
		return s.replace(id, name)
	}
}

// hunt flips a bit of a command wherever it stands in some servers' segments.
func (s *striker) hunt(ids []raft.ServerID, command string) {
	for _, id := range ids {
		for _, name := range filesOf(s.disks[id], ".wal") {
			if at := bytes.Index(s.disks[id].Bytes(name), []byte(command)); at >= 0 {
				require.True(s.t, s.disks[id].Rot(name, int64(at), 1<<(at%8)))
				s.note(id, name, "a bit of %.12q", command)
			}
		}
	}
}

// file draws a file of a server: each kind of file as often as any other, but segments more often.
func (s *striker) file(id raft.ServerID) string {
	kinds := []string{".wal", ".wal", ".wal", ".snapshot", "ANCHOR", "RESERVE", "BALLAST", ".ready"}
	for {
		if names := filesOf(s.disks[id], kinds[s.luck.IntN(len(kinds))]); len(names) > 0 {
			return names[s.luck.IntN(len(names))]
		}
	}
}

// filesOf returns the files of a kind.
func filesOf(fs *simfs.FS, kind string) []string {
	return slices.DeleteFunc(fs.Names(), func(name string) bool { return !strings.HasSuffix(name, kind) })
}

// matching draws a file of another disk to take the place of a file: often of the same name, and else
// of the same kind. It returns "" if there is none.
func (s *striker) matching(fs *simfs.FS, name string) string {
	if s.luck.IntN(2) == 0 && slices.Contains(fs.Names(), name) {
		return name
	}
	names := filesOf(fs, filepath.Ext(name))
	if len(names) == 0 {
		return ""
	}
	return names[s.luck.IntN(len(names))]
}

func (s *striker) otherServer(id raft.ServerID) raft.ServerID {
	ids := s.history.ids
	return ids[(slices.Index(ids, id)+1+s.luck.IntN(len(ids)-1))%len(ids)]
}

// place draws a place in a file: where a record begins or ends, or close to it; where a sector
// begins; where its zeros begin; or any.
func (s *striker) place(id raft.ServerID, name string, old []byte) int {
	at := s.luck.IntN(len(old) + 1)
	switch marks := s.history.marks[string(id)+name]; s.luck.IntN(5) {
	case 0, 1:
		if len(marks) > 0 {
			at = int(marks[s.luck.IntN(len(marks))]) + []int{-8, -1, 0, 0, 0, 1, 20, 40, 90}[s.luck.IntN(9)]
		}
	case 2:
		at &^= simfs.SectorSize - 1
	case 3:
		at = len(bytes.TrimRight(old, "\x00")) - s.luck.IntN(50)
	}
	return max(min(at, len(old)), 0)
}

// put writes a file anew.
func (s *striker) put(id raft.ServerID, name string, data []byte, format string, arguments ...any) bool {
	fs := s.disks[id]
	there := slices.Contains(fs.Names(), name)
	if there && bytes.Equal(fs.Bytes(name), data) {
		return false
	}
	if there {
		require.NoError(s.t, fs.Remove(name))
	}
	file, err := fs.Create(name)
	require.NoError(s.t, err)
	_, err = file.WriteAt(data, 0)
	require.NoError(s.t, err)
	require.NoError(s.t, file.Close())
	fs.Flush()
	s.note(id, name, format, arguments...)
	return true
}

// note remembers that a file has changed.
func (s *striker) note(id raft.ServerID, name, format string, arguments ...any) {
	if s.struck[id] == nil {
		s.struck[id] = map[string]bool{}
	}
	s.struck[id][filepath.Base(name)] = true
	s.told = append(s.told, fmt.Sprintf("%s/%s: %s", id, filepath.Base(name), fmt.Sprintf(format, arguments...)))
}

func (s *striker) shorten(id raft.ServerID, name string) bool {
	old := s.disks[id].Bytes(name)
	at := s.place(id, name, old)
	return s.put(id, name, old[:at], "cut at %d", at)
}

func (s *striker) zero(id raft.ServerID, name string) bool {
	data := s.disks[id].Bytes(name)
	from := s.place(id, name, data)
	to := len(data)
	switch s.luck.IntN(3) {
	case 0:
		to = s.place(id, name, data)
	case 1:
		to = min(from+[]int{1, 8, 40, 512, 4096}[s.luck.IntN(5)], len(data))
	}
	from, to = min(from, to), max(from, to)
	clear(data[from:to])
	return s.put(id, name, data, "zeros from %d to %d", from, to)
}

func (s *striker) scramble(id raft.ServerID, name string) bool {
	data := s.disks[id].Bytes(name)
	from := s.place(id, name, data)
	to := min(from+[]int{1, 1, 8, 100, 5000}[s.luck.IntN(5)], len(data))
	for i := from; i < to; i++ {
		data[i] ^= byte(1 + s.luck.IntN(255))
	}
	return s.put(id, name, data, "other bytes from %d to %d", from, to)
}

func (s *striker) remove(id raft.ServerID, name string) {
	require.NoError(s.t, s.disks[id].Remove(name))
	s.disks[id].Flush()
	s.note(id, name, "gone")
}

// exchange exchanges two files.
func (s *striker) exchange(one raft.ServerID, name string, two raft.ServerID, other string) bool {
	first, second := s.disks[one].Bytes(name), s.disks[two].Bytes(other)
	if other == "" || bytes.Equal(first, second) {
		return false
	}
	return s.put(one, name, second, "exchanged with %s of %s", filepath.Base(other), two) &&
		s.put(two, other, first, "exchanged with %s of %s", filepath.Base(name), one)
}

// goBack puts an older copy of a file in its place. The file may be gone since.
func (s *striker) goBack(id raft.ServerID) bool {
	older := s.history.older[id]
	if len(older) == 0 {
		return false
	}
	kind := s.file(id)
	if s.luck.IntN(4) > 0 { // of any kind, or of one that is there
		older = slices.DeleteFunc(slices.Clone(older), func(f earlierFile) bool { return filepath.Ext(f.name) != filepath.Ext(kind) })
	}
	if len(older) == 0 {
		return false
	}
	at := s.luck.IntN(len(older))
	return s.put(id, older[at].name, older[at].bytes, "as it once was, in copy %d", at)
}

// replace puts a file of another server, or of another cluster, in the place of a file.
func (s *striker) replace(id raft.ServerID, name string) bool {
	from, where, other := s.history, "", s.otherServer(id)
	if s.luck.IntN(2) == 0 {
		from, where = s.foreign, " in another cluster"
	}
	fs := from.files[other]
	file := s.matching(fs, name)
	return file != "" && s.put(id, name, fs.Bytes(file), "replaced by %s of %s%s", filepath.Base(file), other, where)
}
