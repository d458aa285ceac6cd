package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/httpapi"
)

// These bound a request, in bytes and in keys.
const (
	maxKey    = 1 << 10
	maxValue  = 512 << 10
	maxListed = 1000
)

// A service answers HTTP requests at one server. Any server answers any request: what it doesn't have, it
// gets from one that has (forward.go).
type service struct {
	host    *shard.Host
	api     *httpapi.API
	options httpapi.Options
	client  *http.Client // to other servers
}

// routes returns what clients may ask.
func (s *service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for method, f := range map[string]httpapi.Func{"GET": s.get, "PUT": s.put, "DELETE": s.delete, "POST": s.add} {
		mux.Handle(method+" /keys/{key...}", httpapi.Handler(f, s.options))
	}
	mux.Handle("GET /shards/{shard}/keys", httpapi.Handler(s.list, s.options))
	mux.Handle("POST /sessions", httpapi.Handler(s.openSession, s.options))
	mux.Handle("DELETE /sessions/{session}", httpapi.Handler(s.closeSession, s.options))
	mux.Handle("GET /table", httpapi.Handler(s.table, s.options))
	mux.Handle("GET /livez", httpapi.Handler(func(*http.Request) (any, error) { return map[string]bool{"live": true}, s.api.Live() }, s.options))
	mux.Handle("GET /readyz", httpapi.Handler(func(*http.Request) (any, error) { return map[string]bool{"ready": true}, s.ready() }, s.options))
	return mux
}

// ready says whether this server should get requests: it knows the table, and the store is founded.
func (s *service) ready() error {
	if err := s.api.Ready(); err != nil {
		return err
	}
	if len(s.host.Table().Shards) == 0 {
		return notHere("the store isn't founded yet")
	}
	return nil
}

// keyOf returns the key of a request, and its shard.
func (s *service) keyOf(key string) (string, int, error) {
	shards := len(s.host.Table().Shards)
	switch {
	case key == "" || len(key) > maxKey || !utf8.ValidString(key):
		return "", 0, httpapi.BadRequest("a key is UTF-8, from 1 to %d bytes", maxKey)
	case shards == 0:
		return "", 0, notHere("the store isn't founded yet, or this server doesn't know it yet")
	}
	return key, shard.Of(key, shards), nil
}

// get answers a value, linearizably: it has every change that was answered before the request came.
func (s *service) get(r *http.Request) (any, error) {
	key, in, err := s.keyOf(r.PathValue("key"))
	if err != nil {
		return nil, err
	}
	return s.serve(r, in, func(r *http.Request, node *raft.Node, keys *store) (any, error) {
		if err := node.Read(r.Context()); err != nil {
			return nil, err
		}
		found, ok := keys.get(key)
		if !ok {
			return nil, &httpapi.Error{Status: http.StatusNotFound, Code: "no_such_key", Outcome: httpapi.NotApplied, Message: "there is no such key"}
		}
		header := http.Header{"Content-Type": {"application/octet-stream"}, "Etag": {etag(found.Version)}}
		return httpapi.Answer{Header: header, Body: append([]byte{}, found.Value...)}, nil
	})
}

// put writes the body.
func (s *service) put(r *http.Request) (any, error) {
	return s.change(r, func(body []byte) (command, error) {
		if len(body) > maxValue {
			return command{}, &httpapi.Error{
				Status: http.StatusRequestEntityTooLarge, Code: "too_large", Outcome: httpapi.NotApplied,
				Message: fmt.Sprintf("the value has more than %d bytes", maxValue),
			}
		}
		return command{Op: put, Value: body}, nil
	})
}

// delete deletes a key. If it isn't there, that is no error.
func (s *service) delete(r *http.Request) (any, error) {
	return s.change(r, func([]byte) (command, error) { return command{Op: remove}, nil })
}

// add adds to a number. The body is {"add": 5}; an empty one stands for 1.
func (s *service) add(r *http.Request) (any, error) {
	return s.change(r, func(body []byte) (command, error) {
		if len(body) == 0 {
			return command{Op: add, Add: 1}, nil
		}
		var request struct{ Add *int64 }
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if err := httpapi.ReadJSON(r, &request); err != nil {
			return command{}, err
		}
		if request.Add == nil {
			return command{}, httpapi.BadRequest(`the body is not {"add": N}`)
		}
		return command{Op: add, Add: *request.Add}, nil
	})
}

// change carries out a change of one key, once it is applied.
func (s *service) change(r *http.Request, make func(body []byte) (command, error)) (any, error) {
	key, in, err := s.keyOf(r.PathValue("key"))
	if err != nil {
		return nil, err
	}
	return s.serve(r, in, func(r *http.Request, node *raft.Node, _ *store) (any, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		c, err := make(body)
		if err != nil {
			return nil, err
		}
		c.Key = key
		if c.If, err = condition(r); err != nil {
			return nil, err
		}
		raw, err := propose(r, node, in, encode(c))
		if err != nil {
			return nil, err
		}
		return answer(&c, raw)
	})
}

// propose proposes a command. With an Idempotency-Key it is one of a session, and applied exactly once.
func propose(r *http.Request, node *raft.Node, in int, data []byte) ([]byte, error) {
	field := strings.Join(r.Header.Values(httpapi.KeyField), ", ")
	if field == "" {
		return node.Propose(r.Context(), data)
	}
	number, rest, _ := strings.Cut(field, ":")
	if n, err := strconv.Atoi(strings.TrimPrefix(number, `"`)); err != nil || n != in {
		return nil, &httpapi.Error{
			Status: http.StatusBadRequest, Code: "other_shard", Outcome: httpapi.NotApplied,
			Message: fmt.Sprintf("the session isn't one of shard %d, which has the key: POST /sessions?key=… opens one", in),
		}
	}
	numbered, err := httpapi.ParseKey(`"` + rest)
	if err != nil {
		return nil, err
	}
	return node.ProposeInSession(r.Context(), numbered, data)
}

// condition reads If-Match: "17" and If-None-Match: *.
func condition(r *http.Request) (*uint64, error) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	var version uint64
	switch {
	case match == "" && none == "":
		return nil, nil
	case match == "" && none == "*":
		return &version, nil
	case none == "":
		text, quoted := strings.CutPrefix(match, `"`)
		text, closed := strings.CutSuffix(text, `"`)
		version, err := strconv.ParseUint(text, 10, 64)
		if quoted && closed && err == nil && version > 0 {
			return &version, nil
		}
	}
	return nil, httpapi.BadRequest(`a condition is If-Match: "VERSION" or If-None-Match: *, and one of them`)
}

// changed is the answer to a change.
type changed struct {
	Version uint64 `json:"version,omitempty"`
	Value   *int64 `json:"value,omitempty"` // of an add
}

// answer says what came of a command.
func answer(c *command, raw []byte) (any, error) {
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Refused == otherVersion:
		return nil, &httpapi.Error{
			Status: http.StatusPreconditionFailed, Code: r.Refused, Outcome: httpapi.Refused,
			Message: fmt.Sprintf("the key has version %d (0: it isn't there)", r.Version),
		}
	case r.Refused != "":
		return nil, httpapi.Refusal(r.Refused, "nothing was changed: %s", strings.ReplaceAll(r.Refused, "_", " "))
	case c.Op == remove:
		return httpapi.Answer{}, nil
	}
	body := changed{Version: r.Version}
	if c.Op == add {
		body.Value = &r.Value
	}
	return httpapi.Answer{Header: http.Header{"Etag": {etag(r.Version)}}, Body: body}, nil
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// list answers keys of a shard, in their order: at most ?limit=, and those after ?after=. An answer is
// linearizable by itself. The next one may be of another moment.
func (s *service) list(r *http.Request) (any, error) {
	in, err := strconv.Atoi(r.PathValue("shard"))
	if shards := len(s.host.Table().Shards); err != nil || in < 0 || in >= shards {
		return nil, httpapi.BadRequest("shards are 0 to %d", shards-1)
	}
	limit := maxListed
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxListed {
			return nil, httpapi.BadRequest("limit is 1 to %d", maxListed)
		}
	}
	return s.serve(r, in, func(r *http.Request, node *raft.Node, keys *store) (any, error) {
		if err := node.Read(r.Context()); err != nil {
			return nil, err
		}
		return map[string][]string{"keys": append([]string{}, keys.keys(r.URL.Query().Get("after"), limit)...)}, nil
	})
}

// openSession opens a session of the shard that has a key. It is one for all keys of that shard.
func (s *service) openSession(r *http.Request) (any, error) {
	_, in, err := s.keyOf(r.URL.Query().Get("key"))
	if err != nil {
		return nil, err
	}
	return s.serve(r, in, func(r *http.Request, node *raft.Node, _ *store) (any, error) {
		id, err := node.OpenSession(r.Context())
		if err != nil {
			return nil, err
		}
		session := fmt.Sprintf("%d:%v", in, id)
		return httpapi.Answer{
			Status: http.StatusCreated, Header: http.Header{"Location": {"/sessions/" + session}}, Body: map[string]string{"session": session},
		}, nil
	})
}

// closeSession closes a session. If there is no such session any more, that is no error.
func (s *service) closeSession(r *http.Request) (any, error) {
	text, rest, _ := strings.Cut(r.PathValue("session"), ":")
	in, err := strconv.Atoi(text)
	var id raft.SessionID
	if err != nil || id.UnmarshalText([]byte(rest)) != nil || in < 0 || in >= len(s.host.Table().Shards) {
		return nil, httpapi.BadRequest("%q is no session", r.PathValue("session"))
	}
	return s.serve(r, in, func(r *http.Request, node *raft.Node, _ *store) (any, error) {
		return nil, node.CloseSession(r.Context(), id)
	})
}

// table answers which server has which shard, as this server knows.
func (s *service) table(*http.Request) (any, error) { return s.host.Table(), nil }
