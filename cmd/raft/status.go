package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
)

// silentFrom is from when on it is told that a server is silent, in milliseconds. Heartbeats come far
// more often.
const silentFrom = 3000

// A report is what raft status prints.
type report struct {
	Well    bool           `json:"well"`
	Servers []serverReport `json:"servers"`
	// Unasked are the members that no address on the command line has turned out to be.
	Unasked []raft.ServerID `json:"unasked,omitempty"`
	// Notes say what isn't well, and what waits, in a line each.
	Notes []string `json:"notes,omitempty"`

	membership *admin.Membership // the latest one; nil if nobody belongs to a cluster
	answered   int
}

// A serverReport is what one server knows, or why it doesn't answer.
type serverReport struct {
	Name   string        `json:"name"`
	Status *admin.Status `json:"status,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// status prints what all servers know.
func status(c *call) int {
	var s cluster
	flags := c.flags()
	s.flags(flags)
	if _, code, ok := c.parse(flags, 0, 0); !ok {
		return code
	}
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	views := s.look(c.ctx)
	if haveManyGroups(views) && s.group == "" {
		r := s.lookAtHosts(c.ctx, briefly)
		return c.end(c.show(&r))
	}
	r := reportOf(views)
	return c.end(c.show(&r))
}

// briefly is how long raft status measures the rates of servers with many groups.
const briefly = 200 * time.Millisecond

// show prints a report, and returns its exit code.
func (c *call) show(r interface {
	print(to io.Writer)
	code() int
}) int {
	if c.json {
		c.printJSON(r)
	} else {
		r.print(c.out)
	}
	return r.code()
}

// code returns the exit code.
func (r *report) code() int {
	switch {
	case r.answered == 0:
		return exitUntold
	case !r.Well:
		return exitNot
	}
	return exitWell
}

// reportOf puts together what the servers know.
func reportOf(views []view) report {
	r := report{Well: true}
	var known []raft.ServerID
	for i := range views {
		v := &views[i]
		shown := serverReport{Name: v.name()}
		if v.err != nil {
			shown.Error, r.Well = v.err.Error(), false
			known = append(known, raft.ServerID(v.name())) // if the command line names it
		} else {
			r.answered++
			shown.Status, known = &v.status, append(known, v.status.ID)
			r.note(&v.status)
		}
		r.Servers = append(r.Servers, shown)
	}
	if r.answered > 0 && leading(views) == nil {
		r.bad("none of the servers that answer leads")
	}
	if v := latest(views); v != nil {
		r.membership = &v.status.Membership
		r.compare(views)
		isMember := func(id raft.ServerID) bool {
			return slices.ContainsFunc(r.membership.Members, func(m admin.Member) bool { return m.ID == id })
		}
		for i := range views {
			if v := &views[i]; v.err == nil && v.status.Trouble == "" && !isMember(v.status.ID) {
				r.Notes = append(r.Notes, fmt.Sprintf("%s is no member", v.status.ID))
			}
		}
		for _, m := range r.membership.Members {
			if !slices.Contains(known, m.ID) {
				r.Unasked = append(r.Unasked, m.ID)
			}
		}
	}
	return r
}

// bad notes something that isn't well.
func (r *report) bad(format string, args ...any) {
	r.Well = false
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// note notes what a server says of itself and of others.
func (r *report) note(s *admin.Status) {
	if s.Trouble != "" {
		r.bad("%s takes no part: %s", s.ID, s.Trouble)
	}
	if s.NoLeader != "" {
		r.bad("%s: %s", s.ID, s.NoLeader)
	}
	for _, problem := range s.Problems {
		r.bad("%s: %s", s.ID, problem)
	}
	for i := range s.Peers {
		p := &s.Peers[i]
		if p.SilentMS >= silentFrom {
			r.bad("%s has heard nothing from %s for %v", s.ID, p.ID, milliseconds(p.SilentMS))
		}
		if p.Trouble != "" {
			r.bad("%s takes no part: %s", p.ID, p.Trouble)
		}
		if p.Full {
			r.bad("the disk of %s is full", p.ID)
		}
		if t := p.Snapshot; t != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("%s sends a snapshot of entry %d to %s: %s, %d of %d bytes", s.ID, t.Index, p.ID, t.Stage, t.Done, t.Size))
		}
	}
	for i := range s.Waiting {
		w := &s.Waiting[i]
		r.Notes = append(r.Notes, fmt.Sprintf("%s: the oldest %s %s", s.ID, w.Kind, w.Text))
	}
	if s.HandingOver != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("%s hands over to %s", s.ID, s.HandingOver))
	}
	if m := &s.Membership; len(m.Old) > 0 || len(m.Next) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s: a change of the members is under way", s.ID))
	}
}

// compare notes servers of different clusters.
func (r *report) compare(views []view) {
	for i := range views {
		if v := &views[i]; v.err == nil && v.status.Membership.Index > 0 && v.status.Membership.Cluster != r.membership.Cluster {
			r.bad("%s belongs to another cluster, %s", v.status.ID, v.status.Membership.Cluster)
		}
	}
}

// print prints the report.
func (r *report) print(to io.Writer) {
	if m := r.membership; m != nil {
		fmt.Fprintf(to, "cluster %s, configuration at %d: %s\n", m.Cluster, m.Index, counted(m.Members))
	}
	table := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "SERVER\tROLE\tTERM\tLEADER\tAPPLIED\tCOMMIT\tLAST\tSNAPSHOT\tWAITING")
	for i := range r.Servers {
		s := r.Servers[i].Status
		if s == nil {
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\n", s.ID, s.Role, s.Term, orDash(s.Leader),
			s.Applied, s.Commit, s.Last, s.Snapshot, s.Pending.Commands+s.Pending.Reads+s.Pending.Calls)
	}
	_ = table.Flush() // to keeps its first error
	for i := range r.Servers {
		if s := &r.Servers[i]; s.Status == nil {
			fmt.Fprintf(to, "%s doesn't answer: %s\n", s.Name, s.Error)
		}
	}
	for _, id := range r.Unasked {
		fmt.Fprintf(to, "%s was not asked: no address on the command line is its\n", id)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(to, note)
	}
	if r.Well {
		fmt.Fprintln(to, "all is well")
	}
}

func orDash(id raft.ServerID) string {
	if id == "" {
		return "-"
	}
	return string(id)
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// counted says how many members there are of each role.
func counted(members []admin.Member) string {
	var text []string
	for _, role := range []string{"voter", "learner", "joining"} {
		n := 0
		for i := range members {
			if members[i].Role == role {
				n++
			}
		}
		switch {
		case n == 1:
			text = append(text, "1 "+role)
		case n > 1:
			text = append(text, fmt.Sprintf("%d %ss", n, role))
		}
	}
	return strings.Join(text, ", ")
}

// members prints the members of the cluster.
func members(c *call) int {
	var s cluster
	flags := c.flags()
	s.flags(flags)
	if _, code, ok := c.parse(flags, 0, 0); !ok {
		return code
	}
	if err := s.connect(); err != nil {
		return c.usage("%v", err)
	}
	views := s.look(c.ctx)
	found := leading(views)
	if found == nil {
		found = latest(views)
	}
	if found == nil {
		if err := silence(views); err != nil {
			return c.fail(exitUntold, err)
		}
		return c.fail(exitNot, fmt.Errorf("none of the servers belongs to a cluster"))
	}
	if found.status.Role != "leader" {
		fmt.Fprintf(c.errs, "raft: members: no leader answers; this is what server %s knows\n", found.status.ID)
	}
	if c.json {
		c.printJSON(found.status.Membership)
	} else {
		printMembership(c.out, &found.status.Membership)
	}
	return c.end(exitWell)
}

// printMembership prints a configuration.
func printMembership(to io.Writer, m *admin.Membership) {
	fmt.Fprintf(to, "configuration at %d of cluster %s\n", m.Index, m.Cluster)
	table := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	list := func(members []admin.Member, note string) {
		for _, m := range members {
			fmt.Fprintf(table, "  %s\t%s\t%s\tdisk %s%s\n", m.ID, m.Address, m.Role, m.Disk, note)
		}
	}
	list(m.Members, "")
	list(m.Old, "\tbefore: a majority of these is needed too")
	list(m.Next, "\tto be")
	_ = table.Flush() // to keeps its first error
}
