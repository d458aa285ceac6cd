package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/wal/vfs"
)

// A store is what locks are there to guard: a resource outside of the cluster, with values by key. It
// knows nothing of locks or leases. It only refuses a write whose token is lower than the highest
// that it has seen with this key: a later holder has been here, and so the writer holds the lock no
// longer, whatever it believes.
//
// Of each key there is a file. A write is durable before it is answered, and so is the token: a store
// that forgot it would take a late write after it was started again.
type store struct {
	files vfs.FS
	dir   string
	lock  io.Closer

	mu      sync.Mutex
	highest map[string]uint64 // by key
	failed  error             // of a write to the disk; nothing is written after it
}

// The limits of the store.
const (
	maxStoreKey   = 100 // bytes
	maxStoreValue = 64 << 10
	maxStoreKeys  = 100_000
)

// A record is what the store has of a key: the body of an answer, and a file.
type record struct {
	Key   string `json:"key"`
	Token uint64 `json:"token"` // with which the value was written
	Value string `json:"value"`
}

// These files belong to the folder of a store. Names of keys have an ending.
const (
	storeLock    = "LOCK"
	storeNew     = "NEW" // a record that is being written
	storeEnding  = ".json"
	maxStoreFile = 8 * maxStoreValue // JSON writes a character as up to six bytes
)

// openStore opens a store in a folder, which is made if there is none. One process at a time has it.
func openStore(files vfs.FS, dir string) (s *store, err error) {
	if err := files.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	lock, err := files.Lock(filepath.Join(dir, storeLock))
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	s = &store{files: files, dir: dir, lock: lock, highest: map[string]uint64{}}
	names, err := files.List(dir)
	for _, name := range names {
		if !strings.HasSuffix(name, storeEnding) || err != nil {
			continue
		}
		var r record
		if r, err = s.read(name); err == nil {
			s.highest[r.Key] = r.Token
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

// close lets go of the folder.
func (s *store) close() error { return s.lock.Close() }

// fileOf returns the name of a key's file, which any file system takes.
func fileOf(key string) string { return hex.EncodeToString([]byte(key)) + storeEnding }

// read reads a file.
func (s *store) read(name string) (r record, err error) {
	file, err := s.files.Open(filepath.Join(s.dir, name))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, maxStoreFile))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	if fileOf(r.Key) != name {
		return r, fmt.Errorf("%s holds the key %q", name, r.Key)
	}
	return r, nil
}

// write replaces a record, durably: either the old file is there after a crash, or the new one.
func (s *store) write(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := filepath.Join(s.dir, storeNew)
	if err := s.files.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := s.files.Create(next)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(text, 0)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := s.files.Rename(next, filepath.Join(s.dir, fileOf(r.Key))); err != nil {
		return err
	}
	return s.files.SyncDir(s.dir)
}

// put writes a value, if its token isn't lower than the highest that was seen. Here it is all.
func (s *store) put(r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	highest, known := s.highest[r.Key]
	switch {
	case r.Token < highest:
		return httpapi.Refusal("stale_token", "token %d is too old: %s was written with token %d", r.Token, r.Key, highest)
	case s.failed != nil:
		return &httpapi.Error{
			Status: http.StatusServiceUnavailable, Code: "store_failed", Outcome: httpapi.NotApplied,
			Message: fmt.Sprintf("the store must be started again, since it could not write: %v", s.failed),
		}
	case !known && len(s.highest) == maxStoreKeys:
		return httpapi.Refusal("too_many", "the store has %d keys already", maxStoreKeys)
	}
	s.highest[r.Key] = r.Token
	if s.failed = s.write(r); s.failed != nil { // nobody knows what the disk holds
		return &httpapi.Error{
			Status: http.StatusGatewayTimeout, Code: "outcome_unknown", Outcome: httpapi.Unknown,
			Message: fmt.Sprintf("the store could not write: %v", s.failed), Err: s.failed,
		}
	}
	return nil
}

// get returns what the store has of a key.
func (s *store) get(key string) (record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.highest[key]; !known {
		return record{}, &httpapi.Error{
			Status: http.StatusNotFound, Code: "not_found", Outcome: httpapi.NotApplied, Message: "the store has no " + key,
		}
	}
	return s.read(fileOf(key))
}

// routes returns the routes of the store.
func (s *store) routes() http.Handler {
	mux := http.NewServeMux()
	s.addRoutes(mux)
	return httpapi.Mux(mux)
}

func (s *store) addRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /store/{key}", func(w http.ResponseWriter, r *http.Request) {
		is, err := s.get(r.PathValue("key"))
		answer(w, is, err)
	})
	mux.HandleFunc("PUT /store/{key}", func(w http.ResponseWriter, r *http.Request) {
		is, err := readRecord(w, r)
		if err == nil {
			err = s.put(is)
		}
		answer(w, is, err)
	})
}

// answer answers with a record, or with an error.
func answer(w http.ResponseWriter, is record, err error) {
	text, failed := json.Marshal(is)
	if err = errors.Join(err, failed); err != nil {
		httpapi.Fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // an error says that the client is gone
}

// readRecord reads the key in the path, and {"token": 5, "value": "text"} in the body.
func readRecord(w http.ResponseWriter, r *http.Request) (is record, err error) {
	var request struct {
		Token uint64  `json:"token"`
		Value *string `json:"value"`
	}
	r.Body = http.MaxBytesReader(w, r.Body, 6*maxStoreValue+maxBody)
	if err := httpapi.ReadJSON(r, &request); err != nil {
		return is, err
	}
	key := r.PathValue("key")
	switch {
	case request.Value == nil || request.Token == 0:
		return is, httpapi.BadRequest(`the body is not {"token": N, "value": "text"}, with the token of a lock`)
	case len(*request.Value) > maxStoreValue:
		return is, httpapi.BadRequest("the value has %d bytes, more than %d", len(*request.Value), maxStoreValue)
	case len(key) > maxStoreKey:
		return is, httpapi.BadRequest("the key has %d bytes, more than %d", len(key), maxStoreKey)
	}
	if err := checkName("the key", key); err != nil {
		return is, httpapi.BadRequest("%w", err)
	}
	return record{key, request.Token, *request.Value}, nil
}
