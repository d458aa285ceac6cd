package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// An Outcome says what became of a request that failed.
type Outcome string

// The outcomes.
const (
	// NotApplied: this copy of the request has changed nothing, and never will.
	NotApplied Outcome = "not applied"
	// Refused: the command was carried out in its turn, and the state machine has refused it. Every
	// copy of the command gets this answer.
	Refused Outcome = "refused"
	// Unknown: the request may be carried out or not, now or later.
	Unknown Outcome = "unknown"
)

// An Error is the answer to a request that failed. As JSON it is the body of that answer.
type Error struct {
	// Status is the status code of HTTP, 400 to 599.
	Status int `json:"-"`
	// Message is for people.
	Message string `json:"error"`
	// Code is for programs: lower-case words with underscores between them. The same failure always
	// has the same code.
	Code string `json:"code"`
	// Outcome says what became of the request.
	Outcome Outcome `json:"outcome"`
	// RetryAfter is after how long it makes sense to ask this server again, in whole seconds; 0 if
	// nothing is known about that. It becomes the header field Retry-After.
	RetryAfter time.Duration `json:"-"`
	// Err is the error behind this one; nil if there is none.
	Err error `json:"-"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// BadRequest returns the error of a request that is wrong: 400, not applied.
func BadRequest(format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Outcome: NotApplied, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Refusal returns the error of a command that the state machine has refused: 409, refused. The code
// is one of the service's own.
func Refusal(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusConflict, Code: code, Outcome: Refused, Message: fmt.Sprintf(format, args...)}
}

// A rule says how an error is answered that has a reason.
type rule struct {
	reason     error
	status     int
	code       string
	retryAfter time.Duration
}

// rules are for errors that are ErrNotApplied, and for those of reads. The first that fits counts.
// An error may have several reasons: ErrStopped comes with the failure that stopped the node.
var rules = []rule{
	{raft.ErrSessionExpired, http.StatusGone, "session_expired", 0},
	{raft.ErrSessionAnswered, http.StatusGone, "session_answered", 0},
	{raft.ErrStopped, http.StatusServiceUnavailable, "stopped", 0},
	{raft.ErrClosed, http.StatusServiceUnavailable, "closed", 0},
	{raft.ErrRemoved, http.StatusServiceUnavailable, "removed", 0},
	{raft.ErrOverloaded, http.StatusServiceUnavailable, "overloaded", time.Second},
	{raft.ErrFull, http.StatusServiceUnavailable, "full", 10 * time.Second},
	{raft.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", 0},
	{wire.ErrMalformed, http.StatusBadRequest, "bad_request", 0},
	{raft.ErrChangeInProgress, http.StatusServiceUnavailable, "change_in_progress", time.Second},
	{raft.ErrUnreachable, http.StatusServiceUnavailable, "unreachable", time.Second},
	{raft.ErrNotCaughtUp, http.StatusServiceUnavailable, "not_caught_up", time.Second},
	{raft.ErrTransferInProgress, http.StatusServiceUnavailable, "transfer_in_progress", time.Second},
	{raft.ErrTransferGivenUp, http.StatusServiceUnavailable, "transfer_given_up", time.Second},
	{raft.ErrConflict, http.StatusConflict, "conflict", 0},
	{raft.ErrMembers, http.StatusConflict, "bad_members", 0},
	{raft.ErrNotMember, http.StatusConflict, "not_member", 0},
	{raft.ErrForeignServer, http.StatusConflict, "foreign_server", 0},
	{raft.ErrTransferTarget, http.StatusConflict, "transfer_target", 0},
	{raft.ErrNotLeader, http.StatusConflict, "not_leader", 0},
	{raft.ErrNotInForce, http.StatusConflict, "not_in_force", 0},
	{raft.ErrUnknownCall, http.StatusConflict, "not_in_force", 0},
}

// disks are the rules for what the disk of a server has lost: a change of the members that names
// such a server, or a call at it.
var disks = []rule{
	{raft.ErrOtherIncarnation, http.StatusConflict, "other_incarnation", 0},
	{raft.ErrRolledBack, http.StatusConflict, "rolled_back", 0},
	{raft.ErrOutdated, http.StatusConflict, "outdated", 0},
}

// ErrorOf says how an error is answered. An *Error is answered as it is, and an error of a Node by
// this table:
//
//	400  bad_request           the numbers of the command make no sense
//	409  not_applied           Config.Validate has refused the command, or a reason that this table doesn't have
//	409  conflict, bad_members, not_member, foreign_server, other_incarnation, rolled_back, outdated, not_in_force,
//	     transfer_target, not_leader   the error of package raft with this name
//	410  session_expired       there is no such session any more; unknown, for there may have been other copies
//	410  session_answered      the client has said that it has the answer; unknown likewise
//	413  too_large             the command is larger than Config.MaxCommandBytes
//	503  no_leader             no leader was there in time
//	503  no_part               this server takes no part in its cluster, and says why
//	503  timeout               the time was over before the command left this server
//	503  overloaded, full      wait before the next attempt
//	503  closed, stopped, removed   this server isn't there for requests any more; another one is
//	503  change_in_progress, unreachable, not_caught_up, transfer_in_progress, transfer_given_up   the error of
//	     package raft with this name
//	504  outcome_unknown       ErrOutcomeUnknown, whatever the reason
//
// Every other error is a defect of the service: 500, internal, unknown. It is the answer also to
// nil.
func ErrorOf(err error) *Error {
	own, isOwn := errors.AsType[*Error](err)
	switch {
	case own != nil:
		return own
	case err == nil || isOwn: // a nil *Error is no nil error
		return &Error{Status: http.StatusInternalServerError, Code: "internal", Outcome: Unknown, Message: "no error"}
	}
	call, ofNode := errors.AsType[*raft.CallError](err)
	gone := errors.Is(err, raft.ErrSessionExpired) || errors.Is(err, raft.ErrSessionAnswered)
	switch {
	case errors.Is(err, raft.ErrOutcomeUnknown) && gone:
		return notApplied(err, call).with(Unknown)
	case errors.Is(err, raft.ErrOutcomeUnknown):
		return &Error{Status: http.StatusGatewayTimeout, Code: "outcome_unknown", Outcome: Unknown, Message: err.Error(), Err: err}
	case errors.Is(err, raft.ErrNotApplied) || ofNode:
		return notApplied(err, call)
	}
	return &Error{Status: http.StatusInternalServerError, Code: "internal", Outcome: Unknown, Message: err.Error(), Err: err}
}

// with changes the outcome.
func (e *Error) with(outcome Outcome) *Error {
	e.Outcome = outcome
	return e
}

// notApplied says how an error is answered by its reason. call is the error as a CallError, or nil.
func notApplied(err error, call *raft.CallError) *Error {
	found := reasonOf(err, call)
	return &Error{
		Status: found.status, Code: found.code, Outcome: NotApplied, Message: err.Error(), RetryAfter: found.retryAfter, Err: err,
	}
}

// reasonOf finds the rule for an error.
func reasonOf(err error, call *raft.CallError) rule {
	for _, r := range rules {
		if errors.Is(err, r.reason) {
			return r
		}
	}
	over := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	for _, r := range disks {
		if errors.Is(err, r.reason) && !over {
			return r
		}
	}
	switch {
	case !over:
		return rule{nil, http.StatusConflict, "not_applied", 0}
	case inTrouble(err):
		return rule{nil, http.StatusServiceUnavailable, "no_part", 0}
	case call != nil && (call.NoLeader != nil || call.Leadership.Leader == ""):
		return rule{nil, http.StatusServiceUnavailable, "no_leader", time.Second}
	}
	return rule{nil, http.StatusServiceUnavailable, "timeout", time.Second}
}

// inTrouble says whether a call failed because its server takes no part in the cluster.
func inTrouble(err error) bool {
	for _, trouble := range []error{
		raft.ErrBootstrapMismatch, raft.ErrOtherIncarnation, raft.ErrRolledBack, raft.ErrOtherCluster, raft.ErrOutdated,
		raft.ErrMoved, raft.ErrNoCluster,
	} {
		if errors.Is(err, trouble) {
			return true
		}
	}
	return false
}
