package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// A Change asks for a change of the members.
type Change struct {
	// Members are those that the change is about: one, or all that are to be for set.
	Members []Target `json:"members"`
	// Expect is the index of the configuration that the caller knows (Membership.Index): the change
	// fails with conflict if it isn't the latest one any more. 0 expects none: then it is the one that
	// the answer shows as before.
	Expect raft.Index `json:"expect,omitempty"`
	Wait
}

// A Target is a server that is to be a member, or isn't to be one any more.
type Target struct {
	ID raft.ServerID `json:"id"`
	// Address is where the other servers reach it. For replace and set, "" stands for the one that the
	// cluster knows. For remove it isn't used.
	Address string `json:"address,omitempty"`
	// Role is "voter" or "learner", for add and set; "" stands for "voter".
	Role string `json:"role,omitempty"`
}

// Changed is the answer to a change that was made.
type Changed struct {
	Before Membership `json:"before"`
	// After is what the server knows when the change is made; nil if it doesn't know it yet. Index is
	// the index of the configuration with which it was made.
	After *Membership `json:"after,omitempty"`
	Index raft.Index  `json:"index"`
}

// A changer makes a change of the members.
type changer struct {
	one  bool // the change is about one server
	make func(ctx context.Context, node *raft.Node, members []raft.Member, expect raft.ChangeOption) (raft.Index, error)
}

// changes are the changes of the members, by their names in the path.
var changes = map[string]changer{
	"add": {true, func(ctx context.Context, node *raft.Node, m []raft.Member, expect raft.ChangeOption) (raft.Index, error) {
		if m[0].Role == raft.Learner {
			return node.AddLearner(ctx, m[0].Server, expect)
		}
		return node.AddServer(ctx, m[0].Server, expect)
	}},
	"remove": {true, func(ctx context.Context, node *raft.Node, m []raft.Member, expect raft.ChangeOption) (raft.Index, error) {
		return node.RemoveServer(ctx, m[0].ID, expect)
	}},
	"replace": {true, func(ctx context.Context, node *raft.Node, m []raft.Member, expect raft.ChangeOption) (raft.Index, error) {
		return node.Replace(ctx, m[0].Server, expect)
	}},
	"set": {false, func(ctx context.Context, node *raft.Node, m []raft.Member, expect raft.ChangeOption) (raft.Index, error) {
		return node.SetMembers(ctx, m, expect)
	}},
}

// unasked is how often a change is tried for which the caller has named no condition, while others
// come in between: a change of the cluster's key or level, for instance, which follows many changes.
const unasked = 5

// change makes a change of the members.
func (h *handler) change(r *http.Request, name string, c changer) (answer any, err error) {
	var asked Change
	ctx, cancel, err := read(r, &asked)
	if err != nil {
		return nil, err
	}
	defer cancel()
	members, err := asked.members(name, c.one)
	if err != nil {
		return nil, err
	}
	defer func() { h.logOutcome(r, err, "members", members) }()
	for try := 1; ; try++ {
		answer, err := h.tryChange(ctx, c, members, asked.Expect)
		if asked.Expect != 0 || try == unasked || !errors.Is(err, raft.ErrConflict) || errors.Is(err, raft.ErrOutcomeUnknown) {
			return answer, err
		}
	}
}

// tryChange makes a change under the condition that the configuration is the one that it returns as
// before.
func (h *handler) tryChange(ctx context.Context, c changer, members []raft.Member, expect raft.Index) (any, error) {
	readErr := h.look(ctx)
	is := h.node.Status()
	before := membershipOf(&is)
	switch {
	case before.Index == 0:
		return nil, unavailable("no_part", errors.Join(errors.New("this server belongs to no cluster yet"), is.Trouble))
	case expect != 0 && expect > before.Index && readErr != nil:
		return nil, readErr // this server may lag behind
	case expect != 0 && expect != before.Index:
		return nil, conflict("the configuration is that at index %d now, not that at %d", before.Index, expect)
	}
	index, err := c.make(ctx, h.node, members, raft.Expect(before.Index))
	if err != nil {
		return nil, err
	}
	changed := Changed{Before: before, Index: index}
	if is = h.node.Status(); is.ConfigurationIndex < index {
		_ = h.look(ctx) // without it, this server doesn't know what is after
		is = h.node.Status()
	}
	if is.ConfigurationIndex >= index {
		after := membershipOf(&is)
		changed.After = &after
	}
	return changed, nil
}

// conflict returns the error of a change whose condition doesn't hold.
func conflict(format string, args ...any) *httpapi.Error {
	return &httpapi.Error{
		Status: http.StatusConflict, Code: "conflict", Outcome: httpapi.NotApplied, Message: fmt.Sprintf(format, args...), Err: raft.ErrConflict,
	}
}

// members returns the servers that a change is about.
func (c *Change) members(name string, one bool) (members []raft.Member, err error) {
	if one && len(c.Members) != 1 || len(c.Members) == 0 {
		return nil, httpapi.BadRequest("%s: the number of members is %d", name, len(c.Members))
	}
	for _, target := range c.Members {
		m := raft.Member{Server: raft.Server{ID: target.ID, Address: target.Address}}
		switch target.Role {
		case "", "voter":
			m.Role = raft.Voter
		case "learner":
			m.Role = raft.Learner
		default:
			return nil, httpapi.BadRequest("%s: the role of server %q is %q, neither voter nor learner", name, target.ID, target.Role)
		}
		if name == "add" && target.Address == "" {
			return nil, httpapi.BadRequest("add: server %q has no address", target.ID)
		}
		members = append(members, m)
	}
	return members, nil
}

// A Transfer asks to hand the leadership over. Nothing is done if the server leads already.
type Transfer struct {
	To raft.ServerID `json:"to"` // "" leaves the choice to the leader
	// ExpectTerm is the term of the leader that is to hand over; 0 expects none. The server that is
	// asked checks it, by what it knows: a new leader may come right after that.
	ExpectTerm raft.Term `json:"expect_term,omitempty"`
	Wait
}

// Transferred is the answer to a transfer that was made.
type Transferred struct {
	Before Leadership `json:"before"`
	After  Leadership `json:"after"`
}

// A Leadership says who leads in which term, as a server knows it.
type Leadership struct {
	Leader raft.ServerID `json:"leader"` // "" while the server knows none
	Term   raft.Term     `json:"term"`
}

// transfer hands the leadership over.
func (h *handler) transfer(r *http.Request) (answer any, err error) {
	var asked Transfer
	ctx, cancel, err := read(r, &asked)
	if err != nil {
		return nil, err
	}
	defer cancel()
	defer func() { h.logOutcome(r, err, "to", asked.To) }()
	readErr := h.look(ctx)
	before := h.leadership()
	switch {
	case asked.ExpectTerm > before.Term && readErr != nil:
		return nil, readErr
	case asked.ExpectTerm != 0 && asked.ExpectTerm != before.Term:
		return nil, conflict("the term is %d now, not %d", before.Term, asked.ExpectTerm)
	case readErr == nil && asked.To != "" && asked.To == before.Leader:
		return Transferred{before, before}, nil
	}
	if err := h.node.TransferLeadership(ctx, asked.To); err != nil {
		return nil, err
	}
	if after := h.leadership(); after.Term == before.Term || after.Leader == "" {
		_ = h.look(ctx) // without it, this server may not know the new leader yet
	}
	return Transferred{before, h.leadership()}, nil
}

func (h *handler) leadership() Leadership {
	is := h.node.Leadership()
	return Leadership{is.Leader, is.Term}
}
