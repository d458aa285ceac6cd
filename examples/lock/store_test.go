package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

// storeAt opens a store on a simulated disk.
func storeAt(t require.TestingT, files vfs.FS) *store {
	s, err := openStore(files, "/store")
	require.NoError(t, err)
	return s
}

// askStore sends a request to a store.
func askStore(s *store, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	s.routes().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

// TestStoreRefusesLowerTokens: the store takes a token that is at least the highest that it has seen
// with the key, and no other. A power cut after the answer changes nothing.
func TestStoreRefusesLowerTokens(t *testing.T) {
	refused, cuts := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		disk := simfs.New(rapid.Uint64().Draw(t, "seed"))
		s := storeAt(t, disk)
		want := map[string]record{}
		for i := range rapid.IntRange(1, 20).Draw(t, "writes") {
			r := record{rapid.SampledFrom([]string{"x", "X", "a/b"}).Draw(t, "key"), rapid.Uint64Range(1, 5).Draw(t, "token"), fmt.Sprint("value ", i)}
			err := s.put(r)
			if r.Token < want[r.Key].Token {
				failed, _ := errors.AsType[*httpapi.Error](err)
				require.NotNil(t, failed)
				require.Equal(t, "stale_token", failed.Code)
				refused++
			} else {
				require.NoError(t, err)
				want[r.Key] = r
			}
			if rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
				disk.Cut()
				s = storeAt(t, disk)
				cuts++
			}
			for key := range want {
				is, err := s.get(key)
				require.NoError(t, err)
				require.Equal(t, want[key], is)
			}
		}
	})
	require.Positive(t, refused)
	require.Positive(t, cuts)
}

// TestStoreOverHTTP: what the routes take and answer.
func TestStoreOverHTTP(t *testing.T) {
	s := storeAt(t, simfs.New(1))
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"GET", "/store/x", "", 404, `"code":"not_found"`},
		{"PUT", "/store/x", `{"token": 7, "value": "a"}`, 200, `{"key":"x","token":7,"value":"a"}`},
		{"PUT", "/store/x", `{"token": 6, "value": "b"}`, 409, `{"error":"token 6 is too old: x was written with token 7","code":"stale_token","outcome":"refused"}`},
		{"PUT", "/store/x", `{"token": 7, "value": ""}`, 200, `"value":""`},
		{"PUT", "/store/y", `{"token": 1, "value": "` + strings.Repeat(`\u0001`, maxStoreValue) + `"}`, 200, ""},
		{"PUT", "/store/y", `{"token": 1, "value": "` + strings.Repeat("x", maxStoreValue+1) + `"}`, 400, "65537 bytes"},
		{"PUT", "/store/x", `{"token": 8, "value": "` + strings.Repeat("x", 7*maxStoreValue) + `"}`, 400, "body"},
		{"PUT", "/store/x", `{"token": 0, "value": "a"}`, 400, "the body is not"},
		{"PUT", "/store/x", `{"token": 8}`, 400, "the body is not"},
		{"PUT", "/store/x", "", 400, "the body is not"},
		{"PUT", "/store/" + strings.Repeat("k", maxStoreKey+1), `{"token": 8, "value": ""}`, 400, "101 bytes"},
		{"PUT", "/store/%00", `{"token": 8, "value": ""}`, 400, "can't be seen"},
		{"POST", "/store/x", "", 405, "method_not_allowed"},
		{"GET", "/store/x", "", 200, `{"key":"x","token":7,"value":""}`},
	} {
		status, answer := askStore(s, c.method, c.path, c.body)
		require.Equal(t, c.status, status, "%s %s: %.200s", c.method, c.path, answer)
		require.Contains(t, answer, c.answer)
	}
}

// TestStoreAfterAFailedWrite: after a write that has failed nobody knows what the disk holds. So the
// store writes no more, and still refuses what is too old.
func TestStoreAfterAFailedWrite(t *testing.T) {
	files := &failing{FS: simfs.New(1)}
	s := storeAt(t, files)
	require.NoError(t, s.put(record{"x", 5, "a"}))
	files.broken = errors.New("broken disk")
	for _, c := range []struct {
		token uint64
		code  string
	}{{7, "outcome_unknown"}, {6, "stale_token"}, {8, "store_failed"}} {
		failed, _ := errors.AsType[*httpapi.Error](s.put(record{"x", c.token, "b"}))
		require.NotNil(t, failed)
		require.Equal(t, c.code, failed.Code)
	}
}

// failing is a file system that makes no names durable any more.
type failing struct {
	vfs.FS
	broken error
}

func (f *failing) SyncDir(dir string) error {
	if f.broken != nil {
		return f.broken
	}
	return f.FS.SyncDir(dir)
}

// TestStoreFolder: a folder belongs to one process, and a file that isn't a record is named.
func TestStoreFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(vfs.OS, dir)
	require.NoError(t, err)
	require.NoError(t, s.put(record{"x", 5, "a"}))
	_, err = openStore(vfs.OS, dir)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.NoError(t, s.close())
	s, err = openStore(vfs.OS, dir)
	require.NoError(t, err)
	require.EqualValues(t, 5, s.highest["x"])
	require.NoError(t, s.files.Rename(filepath.Join(dir, fileOf("x")), filepath.Join(dir, fileOf("y"))))
	require.NoError(t, s.close())
	_, err = openStore(vfs.OS, dir)
	require.ErrorContains(t, err, `holds the key "x"`)
}

// TestStoreHasALimit: the store takes so many keys and no more.
func TestStoreHasALimit(t *testing.T) {
	s := storeAt(t, simfs.New(1))
	require.NoError(t, s.put(record{"x", 5, "a"}))
	for i := range maxStoreKeys - 1 {
		s.highest[fmt.Sprint(i)] = 1
	}
	failed, _ := errors.AsType[*httpapi.Error](s.put(record{"one more", 5, "a"}))
	require.NotNil(t, failed)
	require.Equal(t, http.StatusConflict, failed.Status)
	require.NoError(t, s.put(record{"x", 5, "b"}))
}
