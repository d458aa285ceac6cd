package shard

import (
	"context"
	"errors"
	"net/http"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// Administration returns what operators may ask: PUT /servers/ID with {"address": …, "client": …} makes a
// server known that runs already, DELETE /servers/ID takes one out, and GET /table shows the table. It never
// belongs on the listener of the service: whoever reaches it can take the store apart.
func (h *Host) Administration(options httpapi.Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /table", httpapi.Handler(func(*http.Request) (any, error) { return h.Table(), nil }, options))
	mux.Handle("PUT /servers/{id}", httpapi.Handler(func(r *http.Request) (any, error) {
		var request struct{ Address, Client string }
		if err := httpapi.ReadJSON(r, &request); err != nil {
			return nil, err
		}
		server := Server{ID: raft.ServerID(r.PathValue("id")), Address: request.Address, Client: request.Client}
		return administer(r.Context(), func(ctx context.Context) error { return h.Register(ctx, server) })
	}, options))
	mux.Handle("DELETE /servers/{id}", httpapi.Handler(func(r *http.Request) (any, error) {
		return administer(r.Context(), func(ctx context.Context) error { return h.Leave(ctx, raft.ServerID(r.PathValue("id"))) })
	}, options))
	return httpapi.Mux(mux)
}

// administer changes the servers.
func administer(ctx context.Context, change func(context.Context) error) (any, error) {
	err := change(ctx)
	refusal := new(Refusal)
	if errors.As(err, &refusal) {
		return nil, httpapi.Refusal(refusal.Code, "%s", refusal.Text)
	}
	return nil, err
}
