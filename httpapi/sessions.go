package httpapi

import (
	"net/http"

	"github.com/e17579a5/raft"
)

// An OpenedSession is the answer to POST /sessions.
type OpenedSession struct {
	Session raft.SessionID `json:"session"`
}

// openSession opens a session. If the outcome is unknown, the client opens another one: a session
// that no client knows of does no harm, and expires.
func (a *API) openSession(r *http.Request) (any, error) {
	id, err := a.node.OpenSession(r.Context())
	if err != nil {
		return nil, err
	}
	return Answer{http.StatusCreated, http.Header{"Location": {"/sessions/" + id.String()}}, OpenedSession{id}}, nil
}

// closeSession closes a session. If there is no such session, or no longer, that is no error.
func (a *API) closeSession(r *http.Request) (any, error) {
	var id raft.SessionID
	if err := id.UnmarshalText([]byte(r.PathValue("session"))); err != nil {
		return nil, BadRequest("%w", err)
	}
	if err := a.node.CloseSession(r.Context(), id); err != nil {
		return nil, err
	}
	return Answer{Status: http.StatusNoContent}, nil
}
