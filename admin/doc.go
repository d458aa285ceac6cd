// Package admin is the administration of a cluster over HTTP: a handler for the mux of a service, a
// client for it, and what the command cmd/raft speaks to.
//
//	handler, err := admin.New(admin.Config{Node: node, Authorize: admin.Certificate("operator")})
//	mux.Handle(admin.Path, handler)
//
// Nothing is served by itself. A service mounts the handler on its own mux, or has [Listen] serve it
// on a listener of its own: a unix socket, or a loopback address, or any address with certificates of
// clients.
//
// The server may be a host with many groups (Config.Host). Then each request names the group that it is
// about, by the query: /raft/status?group=NAME. Client.Group does so.
//
// # Who may use it
//
// Whoever may use the handler can take the cluster apart. So there is no handler without a
// Config.Authorize, which decides about each request before anything else does. [UnixSocket],
// [Loopback] and [Certificate] are made for it. Requests of web pages are refused whatever it says:
// a page that somebody happens to look at must not reach the cluster through the browser.
//
// # What it takes
//
// Every request is about the server that is asked, or about its cluster. A change of the cluster can
// be asked for at any member. Bodies and answers are JSON, but for that of an export.
//
//	GET  /raft/host               Host: how all groups of this server are, and which are the busiest
//	GET  /raft/status             Status: what this server knows, what waits there, and why
//	POST /raft/members/add        Change → Changed: make a server a voter, or a learner
//	POST /raft/members/remove     Change → Changed
//	POST /raft/members/replace    Change → Changed: make the present disk of a member count
//	POST /raft/members/set        Change → Changed: all members at once
//	POST /raft/transfer           Transfer → Transferred: hand the leadership over
//	POST /raft/snapshot           Snapshot → Snapshotted: have this server take a snapshot
//	POST /raft/export             an exported snapshot (raft.Node.ExportSnapshot), as bytes
//
// A change is made under the condition that the cluster is what the answer shows as before: another
// change that comes in between makes it fail, with 409 and the code conflict. A client may name the
// condition itself (Change.Expect, Transfer.ExpectTerm).
//
// Failures are those of package httpapi, with the same codes, and more: forbidden (403), that Authorize
// has refused; no_group (404), that the request names no group which runs at this server; no_host (404),
// that the server has one group only; no_snapshot (409), that there is nothing yet to take a snapshot
// of; and not_taken (503), that a snapshot couldn't be taken.
package admin
