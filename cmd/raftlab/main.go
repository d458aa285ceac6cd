// Command raftlab runs a cluster, and serves a page on which one watches it and breaks it.
//
//	go run ./cmd/raftlab
//	go run ./cmd/raftlab -servers 5 -listen 127.0.0.1:8080
//	go run ./cmd/raftlab -export FOLDER
//
// The servers are real nodes with the log of package wal in real files and the transport of package
// tcp over real sockets, all of them in this process. Between them are proxies that can be cut, and
// beneath their logs are disks that can be slow, full, stuck or rotten. Clients write and read, and
// a judge checks whether what they see is linearizable, for as long as the lab runs.
//
// Three things differ from servers of their own:
//
//   - A server that is killed loses its connections and its files' handles at once, as by SIGKILL,
//     but its memory is this process's.
//   - A server that is paused is stopped in each of its parts, since a signal stops whole processes.
//   - All servers share one kernel and one real disk: the power can't be cut. That is what the
//     simulator is for (raftsim).
//
// The page is served on the loopback interface alone. It needs the token in the address that the
// command prints.
//
// The page /replay needs no token: it replays runs of the simulator in the browser, and reaches
// nothing here. -export writes it to a folder, for any web server.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	replaylink "github.com/e17579a5/raft/rafttest/link"
)

//go:embed page
var pageFiles embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "raftlab:", err)
		os.Exit(1)
	}
}

// run runs the lab until ctx ends.
func run(ctx context.Context, arguments []string, out io.Writer) (err error) {
	var s settings
	flags := flag.NewFlagSet("raftlab", flag.ContinueOnError)
	address := flags.String("listen", replaylink.Address, "the address of the page, on the loopback interface; port 0 stands for one that is free")
	flags.IntVar(&s.servers, "servers", 3, fmt.Sprintf("number of servers that found the cluster, from %d to %d", minServers, maxServers))
	flags.StringVar(&s.folder, "dir", "", "an empty folder for the servers' files, which stay there; otherwise they are temporary")
	flags.DurationVar(&s.heartbeat, "heartbeat", 100*time.Millisecond, "how often a leader tells the others that it lives")
	flags.DurationVar(&s.election, "election", time.Second, "how long a server waits for that before it campaigns")
	export := flags.String("export", "", "write the replay page to this folder, for any web server, and end")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("it takes no arguments, and was given %q", flags.Args())
	}
	if *export != "" {
		return exportReplay(ctx, *export)
	}
	if err := checkListen(*address); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreClosed(listener.Close())) }()
	b, err := newLab(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	a := newAccess()
	fmt.Fprintf(out, "raftlab: open http://%s/#%s\n", listener.Addr(), a.token)
	return serve(ctx, listener, b, a)
}

// ignoreClosed leaves out the error of closing something a second time.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// serve serves the page until ctx ends.
func serve(ctx context.Context, listener net.Listener, b *lab, a access) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := newHub(b)
	go h.run(ctx)
	handler, err := routes(b, h, a)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// routes are what is served where.
func routes(b *lab, h *hub, a access) (http.Handler, error) {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /events", a.withToken(h.serveEvents, inAddress))
	mux.HandleFunc("GET /violation", a.withToken(b.serveViolation, inAddress))
	mux.HandleFunc("POST /do", a.withToken(b.serveAction, inHeader))
	// A link to a replay may be clicked on any page: it changes nothing here, and tells nothing of the lab.
	all := http.NewServeMux()
	replayRoutes(all)
	all.Handle("/", a.guarded(mux))
	return all, nil
}

// maxRequest bounds a request for an action, in bytes.
const maxRequest = 4 << 10

// serveAction takes an action. It answers when the action is performed, or has begun if it takes its
// time. What becomes of it is told in the news.
func (b *lab) serveAction(w http.ResponseWriter, r *http.Request) {
	var asked request
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		http.Error(w, "no action: "+err.Error(), http.StatusBadRequest)
		return
	}
	a, _, _, err := b.resolve(asked)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if a.takes == someTime {
		go func() { _ = b.perform(asked) }() // it tells its error
	} else {
		_ = b.perform(asked)
	}
	w.WriteHeader(http.StatusAccepted)
}

// serveViolation draws the first history that isn't linearizable. The page's scripts are its own.
func (b *lab) serveViolation(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Security-Policy", "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := b.judge.draw(w); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
	}
}
