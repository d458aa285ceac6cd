package shard

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
)

// Administration returns what operators may ask: PUT /servers/ID with {"address": …, "client": …} makes a
// server known that runs already, DELETE /servers/ID takes one out, and GET /table shows the table. PUT
// /shards/N/place with {"from": …, "to": …} moves a shard by hand, and DELETE /shards/N/place lets it move by itself
// again. What the command raft asks is there, too, from this machine: package admin says how the groups are. It never
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
	mux.Handle("PUT /shards/{shard}/place", httpapi.Handler(func(r *http.Request) (any, error) {
		var request struct{ From, To raft.ServerID }
		if err := httpapi.ReadJSON(r, &request); err != nil {
			return nil, err
		}
		if request.From == "" || request.To == "" {
			return nil, httpapi.BadRequest(`the body is not {"from": ID, "to": ID}`)
		}
		return h.placeShard(r, Placing{From: request.From, To: request.To})
	}, options))
	mux.Handle("DELETE /shards/{shard}/place", httpapi.Handler(func(r *http.Request) (any, error) {
		return h.placeShard(r, Placing{})
	}, options))
	routes := http.NewServeMux()
	groups, err := admin.New(admin.Config{Host: h.raft, Authorize: admin.Loopback, Logger: h.options.Logger})
	if err != nil {
		panic(err) // it has a host, and says who may use it
	}
	routes.Handle(admin.Path, groups)
	routes.Handle("/", httpapi.Mux(mux))
	return routes
}

// placeShard places the shard that a request names.
func (h *Host) placeShard(r *http.Request, p Placing) (any, error) {
	var err error
	if p.Shard, err = strconv.Atoi(r.PathValue("shard")); err != nil {
		return nil, httpapi.BadRequest("%q is no number of a shard", r.PathValue("shard"))
	}
	return administer(r.Context(), func(ctx context.Context) error { return h.Place(ctx, p) })
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
