package httpapi

import (
	"net/http"

	"github.com/e17579a5/raft"
)

// addMember makes a server a voter, and answers what this server then knows. The server must run
// already, without a Bootstrap list, at the address.
func (a *API) addMember(r *http.Request) (any, error) {
	server := raft.Server{ID: raft.ServerID(r.PathValue("id")), Address: r.URL.Query().Get("address")}
	if server.Address == "" {
		return nil, BadRequest("the query has no address=HOST:PORT")
	}
	if _, err := a.node.AddServer(r.Context(), server); err != nil {
		return nil, err
	}
	return a.status(r)
}

// removeMember removes a server, and answers what this server then knows.
func (a *API) removeMember(r *http.Request) (any, error) {
	if _, err := a.node.RemoveServer(r.Context(), raft.ServerID(r.PathValue("id"))); err != nil {
		return nil, err
	}
	return a.status(r)
}
