package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// breaking is a storage that fails once broken is set.
type breaking struct {
	*memory.Storage
	broken atomic.Bool
}

func (b *breaking) Write(w raft.Write) error {
	if b.broken.Load() {
		return errors.New("the disk is gone")
	}
	return b.Storage.Write(w)
}

// of returns the error of a call with these reasons.
func of(reasons ...error) error {
	return &raft.CallError{Err: errors.Join(reasons...), Leadership: raft.Leadership{Leader: "b"}}
}

// TestErrorOf is the table in the documentation of ErrorOf, a reason each.
func TestErrorOf(t *testing.T) {
	refused := func(reason error) error { return of(raft.ErrNotApplied, reason) }
	unknown := func(reason error) error { return of(raft.ErrOutcomeUnknown, reason) }
	noLeader := &raft.CallError{Err: errors.Join(raft.ErrNotApplied, context.DeadlineExceeded)}
	own := &httpapi.Error{Status: http.StatusTeapot, Code: "tea"}
	const no, maybe = httpapi.NotApplied, httpapi.Unknown
	for _, c := range []struct {
		err        error
		status     int
		code       string
		outcome    httpapi.Outcome
		retryAfter time.Duration
	}{
		{refused(raft.ErrSessionExpired), 410, "session_expired", no, 0},
		{unknown(raft.ErrSessionExpired), 410, "session_expired", maybe, 0},
		{unknown(raft.ErrSessionAnswered), 410, "session_answered", maybe, 0},
		{of(raft.ErrNotApplied, raft.ErrStopped, raft.ErrFull), 503, "stopped", no, 0},
		{refused(raft.ErrClosed), 503, "closed", no, 0},
		{refused(raft.ErrRemoved), 503, "removed", no, 0},
		{refused(fmt.Errorf("%w: MaxPending", raft.ErrOverloaded)), 503, "overloaded", no, time.Second},
		{refused(raft.ErrFull), 503, "full", no, 10 * time.Second},
		{refused(raft.ErrTooLarge), 413, "too_large", no, 0},
		{refused(wire.ErrMalformed), 400, "bad_request", no, 0},
		{refused(raft.ErrChangeInProgress), 503, "change_in_progress", no, time.Second},
		{refused(raft.ErrUnreachable), 503, "unreachable", no, time.Second},
		{refused(raft.ErrNotCaughtUp), 503, "not_caught_up", no, time.Second},
		{refused(raft.ErrTransferInProgress), 503, "transfer_in_progress", no, time.Second},
		{refused(raft.ErrTransferGivenUp), 503, "transfer_given_up", no, time.Second},
		{refused(raft.ErrConflict), 409, "conflict", no, 0},
		{refused(raft.ErrMembers), 409, "bad_members", no, 0},
		{refused(raft.ErrNotMember), 409, "not_member", no, 0},
		{refused(raft.ErrForeignServer), 409, "foreign_server", no, 0},
		{refused(raft.ErrTransferTarget), 409, "transfer_target", no, 0},
		{refused(raft.ErrNotLeader), 409, "not_leader", no, 0},
		{refused(raft.ErrNotInForce), 409, "not_in_force", no, 0},
		{refused(raft.ErrUnknownCall), 409, "not_in_force", no, 0},
		{refused(raft.ErrOtherIncarnation), 409, "other_incarnation", no, 0},
		{refused(raft.ErrRolledBack), 409, "rolled_back", no, 0},
		{refused(raft.ErrOutdated), 409, "outdated", no, 0},
		{refused(errors.New("of Validate")), 409, "not_applied", no, 0},

		{refused(context.DeadlineExceeded), 503, "timeout", no, time.Second},
		{refused(context.Canceled), 503, "timeout", no, time.Second},
		{noLeader, 503, "no_leader", no, time.Second},
		{of(raft.ErrNotApplied, context.DeadlineExceeded, raft.ErrOtherIncarnation), 503, "no_part", no, 0},
		{of(raft.ErrNotApplied, context.DeadlineExceeded, raft.ErrNoCluster), 503, "no_part", no, 0},
		{unknown(context.DeadlineExceeded), 504, "outcome_unknown", maybe, 0},
		{unknown(raft.ErrStopped), 504, "outcome_unknown", maybe, 0},
		{unknown(raft.ErrNotCaughtUp), 504, "outcome_unknown", maybe, 0},

		{of(raft.ErrClosed), 503, "closed", no, 0}, // a read
		{of(context.DeadlineExceeded), 503, "timeout", no, time.Second},
		{own, http.StatusTeapot, "tea", "", 0},
		{fmt.Errorf("wrapped: %w", own), http.StatusTeapot, "tea", "", 0},
		{errors.New("a defect"), 500, "internal", maybe, 0},
		{context.DeadlineExceeded, 500, "internal", maybe, 0},
		{nil, 500, "internal", maybe, 0},
		{(*httpapi.Error)(nil), 500, "internal", maybe, 0},
	} {
		e := httpapi.ErrorOf(c.err)
		require.Equal(t, c.status, e.Status, "%v", c.err)
		require.Equal(t, c.code, e.Code, "%v", c.err)
		require.Equal(t, c.outcome, e.Outcome, "%v", c.err)
		require.Equal(t, c.retryAfter, e.RetryAfter, "%v", c.err)
		if e.Err != nil {
			require.Equal(t, c.err.Error(), e.Error())
			require.ErrorIs(t, e, c.err)
		}
	}
}

// TestFailWritesWholeSeconds: a part of a second is none for Retry-After.
func TestFailWritesWholeSeconds(t *testing.T) {
	for after, want := range map[time.Duration]string{0: "", 1: "1", 1400 * time.Millisecond: "1", 1600 * time.Millisecond: "2", time.Hour: "3600"} {
		w := httptest.NewRecorder()
		httpapi.Fail(w, &httpapi.Error{Status: 503, Code: "x", Outcome: httpapi.NotApplied, Message: "y -> z", RetryAfter: after})
		require.Equal(t, want, w.Header().Get("Retry-After"))
		require.Equal(t, `{"error":"y -> z","code":"x","outcome":"not applied"}`+"\n", w.Body.String())
	}
}

// TestHandle: what a Func returns is what the client gets.
func TestHandle(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		ask := func(f httpapi.Func) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			c.apis[0].Handle(f).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"a": 1}`)))
			return w
		}
		answered := func(answer any) httpapi.Func { return func(*http.Request) (any, error) { return answer, nil } }
		w := ask(answered(map[string]int{"b": 2}))
		require.Equal(t, http.StatusOK, w.Code)
		require.JSONEq(t, `{"b": 2}`, w.Body.String())
		for _, nothing := range []any{nil, httpapi.Answer{}, httpapi.Answer{Status: http.StatusNoContent}} {
			w = ask(answered(nothing))
			require.Equal(t, http.StatusNoContent, w.Code)
			require.Empty(t, w.Body.String())
		}
		w = ask(answered(httpapi.Answer{Header: http.Header{"content-type": {"text/plain"}, "x-y": {"z"}}, Body: "b"}))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "z", w.Header().Get("X-Y"))
		w = ask(answered(httpapi.Answer{Status: http.StatusAccepted, Body: []byte{1}}))
		require.Equal(t, http.StatusAccepted, w.Code)
		require.JSONEq(t, `"AQ=="`, w.Body.String())

		requireFailure(t, ask(answered(func() {})), 500, "internal", httpapi.Unknown)
		requireFailure(t, ask(answered(httpapi.Answer{Status: 99, Body: 1})), 500, "internal", httpapi.Unknown)
		requireFailure(t, ask(func(*http.Request) (any, error) { return nil, &httpapi.Error{Message: "x"} }), 500, "internal", httpapi.Unknown)
		requireFailure(t, ask(func(*http.Request) (any, error) { panic("a defect") }), 500, "internal", httpapi.Unknown)
		requireFailure(t, ask(func(*http.Request) (any, error) { return nil, httpapi.Refusal("rude", "no %s", "way") }),
			409, "rude", httpapi.Refused)
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { ask(func(*http.Request) (any, error) { panic(http.ErrAbortHandler) }) })
	})
}

// TestHandleReadsBodies: a Func gets the whole body, but none with GET.
func TestHandleReadsBodies(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		for method, want := range map[string]string{http.MethodPost: "12345", http.MethodDelete: "12345", http.MethodGet: "", http.MethodHead: ""} {
			handler := c.apis[0].Handle(func(r *http.Request) (any, error) {
				body, err := io.ReadAll(r.Body)
				require.Len(t, body, int(r.ContentLength))
				return string(body), err
			})
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(method, "/", io.MultiReader(strings.NewReader("123"), strings.NewReader("45"))))
			require.JSONEq(t, fmt.Sprintf("%q", want), w.Body.String(), method)
		}
	})
}

// TestReadJSON: a body is one JSON value with known fields.
func TestReadJSON(t *testing.T) {
	read := func(body string) error {
		var into struct{ A int }
		return httpapi.ReadJSON(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), &into)
	}
	require.NoError(t, read(` {"a": 1} `))
	for _, body := range []string{"", "{", `{"a": "1"}`, `{"b": 1}`, `{"a": 1} 2`, `{"a": 1} x`, "\xff"} {
		err := read(body)
		require.Equal(t, 400, httpapi.ErrorOf(err).Status, body)
		require.Equal(t, "bad_request", httpapi.ErrorOf(err).Code, body)
	}
}
