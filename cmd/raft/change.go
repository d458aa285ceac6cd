package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
)

// A changing is a change of the members, as the command line has it.
type changing struct {
	cluster
	expect uint64
}

// flags adds the flags of a change.
func (s *changing) flags(flags *flag.FlagSet) {
	s.cluster.flags(flags)
	flags.Uint64Var(&s.expect, "expect", 0, "the `index` of the configuration that is to be changed, as raft members shows it; the change is refused if it is another one")
}

// parseTarget reads ID[=ADDRESS][,learner].
func parseTarget(text string) (admin.Target, error) {
	text, learner := strings.CutSuffix(text, ",learner")
	id, address, found := strings.Cut(text, "=")
	if id == "" || found && address == "" || strings.Contains(text, ",") {
		return admin.Target{}, fmt.Errorf("%q is not ID=ADDRESS", text)
	}
	t := admin.Target{ID: raft.ServerID(id), Address: address}
	if learner {
		t.Role = "learner"
	}
	return t, nil
}

// add makes a server a voter or a learner.
func add(c *call) int {
	var s changing
	flags := c.flags()
	s.flags(flags)
	learner := flags.Bool("learner", false, "make it a learner: it gets the log, and doesn't count")
	arguments, code, ok := c.parse(flags, 1, 1)
	if !ok {
		return code
	}
	target, err := parseTarget(arguments[0])
	if err != nil || target.Address == "" || target.Role != "" {
		return c.usage("%q is not ID=ADDRESS", arguments[0])
	}
	if *learner {
		target.Role = "learner"
	}
	return c.change(&s, []admin.Target{target}, (*admin.Client).Add)
}

// remove removes a server.
func remove(c *call) int {
	var s changing
	flags := c.flags()
	s.flags(flags)
	arguments, code, ok := c.parse(flags, 1, 1)
	if !ok {
		return code
	}
	return c.change(&s, []admin.Target{{ID: raft.ServerID(arguments[0])}}, (*admin.Client).Remove)
}

// replace makes the present disk of a server count.
func replace(c *call) int {
	var s changing
	flags := c.flags()
	s.flags(flags)
	arguments, code, ok := c.parse(flags, 1, 1)
	if !ok {
		return code
	}
	target, err := parseTarget(arguments[0])
	if err != nil || target.Role != "" {
		return c.usage("%q is not ID or ID=ADDRESS", arguments[0])
	}
	return c.change(&s, []admin.Target{target}, (*admin.Client).Replace)
}

// set makes these servers the members.
func set(c *call) int {
	var s changing
	flags := c.flags()
	s.flags(flags)
	arguments, code, ok := c.parse(flags, 1, math.MaxInt)
	if !ok {
		return code
	}
	var targets []admin.Target
	for _, argument := range arguments {
		target, err := parseTarget(argument)
		if err != nil {
			return c.usage("%v", err)
		}
		targets = append(targets, target)
	}
	return c.change(&s, targets, (*admin.Client).Set)
}

// change has a server change the members, and prints the members before and after.
func (c *call) change(s *changing, targets []admin.Target, do func(*admin.Client, context.Context, admin.Change) (admin.Changed, error)) int {
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	views := s.look(c.ctx)
	about := raft.ServerID("")
	if len(targets) == 1 {
		about = targets[0].ID
	}
	able := candidates(views, about)
	if len(able) == 0 {
		return c.fail(exitNot, fmt.Errorf("not done: %w", silence(views)))
	}
	change := admin.Change{Members: targets, Expect: raft.Index(s.expect), Wait: s.wait()}
	done, _, err := try(able, func(client *admin.Client) (admin.Changed, error) {
		ctx, cancel := s.patience(c.ctx)
		defer cancel()
		return do(client, ctx, change)
	})
	if err != nil {
		return c.failed(err)
	}
	if done.After == nil { // the server was removed, or lags behind
		if v := latest(s.look(c.ctx)); v != nil && v.status.Membership.Index >= done.Index {
			done.After = &v.status.Membership
		}
	}
	if c.json {
		c.printJSON(done)
		return c.end(exitWell)
	}
	c.printf("before: ")
	printMembership(c.out, &done.Before)
	if done.After == nil {
		c.printf("done with the configuration at %d, which none of the servers that answer knows yet\n", done.Index)
		return c.end(exitWell)
	}
	c.printf("after:  ")
	printMembership(c.out, done.After)
	return c.end(exitWell)
}

// transfer hands the leadership over.
func transfer(c *call) int {
	var s cluster
	flags := c.flags()
	s.flags(flags)
	expect := flags.Uint64("expect", 0, "the `term` of the leader that is to hand over; it is refused if it is another one")
	arguments, code, ok := c.parse(flags, 0, 1)
	if !ok {
		return code
	}
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	asked := admin.Transfer{ExpectTerm: raft.Term(*expect), Wait: s.wait()}
	if len(arguments) == 1 {
		asked.To = raft.ServerID(arguments[0])
	}
	views := s.look(c.ctx)
	able := candidates(views, "")
	if len(able) == 0 {
		return c.fail(exitNot, fmt.Errorf("not done: %w", silence(views)))
	}
	done, _, err := try(able, func(client *admin.Client) (admin.Transferred, error) {
		ctx, cancel := s.patience(c.ctx)
		defer cancel()
		return client.Transfer(ctx, asked)
	})
	switch {
	case err != nil:
		return c.failed(err)
	case c.json:
		c.printJSON(done)
	default:
		c.printf("before: %s leads in term %d\nafter:  %s leads in term %d\n",
			orDash(done.Before.Leader), done.Before.Term, orDash(done.After.Leader), done.After.Term)
	}
	return c.end(exitWell)
}

// snapshot has servers take a snapshot: those that are named, or all that answer.
func snapshot(c *call) int {
	var s cluster
	flags := c.flags()
	s.flags(flags)
	arguments, code, ok := c.parse(flags, 0, math.MaxInt)
	if !ok {
		return code
	}
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	views := s.look(c.ctx)
	if len(arguments) > 0 {
		var err error
		if views, err = named(views, arguments); err != nil {
			return c.fail(exitNot, errors.Join(fmt.Errorf("not done: %w", err), silence(views)))
		}
	}
	code = exitWell
	for i := range views {
		v := &views[i]
		if v.err != nil {
			code = max(code, c.fail(exitNot, fmt.Errorf("not done: server %s doesn't answer: %w", v.name(), v.err)))
			continue
		}
		ctx, cancel := s.patience(c.ctx)
		done, err := v.client.Snapshot(ctx, admin.Snapshot{Wait: s.wait()})
		cancel()
		if err != nil {
			code = max(code, c.failed(err))
			continue
		}
		if c.json {
			c.printJSON(done)
		} else {
			c.printf("%s: the snapshot covers entries to %d, before: %d\n", done.ID, done.After, done.Before)
		}
	}
	return c.end(code)
}

// named returns the views of the servers with these IDs. The error names one that isn't among those
// that answer.
func named(views []view, ids []string) (found []view, err error) {
	for _, id := range ids {
		at := slices.IndexFunc(views, func(v view) bool { return v.err == nil && v.name() == id })
		if at < 0 {
			return views, fmt.Errorf("no server that answers is %s", id)
		}
		found = append(found, views[at])
	}
	return found, nil
}
