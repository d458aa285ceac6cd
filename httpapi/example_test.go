package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// A service has routes of its own beside those of the package. It serves until its context ends, and
// then shuts down.
func Example() {
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: &sum{}, Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	api := httpapi.New(node, httpapi.Options{})
	mux := http.NewServeMux()
	api.Routes(mux)
	mux.Handle("POST /sum", api.Handle(func(r *http.Request) (any, error) {
		var request struct{ Add int }
		if err := httpapi.ReadJSON(r, &request); err != nil {
			return nil, err
		}
		result, err := api.Propose(r, fmt.Append(nil, request.Add))
		if err != nil {
			return nil, err
		}
		if len(result) == 0 {
			return nil, httpapi.Refusal("not_a_number", "%d can't be added", request.Add)
		}
		return map[string]string{"sum": string(result)}, nil
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, listener, mux) }()

	for _, body := range []string{`{"add": 5}`, `{"add": 5} and more`} {
		fmt.Print(post("http://"+listener.Addr().String()+"/sum", body))
	}
	stop()
	if err := <-served; err != nil {
		log.Fatal(err)
	}
	// Output:
	// 200 {"sum":"5"}
	// 400 {"error":"the body has more than one JSON value","code":"bad_request","outcome":"not applied"}
}

// post sends a request, and returns the status and the body.
func post(url, body string) string {
	response, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		log.Fatal(err)
	}
	return fmt.Sprintf("%d %s", response.StatusCode, text)
}

// FormatKey is for clients in Go. A command may be sent any number of times under its key.
func ExampleFormatKey() {
	session := raft.NewSession(raft.SessionID{Term: 3, Index: 1042}) // of POST /sessions
	command, err := session.Next()
	if err != nil {
		log.Fatal(err) // too many commands are on their way
	}
	fmt.Println(httpapi.KeyField+":", httpapi.FormatKey(command))
	session.Done(command) // its answer is there
	// Output: Idempotency-Key: "3.1042-1";lowest=1
}
