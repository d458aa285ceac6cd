package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func getReplay(t *testing.T, path, etag string) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	replayRoutes(mux)
	request := httptest.NewRequest(http.MethodGet, path, nil)
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, request)
	return w
}

// Each file of the page is served beside it, with its type and with headers that let it load nothing
// of another origin. A browser that has it gets nothing again.
func TestReplayRoutes(t *testing.T) {
	page := getReplay(t, "/replay", "")
	require.Equal(t, http.StatusOK, page.Code)
	require.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	size := page.Body.Len()
	files := regexp.MustCompile(`(?:src|href)="([a-z-]+\.(?:js|css))"`).FindAllStringSubmatch(page.Body.String(), -1)
	require.Len(t, files, 4)
	for _, name := range append([]string{"replay-worker.js"}, files[0][1], files[1][1], files[2][1], files[3][1]) {
		file := getReplay(t, "/"+name, "")
		require.Equal(t, http.StatusOK, file.Code, name)
		require.Contains(t, file.Header().Get("Content-Type"), map[string]string{".js": "javascript", ".css": "text/css"}[filepath.Ext(name)])
		require.Contains(t, file.Header().Get("Content-Security-Policy"), "default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
		require.Equal(t, http.StatusNotModified, getReplay(t, "/"+name, file.Header().Get("ETag")).Code)
		size += file.Body.Len()
	}
	require.Less(t, size, 150<<10, "the page without the simulator")
}

// Nothing of the page refers to another origin: it works without a network, and tells nobody anything.
func TestReplayRefersToNothing(t *testing.T) {
	for name, content := range replayPage() {
		text := strings.ReplaceAll(string(content), "http://www.w3.org/2000/svg", "")
		require.Empty(t, regexp.MustCompile(`(?i)https?:|//[a-z]+\.|@import|url\(|<iframe|import\(`).FindAllString(text, -1), name)
		require.LessOrEqual(t, bytes.Count(content, []byte("\n")), 500, name)
	}
}

// Without a go command, the page gets an error that says so, and so does the export.
func TestReplayWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, name := range []string{replayWASM, replayExec} {
		w := getReplay(t, "/"+name, "")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Contains(t, w.Body.String(), "needs the go command")
	}
	require.ErrorContains(t, exportReplay(t.Context(), t.TempDir()), "needs the go command")
}

// A source that isn't there, or doesn't compile, gets an error that names what is wrong.
func TestReplayErrors(t *testing.T) {
	goCommand := goProgram(t)
	root, err := sourceRoot(t.Context(), goCommand)
	require.NoError(t, err)
	require.True(t, isSource(root))
	require.False(t, isSource(t.TempDir()))

	broken := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(broken, wasmPackage), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(broken, "go.mod"), []byte("module example.org/m\n\ngo 1.26\n"), 0o644))
	main := filepath.Join(broken, wasmPackage, "main.go")
	require.NoError(t, os.WriteFile(main, []byte("package main\n\nfunc main() { undeclared() }\n"), 0o644))
	g := goRun{t.Context(), goCommand, broken}
	compiled, err := g.output("env", "GOCACHE")
	require.NoError(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(compiled))) // which depends on the home, otherwise
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("LocalAppData", t.TempDir())
	hash, err := g.hash()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(main, []byte("package main\n\nfunc main() { undeclared() } // \n"), 0o644))
	other, err := g.hash()
	require.NoError(t, err)
	require.NotEqual(t, hash, other, "a change of the source")
	if testing.Short() {
		t.Skip("compiles a runtime for WebAssembly")
	}
	_, err = g.cached(other)
	require.ErrorContains(t, err, "undefined: undeclared")
}

// The cache gives what was put there, and forgets all but the latest few.
func TestReplayCache(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", home)
	t.Setenv("HOME", home)
	t.Setenv("LocalAppData", home)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "raftlab")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for i, name := range strings.Split("abcdefg", "") {
		file := filepath.Join(dir, "replay-"+name+".wasm.gz")
		require.NoError(t, os.WriteFile(file, []byte(name), 0o644))
		at := time.Unix(int64(1000+i), 0)
		require.NoError(t, os.Chtimes(file, at, at))
	}
	g := goRun{t.Context(), "there is no such program", dir}
	content, err := g.cached("c")
	require.NoError(t, err)
	require.Equal(t, "c", string(content))
	forgetOld(dir)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, names, 4)
	require.Contains(t, names[0], "replay-d")
}

// The simulator is compiled and small, and the exported folder has all files of the page.
func TestReplayExport(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the simulator")
	}
	goProgram(t)
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	require.NoError(t, exportReplay(t.Context(), dir))
	for name, content := range replayPage() {
		written, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, content, written)
	}
	packed, err := os.ReadFile(filepath.Join(dir, replayWASM))
	require.NoError(t, err)
	require.Less(t, len(packed), 3<<20, "of the simulator, compressed")
	z, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	wasm, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Equal(t, "\x00asm", string(wasm[:4]))
	script, err := os.ReadFile(filepath.Join(dir, replayExec))
	require.NoError(t, err)
	require.Contains(t, string(script), "globalThis.Go = class")
	t.Logf("the simulator has %d bytes, %d compressed", len(wasm), len(packed))
	require.Error(t, exportReplay(t.Context(), filepath.Join(dir, replayWASM)), "a file is in the way")
}

// goProgram returns the go command, and skips the test where there is none.
func goProgram(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("this machine can't build: %v", err)
	}
	return program
}

// A link to a replay works from any page, and without a token. All else stays guarded.
func TestReplayFromAnywhere(t *testing.T) {
	handler, err := routes(nil, nil, newAccess())
	require.NoError(t, err)
	for path, want := range map[string]int{"/replay": http.StatusOK, "/replay.js": http.StatusOK, "/": http.StatusForbidden, "/events": http.StatusForbidden} {
		request := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7070"+path, nil)
		request.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		require.Equal(t, want, w.Code, path)
	}
}
