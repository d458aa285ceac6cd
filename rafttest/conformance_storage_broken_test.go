package rafttest_test

import (
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wal/vfs"
)

// A flawed storage behaves like the storage within it, except for the methods that are set.
type flawed struct {
	raft.Storage
	load    func() (raft.Saved, error)
	write   func(raft.Write) error
	entries func(after, last raft.Index, maxBytes int) ([]raft.Entry, error)
	create  func(raft.SnapshotMeta) (raft.SnapshotWriter, error)
	open    func() (raft.SnapshotMeta, io.ReadCloser, error)
	close   func() error
}

func (f *flawed) Load() (raft.Saved, error) {
	if f.load != nil {
		return f.load()
	}
	return f.Storage.Load()
}

func (f *flawed) Write(w raft.Write) error {
	if f.write != nil {
		return f.write(w)
	}
	return f.Storage.Write(w)
}

func (f *flawed) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	if f.entries != nil {
		return f.entries(after, last, maxBytes)
	}
	return f.Storage.Entries(after, last, maxBytes)
}

func (f *flawed) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	if f.create != nil {
		return f.create(meta)
	}
	return f.Storage.CreateSnapshot(meta)
}

func (f *flawed) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	if f.open != nil {
		return f.open()
	}
	return f.Storage.OpenSnapshot()
}

func (f *flawed) Close() error {
	if f.close != nil {
		return f.close()
	}
	return f.Storage.Close()
}

// with gives a flaw to every storage that a disk opens.
func with(newDisk func() rafttest.Disk, flaw func(f *flawed)) func() rafttest.Disk {
	return func() rafttest.Disk {
		disk := newDisk()
		open := disk.Open
		disk.Open = func() (raft.Storage, error) {
			storage, err := open()
			if err != nil {
				return nil, err
			}
			f := &flawed{Storage: storage}
			flaw(f)
			return f, nil
		}
		return disk
	}
}

// A lazyFS leaves out the syncs of files, of directories, or both.
type lazyFS struct {
	vfs.FS
	files, dirs bool // whether they are synced
}

func (l lazyFS) Create(name string) (vfs.File, error) {
	file, err := l.FS.Create(name)
	return lazyFile{file, l.files}, err
}

func (l lazyFS) Open(name string) (vfs.File, error) {
	file, err := l.FS.Open(name)
	return lazyFile{file, l.files}, err
}

func (l lazyFS) SyncDir(dir string) error {
	if l.dirs {
		return l.FS.SyncDir(dir)
	}
	return nil
}

type lazyFile struct {
	vfs.File
	synced bool
}

func (l lazyFile) Sync() error {
	if l.synced {
		return l.File.Sync()
	}
	return nil
}

// TestStorageConvicts demands that TestStorage convicts each flawed storage of the rule that it
// breaks.
func TestStorageConvicts(t *testing.T) {
	memory := func(flaw func(f *flawed)) func() rafttest.Disk { return with(rafttest.MemoryDisk, flaw) }
	for name, c := range map[string]struct {
		disks func() rafttest.Disk
		want  []string // in the explanation
	}{
		"never syncs a file":                                {simulatedDisks(func(fs vfs.FS) (raft.Storage, error) { return openWAL(lazyFS{fs, false, true}) }), []string{"storage: state: ", "a crash"}},
		"never syncs a directory":                           {simulatedDisks(func(fs vfs.FS) (raft.Storage, error) { return openWAL(lazyFS{fs, true, false}) }), []string{"a crash"}},
		"writes state and entries apart":                    {with(simulatedDisks(openWAL), writesApart), []string{"crash within", "holds neither what it held before the last write", "either all of it is there or nothing"}},
		"writes again after a failure":                      {with(simulatedDisks(openWAL), forgetsFailure), []string{"storage: failure: ", "a Write after one that had failed returned nil"}},
		"forgets the vote":                                  {memory(forgetsVote), []string{"storage: state: ", "Load returned the state"}},
		"forgets configurations":                            {memory(forgetsConfigurations), []string{"Load returned the configurations nothing, want "}},
		"counts terms from the wrong index":                 {memory(countsTermsFromOne), []string{"storage: compaction: ", "Load returned the terms"}},
		"appends without truncation":                        {memory(keepsTail), []string{"storage: truncation: ", "is replaced"}},
		"ignores the limit of bytes":                        {memory(ignoresLimit), []string{"storage: limits: ", "bytes of data beyond the first entry"}},
		"ignores the last index":                            {memory(ignoresLast), []string{"storage: limits: ", "returned entries"}},
		"returns nothing when the first entry is too large": {memory(returnsNothingLarge), []string{"storage: limits: ", "returned nothing, want at least entry"}},
		"has another error for what is not in the log":      {memory(hasAnotherError), []string{"storage: empty: ", `returned nothing and the error EOF, want ErrCompacted`}},
		"forgets more than it may":                          {memory(forgetsMore), []string{"storage: compaction: ", "and nothing behind"}},
		"keeps what it is lent":                             {memory(keepsLent), []string{"storage: lent memory: ", "where entry 1"}},
		"uses its memory again":                             {memory(usesAgain), []string{"storage: given memory: ", "which Entries had returned earlier, has become"}},
		"takes a snapshot for current too early":            {memory(takesSnapshotEarly), []string{"storage: snapshot: ", "OpenSnapshot returned snapshot 1 and the error <nil>, want ErrNoSnapshot: no Write has named one"}},
		"fails the second end of a snapshot":                {memory(failsSecondEnd), []string{"storage: snapshot writer: ", "Abort after Abort failed"}},
		"reads whatever snapshot is current":                {memory(readsCurrent), []string{"storage: snapshot reader: ", "which was opened when it was the current one, reads as"}},
		"keeps a log that the snapshot doesn't follow":      {memory(keepsLog), []string{"storage: snapshot and log: ", ") returned entry", "want ErrCompacted: it is not in the log"}},
		"fails the second Close":                            {memory(failsSecondClose), []string{"storage: close: ", "the 2. call of Close failed"}},
		"writes after Close":                                {memory(staysOpen), []string{"storage: close: ", "Write returned no error, want one"}},
		"forgets what follows a crash":                      {with(simulatedDisks(openWAL), forgetsLater), []string{"storage: crash within: ", "storage: failure: ", "the call of Load returned "}},
		"can't be opened again":                             {opensOnce, []string{"storage: empty: after Close and open: opening the storage failed: no key"}},
		"makes too many calls to the disk":                  {neverSucceeds, []string{"storage: crash within: ", "12 writes take 4096 calls to the disk or more", "storage: failure: "}},
		"acknowledges writes while it closes":               {memory(dropsWrites), []string{"storage: close under load: ", "Load returned"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := rafttest.TestStorage(c.disks)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// writesApart writes the state before the entries, in a write of its own.
func writesApart(f *flawed) {
	f.write = func(w raft.Write) error {
		if err := f.Storage.Write(raft.Write{Number: w.Number, State: w.State}); err != nil {
			return err
		}
		return f.Storage.Write(w)
	}
}

// forgetsVote loads a state without a vote.
func forgetsVote(f *flawed) {
	f.load = func() (raft.Saved, error) {
		saved, err := f.Storage.Load()
		saved.State.Vote = ""
		return saved, err
	}
}

// forgetsConfigurations loads no configurations.
func forgetsConfigurations(f *flawed) {
	f.load = func() (raft.Saved, error) {
		saved, err := f.Storage.Load()
		saved.Configurations = nil
		return saved, err
	}
}

// countsTermsFromOne says that the first run of a term begins at index 1.
func countsTermsFromOne(f *flawed) {
	f.load = func() (raft.Saved, error) {
		saved, err := f.Storage.Load()
		if len(saved.Runs) > 0 {
			saved.Runs = slices.Clone(saved.Runs)
			saved.Runs[0].First = 1
		}
		return saved, err
	}
}

// ignoresLimit hands out as many entries as there are.
func ignoresLimit(f *flawed) {
	f.entries = func(after, last raft.Index, _ int) ([]raft.Entry, error) {
		return f.Storage.Entries(after, last, 1<<30)
	}
}

// ignoresLast hands out one entry too many.
func ignoresLast(f *flawed) {
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) { return f.Storage.Entries(after, last+1, n) }
}

// returnsNothingLarge hands out no entry if the first is larger than the limit.
func returnsNothingLarge(f *flawed) {
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		if len(entries) > 0 && len(entries[0].Data) > n {
			return nil, err
		}
		return entries, err
	}
}

// hasAnotherError fails with io.EOF where it should with ErrCompacted.
func hasAnotherError(f *flawed) {
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		if errors.Is(err, raft.ErrCompacted) {
			err = io.EOF
		}
		return entries, err
	}
}

// takesSnapshotEarly makes a snapshot the current one without a Write that names it.
func takesSnapshotEarly(f *flawed) {
	f.create = func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
		w, err := f.Storage.CreateSnapshot(meta)
		return &eagerWriter{w, f.Storage, meta}, err
	}
}

// failsSecondEnd fails the second Abort of a snapshot.
func failsSecondEnd(f *flawed) {
	f.create = func(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
		w, err := f.Storage.CreateSnapshot(meta)
		return &strictWriter{SnapshotWriter: w}, err
	}
}

// failsSecondClose fails the second Close.
func failsSecondClose(f *flawed) {
	closed := false
	f.close = func() error {
		if closed {
			return io.ErrClosedPipe
		}
		closed = true
		return f.Storage.Close()
	}
}

// staysOpen doesn't close.
func staysOpen(f *flawed) {
	f.close = func() error { return nil }
}

// forgetsFailure treats a failure as a passing one: it reports it once and then goes on as if
// nothing had happened.
func forgetsFailure(f *flawed) {
	f.write = func(w raft.Write) error {
		err := f.Storage.Write(w)
		if err != nil && f.Storage.Write(w) != nil {
			f.write = func(raft.Write) error { return nil }
		}
		return err
	}
}

// keepsTail writes the entries behind the new ones again, instead of dropping them.
func keepsTail(f *flawed) {
	f.write = func(w raft.Write) error {
		if n := len(w.Entries); n > 0 {
			if tail, err := f.Storage.Entries(w.Entries[n-1].Index, 1<<60, 1<<20); err == nil {
				w.Entries = append(slices.Clone(w.Entries), tail...)
			}
		}
		return f.Storage.Write(w)
	}
}

// forgetsMore forgets one entry too many.
func forgetsMore(f *flawed) {
	forgotten := raft.Index(0)
	var mu sync.Mutex
	f.write = func(w raft.Write) error {
		mu.Lock()
		defer mu.Unlock()
		if w.Compact > 0 {
			forgotten = w.Compact + 1
		}
		return f.Storage.Write(w)
	}
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		mu.Lock()
		defer mu.Unlock()
		if after < forgotten {
			return nil, raft.ErrCompacted
		}
		return f.Storage.Entries(after, last, n)
	}
}

// keepsLent keeps the data that it was lent, and hands out the same memory.
func keepsLent(f *flawed) {
	lent := map[raft.Index][]byte{}
	var mu sync.Mutex
	f.write = func(w raft.Write) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range w.Entries {
			lent[e.Index] = e.Data
		}
		return f.Storage.Write(w)
	}
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		mu.Lock()
		defer mu.Unlock()
		for i := range entries {
			if data, ok := lent[entries[i].Index]; ok {
				entries[i].Data = data
			}
		}
		return entries, err
	}
}

// usesAgain hands out several entries in memory that the next call uses again. A single entry keeps
// its memory: the check of concurrency asks for single entries, and this flaw must not be a data
// race.
func usesAgain(f *flawed) {
	buffer := make([]byte, 1<<20)
	var mu sync.Mutex
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		mu.Lock()
		defer mu.Unlock()
		entries, err := f.Storage.Entries(after, last, n)
		for i, used := 0, 0; len(entries) > 1 && i < len(entries); i++ {
			size := copy(buffer[used:], entries[i].Data)
			entries[i].Data = buffer[used : used+size]
			used += size
		}
		return entries, err
	}
	f.write = func(w raft.Write) error {
		mu.Lock()
		defer mu.Unlock()
		for i := 0; len(w.Entries) > 1 && i < len(w.Entries); i++ {
			copy(buffer, w.Entries[i].Data)
		}
		return f.Storage.Write(w)
	}
}

// An eagerWriter makes its snapshot the current one as soon as the snapshot is committed.
type eagerWriter struct {
	raft.SnapshotWriter
	storage raft.Storage
	meta    raft.SnapshotMeta
}

func (w *eagerWriter) Commit() error {
	if err := w.SnapshotWriter.Commit(); err != nil {
		return err
	}
	return w.storage.Write(raft.Write{Snapshot: &w.meta})
}

// A strictWriter fails the second call of Abort.
type strictWriter struct {
	raft.SnapshotWriter
	ended bool
}

func (w *strictWriter) Abort() error {
	if w.ended {
		return errors.New("ended already")
	}
	w.ended = true
	return w.SnapshotWriter.Abort()
}

// readsCurrent opens the current snapshot anew for each piece that is read.
func readsCurrent(f *flawed) {
	f.open = func() (raft.SnapshotMeta, io.ReadCloser, error) {
		meta, r, err := f.Storage.OpenSnapshot()
		if err != nil {
			return meta, nil, err
		}
		return meta, &restartingReader{storage: f.Storage}, r.Close()
	}
}

type restartingReader struct {
	storage raft.Storage
	at      int64
}

func (r *restartingReader) Read(b []byte) (int, error) {
	_, current, err := r.storage.OpenSnapshot()
	if err != nil {
		return 0, err
	}
	defer current.Close()
	if _, err := io.CopyN(io.Discard, current, r.at); err != nil {
		return 0, err
	}
	n, err := current.Read(b)
	r.at += int64(n)
	return n, err
}

func (r *restartingReader) Close() error { return nil }

// keepsLog still hands out entries that a snapshot has replaced.
func keepsLog(f *flawed) {
	old := map[raft.Index]raft.Entry{}
	var mu sync.Mutex
	f.write = func(w raft.Write) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range w.Entries {
			old[e.Index] = e
		}
		return f.Storage.Write(w)
	}
	f.entries = func(after, last raft.Index, n int) ([]raft.Entry, error) {
		entries, err := f.Storage.Entries(after, last, n)
		mu.Lock()
		defer mu.Unlock()
		if e, ok := old[after+1]; ok && errors.Is(err, raft.ErrCompacted) {
			return []raft.Entry{e}, nil
		}
		return entries, err
	}
}

// dropsWrites acknowledges writes that come during and after Close, and drops them.
func dropsWrites(f *flawed) {
	closing := make(chan struct{})
	begin := sync.OnceFunc(func() { close(closing) })
	f.write = func(w raft.Write) error {
		if w.Number > 3 && len(w.Entries) == 1 && string(w.Entries[0].Data) == "x" {
			<-closing
			return nil
		}
		return f.Storage.Write(w)
	}
	f.close = func() error {
		err := f.Storage.Close()
		begin()
		return err
	}
}
