package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// The simulator for the replay page is made by the go command, of the source of this program as it
// is now. A binary that is kept somewhere would show what the core did once. So a change of the core
// shows at the next load of the page.

// Names of the page's files that are made by the go command, or come with it
const (
	replayWASM = "replay.wasm.gz"
	replayExec = "wasm_exec.js"
)

const (
	modulePath  = "github.com/e17579a5/raft"
	wasmPackage = "./cmd/raftlab/wasm"
)

// maxBuild bounds how long the go command may take.
const maxBuild = 15 * time.Minute

// A replayBuilder makes these files, one time after the other. It keeps the simulator in the user's
// cache, by a hash of all that it is made of.
type replayBuilder struct{ mu sync.Mutex }

// made returns the files by their names.
func (b *replayBuilder) made(ctx context.Context) (map[string][]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// The build goes on if the reader leaves: then it is there when the reader comes back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxBuild)
	defer cancel()
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("the replay page needs the go command, to compile the simulator to WebAssembly, and it can't be found: %w", err)
	}
	root, err := sourceRoot(ctx, goCommand)
	if err != nil {
		return nil, err
	}
	g := goRun{ctx, goCommand, root}
	goroot, err := g.output("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	script, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "lib", "wasm", replayExec))
	if err != nil {
		return nil, fmt.Errorf("the Go distribution lacks the script that starts WebAssembly: %w", err)
	}
	hash, err := g.hash()
	if err != nil {
		return nil, err
	}
	wasm, err := g.cached(hash)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{replayWASM: wasm, replayExec: script}, nil
}

// sourceRoot returns the folder of the module that this program was compiled from: a checkout, or a
// folder of the module cache.
func sourceRoot(ctx context.Context, goCommand string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(filepath.FromSlash(file))))
	if filepath.IsAbs(root) && isSource(root) {
		return root, nil
	}
	// The program was compiled with -trimpath, or its source has moved. A version is to be had from
	// the module cache, or from where that gets its modules.
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == modulePath {
		version = info.Main.Version
	}
	var why error
	if strings.HasPrefix(version, "v") && !strings.Contains(version, "+dirty") {
		g := goRun{ctx, goCommand, os.TempDir()}
		var out []byte
		var module struct{ Dir string }
		if out, why = g.output("mod", "download", "-json", modulePath+"@"+version); why == nil {
			if why = json.Unmarshal(out, &module); why == nil && isSource(module.Dir) {
				return module.Dir, nil
			}
		}
	}
	return "", errors.Join(fmt.Errorf("the replay page needs the source of this program (version %s), to compile the simulator to WebAssembly, and it isn't at %q: "+
		"start raftlab with go run, in a checkout or as %s/cmd/raftlab@VERSION", version, root, modulePath), why)
}

func isSource(root string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(wasmPackage), "main.go"))
	return err == nil
}

// A goRun runs the go command for WebAssembly in a folder.
type goRun struct {
	ctx       context.Context
	goCommand string
	dir       string
}

// output returns what the go command prints. The error has what it complains of.
func (g *goRun) output(arguments ...string) ([]byte, error) {
	command := exec.CommandContext(g.ctx, g.goCommand, arguments...)
	command.Dir = g.dir
	command.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOWASM=")
	var complaint bytes.Buffer
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		const most = 4 << 10
		text := strings.TrimSpace(complaint.String())
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(arguments, " "), err, text[max(len(text)-most, 0):])
	}
	return out, nil
}

// hash returns a hash over the version of Go and all files of the module that the simulator is made
// of.
func (g *goRun) hash() (string, error) {
	version, err := g.output("env", "GOVERSION")
	if err != nil {
		return "", err
	}
	list, err := g.output("list", "-mod=readonly", "-deps", "-json=Dir,ImportPath,Standard,GoFiles,EmbedFiles", wasmPackage)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "1 %s", version) // neither this nor the writes below can fail
	for d := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			Dir, ImportPath     string
			Standard            bool
			GoFiles, EmbedFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)[:16]), nil
		} else if err != nil {
			return "", fmt.Errorf("go list: %w", err)
		}
		if p.Standard {
			continue
		}
		for _, name := range append(p.GoFiles, p.EmbedFiles...) {
			content, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return "", err
			}
			_, _ = fmt.Fprintf(h, "%s/%s %d\n", p.ImportPath, name, len(content))
			_, _ = h.Write(content)
		}
	}
}

// cached returns the simulator, compiled and compressed, from the cache. If it isn't there, cached
// compiles it and puts it there.
func (g *goRun) cached(hash string) ([]byte, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir() // a user without a home
	}
	dir = filepath.Join(dir, "raftlab")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "replay-"+hash+".wasm.gz")
	if content, err := os.ReadFile(name); err == nil {
		return content, nil
	}
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	target := filepath.Join(work, "replay.wasm")
	if _, err := g.output("build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, wasmPackage); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(target)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is one that it knows
	_, _ = z.Write(content)                                    // neither fails: a Buffer takes all
	_ = z.Close()
	// Another raftlab may do the same now. A rename puts the whole file there, or nothing.
	if err := os.WriteFile(target+".gz", packed.Bytes(), 0o600); err == nil {
		_ = os.Rename(target+".gz", name) // it is only a cache
	}
	forgetOld(dir)
	return packed.Bytes(), nil
}

// forgetOld leaves the few latest files of the cache.
func forgetOld(dir string) {
	const kept = 4
	names, _ := filepath.Glob(filepath.Join(dir, "replay-*.wasm.gz"))
	age := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			return 0 // it is gone
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(age(b), age(a)) })
	for _, name := range names[min(kept, len(names)):] {
		_ = os.Remove(name)
	}
}
