// Package httpapi is what services on top of package raft share over HTTP. It turns errors into
// answers that a client of any language can act on, and an Idempotency-Key into a command of a
// session. It says whether a server is alive, ready and well, and shuts down in the right order.
//
//	api := httpapi.New(node, httpapi.Options{})
//	mux := http.NewServeMux()
//	api.Routes(mux) // sessions, status, health
//	mux.Handle("POST /counter", api.Handle(add))
//	err := api.Serve(ctx, listener, mux)
//
// Any server of the cluster answers any request. The service to copy is examples/counter. What the
// routes of this package take and answer is in openapi.json. Clients for Python and Node are in the
// folder clients.
//
// # Failures
//
// A request that fails has a status of 400 or more and this body:
//
//	{"error": "a text for people", "code": "no_leader", "outcome": "not applied"}
//
// The code is for programs, and stays the same. The outcome is one of three:
//
//   - "not applied": this copy of the request has changed nothing, and never will.
//   - "refused": the command was carried out in its turn, and the state machine has refused it. This
//     is a result: every copy of the command gets it.
//   - "unknown": the request may be carried out or not, now or later.
//
// The status says what to do:
//
//	400 404 405 408 413   the request is wrong
//	409                   not applied, or refused, and so it will be if it is sent again as it is
//	410                   the session has expired, or has said that it has the answer
//	500                   a defect of the service
//	503                   not applied: send it again, here after Retry-After or elsewhere at once
//	504                   unknown: send it again with the same Idempotency-Key
//
// [ErrorOf] has the table of all codes.
//
// # Exactly once
//
// A client that sends a request again, because it got no answer or the answer is 504, mustn't have
// it carried out twice. For this it opens a session with POST /sessions, and gives each of its
// commands a number of that session, from 1 on. The number comes with each copy of the command, in
// the header field Idempotency-Key (draft-ietf-httpapi-idempotency-key-header):
//
//	Idempotency-Key: "3.1042-7";lowest=5
//
// This is command 7 of session 3.1042. Every copy gets the result of the one time that the command
// is applied, at whichever servers the copies arrive, one after the other or at the same time. A
// field without quotes is malformed: the draft says that its value is a string (RFC 9651).
//
// The parameter lowest is the lowest number whose answer the client may still need. The servers
// keep no result below it, and answer 410 (session_answered) to a late copy of such a command. It
// is at most 255 below the number, and without it, it is just that. So a client may have 256
// commands on their way, in any order. A client that sends one command after the other does well to
// send its number as lowest: the servers then keep one result for it, rather than 256.
//
// Requests that may come twice anyway need no key, and it is ignored there: those with GET and DELETE,
// and POST /sessions.
//
// A session is closed with DELETE /sessions/3.1042. It may also expire: the cluster keeps as many
// sessions as raft.Config.MaxSessions and MaxSessionBytes allow, and drops those that were used
// least recently. A command of a session that is gone gets 410 (session_expired), and is never
// applied from then on. If the client has sent a copy of it before, nobody knows what became of
// that: the outcome is "unknown", for the server can't know about other copies. If this was the
// only copy, the client knows that it wasn't applied.
//
// What this package doesn't do: a number names the first command that comes with it, and a copy
// with another body gets the result of the first. A session is no secret either: whoever reaches
// the service may use any session.
//
// Beware of clients that repeat requests by themselves. That of net/http repeats a request with an
// Idempotency-Key when its connection breaks. That is what the field is for, but the client can't
// say any more that it has sent one copy.
//
// # Limits
//
// [Options] has the limits of a request: its time, and the size of its body. A header has at most 64
// KiB. How many requests may wait is the node's business (raft.Config.MaxPending): more are answered
// 503 (overloaded). This package doesn't limit how many connections there are. A listener that does
// is the place for that.
//
// # Stopping
//
// [API.Serve] stops a service in this order: it says that it isn't ready, accepts no connections
// any more, lets the requests that are under way come to their end, and closes the node. Closing
// hands the leadership over, and then lets go of the transport and the storage. In another order
// clients are told without need that an outcome is unknown.
//
// # Who may do what
//
// This package authenticates nobody. A listener of crypto/tls and a handler around the mux are the
// places for that. No route changes the members of the cluster: that is for operators, who come in by
// a door of their own, package admin.
package httpapi
