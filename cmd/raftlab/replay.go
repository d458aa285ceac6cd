package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"
)

// The replay page consists of the files below, of the library's core and simulator, compiled to
// WebAssembly, and of the script of the Go distribution that starts it. The last two aren't part of
// this program (replay_build.go).

//go:embed page/replay.html page/replay.css page/replay.js page/replay-draw.js page/replay-list.js page/replay-worker.js
var replayFiles embed.FS

// replayRoutes serves the replay page at /replay, and its files beside it. They change nothing, and
// tell nothing of a user: a run is in the part of an address that a browser keeps to itself.
func replayRoutes(mux *http.ServeMux) {
	for name, content := range replayPage() {
		at := name
		if at == "replay.html" {
			at = "replay"
		}
		mux.HandleFunc("GET /"+at, func(w http.ResponseWriter, r *http.Request) { serveReplay(w, r, name, content) })
	}
	var b replayBuilder
	for _, name := range []string{replayWASM, replayExec} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			made, err := b.made(r.Context())
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			serveReplay(w, r, name, made[name])
		})
	}
}

// replayPage returns the embedded files of the page by their names.
func replayPage() map[string][]byte {
	files, _ := replayFiles.ReadDir("page") // none of this can fail: they are embedded
	page := map[string][]byte{}
	for _, file := range files {
		page[file.Name()], _ = replayFiles.ReadFile(path.Join("page", file.Name()))
	}
	return page
}

// replayTypes are the content types of the page's files, by what their names end with.
var replayTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".gz": "application/gzip",
}

// serveReplay serves a file. A browser asks again each time, and gets it only if it has changed.
func serveReplay(w http.ResponseWriter, r *http.Request, name string, content []byte) {
	sum := sha256.Sum256(content)
	h := w.Header()
	h.Set("Content-Type", replayTypes[filepath.Ext(name)])
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// As the page itself says; the worker goes by what comes with its own file. 'wasm-unsafe-eval' lets
	// them compile WebAssembly, and nothing else.
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "+
		"style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}

// exportReplay writes the replay page to a folder, for any web server. It makes the folder if there
// is none, and replaces files of the same names.
func exportReplay(ctx context.Context, dir string) error {
	files, err := new(replayBuilder).made(ctx)
	if err != nil {
		return err
	}
	for name, content := range replayPage() {
		files[name] = content
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
