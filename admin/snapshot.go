package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// A Snapshot asks a server to take a snapshot.
type Snapshot struct{ Wait }

// Snapshotted is the answer when there is one: the last entry that the server's snapshot has covered
// before, and covers now. They are equal if it had covered all that was applied already.
type Snapshotted struct {
	ID     raft.ServerID `json:"id"`
	Before raft.Index    `json:"before"`
	After  raft.Index    `json:"after"`
}

// snapshot takes a snapshot.
func (h *handler) snapshot(r *http.Request) (answer any, err error) {
	var asked Snapshot
	ctx, cancel, err := read(r, &asked)
	if err != nil {
		return nil, err
	}
	defer cancel()
	defer func() { h.logOutcome(r, err) }()
	before := h.node.Status().Snapshot
	after, err := h.node.Snapshot(ctx)
	if err != nil {
		return nil, snapshotError(err)
	}
	return Snapshotted{h.id, before, after}, nil
}

// exportPatience is how long the reader of an export may leave what it is sent unread.
const exportPatience = time.Minute

// export answers with an exported snapshot. It covers all that was acknowledged before the request
// came. If it fails after it has begun, the connection is broken off, and the reader sees that the end
// is missing.
func (h *handler) export(w http.ResponseWriter, r *http.Request) {
	h, err := h.of(r)
	if err != nil {
		httpapi.Fail(w, err)
		return
	}
	into := &exporting{to: w, control: http.NewResponseController(w)}
	into.extend(MaxTimeout) // for the snapshot, which comes before the first byte
	err = h.upToDate(r.Context())
	if err == nil {
		var index raft.Index
		if index, err = h.node.ExportSnapshot(r.Context(), into); err == nil {
			h.logOutcome(r, nil, "index", index, "bytes", into.sent)
			return
		}
		err = snapshotError(err)
	}
	h.logOutcome(r, err)
	if into.sent > 0 {
		panic(http.ErrAbortHandler) // this breaks the connection off
	}
	httpapi.Fail(w, err)
}

// upToDate waits until this server has applied all that was acknowledged before.
func (h *handler) upToDate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	return h.node.Read(ctx)
}

// An exporting is the answer to a request for an export.
type exporting struct {
	to      http.ResponseWriter
	control *http.ResponseController
	sent    int64
	until   time.Time // the deadline that was set last
}

// extend puts off the deadline of the server for writing the answer. A writer that has none, as in
// tests, needs none.
func (e *exporting) extend(by time.Duration) {
	e.until = time.Now().Add(by)
	_ = e.control.SetWriteDeadline(e.until)
}

// Write implements io.Writer.
func (e *exporting) Write(b []byte) (int, error) {
	if e.sent == 0 {
		e.to.Header().Set("Content-Type", "application/octet-stream")
	}
	if time.Until(e.until) < exportPatience/2 || e.sent == 0 {
		e.extend(exportPatience)
	}
	n, err := e.to.Write(b)
	e.sent += int64(n)
	return n, err
}
