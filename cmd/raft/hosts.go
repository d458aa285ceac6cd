package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
)

// A hostView is what one server with many groups has answered, or why it hasn't.
type hostView struct {
	Name  string      `json:"name"`
	Host  *admin.Host `json:"host,omitempty"`
	Error string      `json:"error,omitempty"`
}

// A hostReport is what raft status and raft top print of servers with many groups, when no group is
// named.
type hostReport struct {
	Well    bool       `json:"well"`
	Servers []hostView `json:"servers"`
	Notes   []string   `json:"notes,omitempty"`

	answered int
}

// haveManyGroups says whether servers have many groups, and the command line names none of them.
func haveManyGroups(views []view) bool {
	return slices.ContainsFunc(views, func(v view) bool {
		failed, ok := errors.AsType[*httpapi.Error](v.err)
		return ok && failed.Code == "no_group"
	})
}

// lookAtHosts asks all servers how all their groups are. Rates are measured for so long.
func (s *cluster) lookAtHosts(ctx context.Context, over time.Duration) hostReport {
	ctx, cancel := context.WithTimeout(ctx, min(s.timeout, lookTimeout)+over)
	defer cancel()
	views := make([]hostView, len(s.clients))
	var asking sync.WaitGroup
	for i, client := range s.clients {
		asking.Go(func() {
			views[i].Name = client.Name()
			host, err := client.Host(ctx, admin.HostQuery{Over: over})
			if err != nil {
				views[i].Error = err.Error()
				return
			}
			views[i].Name, views[i].Host = string(host.ID), &host
		})
	}
	asking.Wait()
	return hostReportOf(views)
}

// code returns the exit code.
func (r *hostReport) code() int {
	switch {
	case r.answered == 0:
		return exitUntold
	case !r.Well:
		return exitNot
	}
	return exitWell
}

// hostReportOf puts together what servers know.
func hostReportOf(views []hostView) hostReport {
	r := hostReport{Well: true, Servers: views}
	for i := range views {
		h := views[i].Host
		if h == nil {
			r.Well = false
			continue
		}
		r.answered++
		for _, problem := range h.Problems {
			r.bad("%s: %s", h.ID, problem)
		}
		r.list(h.ID, "has no leader for", h.Leaderless, h.NoLeader, func(g *admin.Group) string { return milliseconds(g.LeaderlessMS).String() })
		r.list(h.ID, "takes no part:", len(h.Troubled), h.Troubled, func(g *admin.Group) string { return g.Trouble })
		r.list(h.ID, "has ended:", h.Ended, h.Stopped, func(g *admin.Group) string { return cmp.Or(g.Error, "it was closed") })
	}
	return r
}

// listed is how many groups of a kind a note has for a server.
const listed = 5

// list notes groups that aren't well, the first few by their names.
func (r *hostReport) list(id raft.ServerID, what string, all int, groups []admin.Group, why func(*admin.Group) string) {
	for i := range groups[:min(len(groups), listed)] {
		r.bad("%s: group %q %s %s", id, groups[i].Group, what, why(&groups[i]))
	}
	if all > listed {
		r.bad("%s: and %d groups more", id, all-listed)
	}
}

// bad notes something that isn't well.
func (r *hostReport) bad(format string, args ...any) {
	r.Well = false
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// print prints the report.
func (r *hostReport) print(to io.Writer) {
	table := tabwriter.NewWriter(to, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "SERVER\tGROUPS\tLED\tFOLLOWED\tLEADERLESS\tENDED\tQUIET\tWAITING\tAPPLIED/s\tWRITES/s\tDISK\t")
	for i := range r.Servers {
		if h := r.Servers[i].Host; h != nil {
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%d\t\n", h.ID, h.Running, h.Led, h.Followed, h.Leaderless, h.Ended,
				h.Quiet, h.Pending, h.Entries, h.Writes, h.Disk.Pending)
		}
	}
	_ = table.Flush() // to keeps its first error
	r.printBusiest(to)
	for i := range r.Servers {
		if s := &r.Servers[i]; s.Host == nil {
			fmt.Fprintf(to, "%s doesn't answer: %s\n", s.Name, s.Error)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintln(to, note)
	}
	if r.Well {
		fmt.Fprintln(to, "all is well")
	}
}

// mostBusy is how many groups are shown of those that are busy.
const mostBusy = 10

// printBusiest prints the groups with the most entries a second, each as the server sees it that has
// applied the most.
func (r *hostReport) printBusiest(to io.Writer) {
	best := map[raft.GroupID]*admin.Group{}
	for i := range r.Servers {
		h := r.Servers[i].Host
		if h == nil {
			continue
		}
		for j := range h.Busiest {
			g := &h.Busiest[j]
			if is := best[g.Group]; is == nil || g.Entries > is.Entries {
				best[g.Group] = g
			}
		}
	}
	var groups []*admin.Group
	for _, g := range best {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *admin.Group) int {
		return cmp.Or(cmp.Compare(b.Entries, a.Entries), cmp.Compare(a.Group, b.Group))
	})
	if len(groups) == 0 {
		return
	}
	table := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "GROUP\tLEADER\tTERM\tAPPLIED/s\tAPPLIED\tUNAPPLIED\tWAITING")
	for _, g := range groups[:min(len(groups), mostBusy)] {
		fmt.Fprintf(table, "%s\t%s\t%d\t%.0f\t%d\t%d\t%d\n", g.Group, orDash(g.Leader), g.Term, g.Entries, g.Applied, g.Commit-min(g.Commit, g.Applied), g.Pending)
	}
	_ = table.Flush() // to keeps its first error
}
