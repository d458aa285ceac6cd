package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A cell is one kind of measurement: a load under some condition, or an event.
type cell struct {
	name  string
	about string // says for the tables what happens
	// axes are the parameters by which the cell can be varied besides peer, servers and mode.
	axes axes
	// needs are the abilities that a peer must have.
	needs []Ability
	// diskOnly says that the cell makes no sense in mode memory.
	diskOnly bool
	// alone says that the cluster has one server.
	alone bool
	// used says that the logs on disk have been in use before the load.
	used    bool
	columns []column
	// drawn names the columns that are drawn as charts over the parameters.
	drawn   []string
	measure func(context.Context, Peer, runConfig, *result) error
}

// axes say by which parameters a cell can be varied.
type axes struct{ clients, payload, rate, election, entries, state, times, groups bool }

// These are the columns of the cells. The first column of a cell is compared with the floor too.
var (
	latencyColumns = []column{
		{name: "p50_us", title: "p50 µs", better: minOf},
		{name: "p99_us", title: "p99 µs", better: minOf},
		{name: "p999_us", title: "p99.9 µs"},
		{name: "max_us", title: "max µs"},
	}
	costColumns = []column{
		{name: "cpu_us", title: "CPU µs", decimals: 1, better: minOf},
		{name: "allocs", title: "allocs", decimals: 1},
		{name: "syncs", title: "syncs", decimals: 3},
		{name: "bytes", title: "bytes written"},
	}
	loadColumns = slices.Concat([]column{{name: "throughput", title: "requests/s", better: maxOf}}, latencyColumns, costColumns)
	openColumns = slices.Concat([]column{{name: "throughput", title: "in time/s", better: maxOf}}, latencyColumns, costColumns, []column{
		{name: "unserved", title: "unserved"},
		{name: "lag_us", title: "generator's lag p99 µs"},
	})
	mixColumns = slices.Concat(loadColumns, []column{
		{name: "read_p50_us", title: "reads p50 µs"}, {name: "read_p99_us", title: "reads p99 µs"},
		{name: "write_p50_us", title: "writes p50 µs"}, {name: "write_p99_us", title: "writes p99 µs"},
	})
	slowFollowerColumns = []column{
		{name: "throughput", title: "requests/s", better: maxOf},
		{name: "p50_us", title: "p50 µs", better: minOf},
		{name: "p99_us", title: "p99 µs", better: minOf},
		{name: "usual_throughput", title: "usual requests/s"},
		{name: "usual_p50_us", title: "usual p50 µs"},
		{name: "usual_p99_us", title: "usual p99 µs"},
		{name: "kept", title: "share kept", decimals: 2, better: maxOf},
		{name: "p99_ratio", title: "p99 over usual", decimals: 2},
		{name: "caught_up_s", title: "then caught up after s", decimals: 2},
	}
	slowDiskColumns  = append(slices.Clone(slowFollowerColumns), column{name: "held", title: "syncs held up"})
	snapshotsColumns = []column{
		{name: "taking_p99_ratio", title: "taken: p99 over usual", decimals: 2, better: minOf},
		{name: "installing_p99_ratio", title: "installed: p99 over usual", decimals: 2, better: minOf},
		{name: "usual_p99_us", title: "usual p99 µs"},
		{name: "taking_p99_us", title: "taken: p99 µs", better: minOf},
		{name: "installing_p99_us", title: "installed: p99 µs", better: minOf},
		{name: "usual_throughput", title: "usual requests/s"},
		{name: "taking_kept", title: "taken: share kept", decimals: 2, better: maxOf},
		{name: "installing_kept", title: "installed: share kept", decimals: 2, better: maxOf},
		{name: "taken", title: "snapshots taken"},
		{name: "installed", title: "installed"},
		{name: "install_s", title: "s per installation", decimals: 2},
	}
	idleColumns = []column{
		{name: "cpu_percent", title: "CPU of a server, % of a core", decimals: 3, better: minOf},
		{name: "switches", title: "waits/s of a server", decimals: 1, better: minOf},
		{name: "leader_cpu_percent", title: "CPU of the leader, %", decimals: 3},
		{name: "leader_switches", title: "waits/s of the leader", decimals: 1},
	}
	awayColumns = []column{
		{name: "caught_up_s", title: "caught up after s", decimals: 2, better: minOf},
		{name: "caught_up_rate", title: "entries/s", better: maxOf},
		{name: "p50_us", title: "meanwhile p50 µs"},
		{name: "p99_us", title: "meanwhile p99 µs", better: minOf},
		{name: "usual_p50_us", title: "usual p50 µs"},
		{name: "usual_p99_us", title: "usual p99 µs"},
		{name: "away_throughput", title: "commands/s while away"},
	}
	restartColumns = []column{
		{name: "replayed_s", title: "replayed after s", decimals: 3, better: minOf},
		{name: "opened_s", title: "opened after s", decimals: 3, better: minOf},
		{name: "cpu_s", title: "CPU s", decimals: 2, better: minOf},
		{name: "allocs", title: "allocs per entry", decimals: 2},
	}
	failoverColumns = []column{
		{name: "p50_ms", title: "p50 ms", decimals: 1, better: minOf},
		{name: "p95_ms", title: "p95 ms", decimals: 1, better: minOf},
		{name: "worst_ms", title: "worst ms", decimals: 1, better: minOf},
		{name: "best_ms", title: "best ms", decimals: 1},
		{name: "times", title: "times"},
	}
)

// loadDrawn names the columns of a load that are drawn.
var loadDrawn = []string{"throughput", "p50_us"}

// allCells are the cells in the order of the tables.
func allCells() []cell {
	cells := []cell{
		{
			name: "load", about: "each client waits for its answer and then proposes again",
			axes: axes{clients: true, payload: true}, columns: loadColumns, drawn: loadDrawn, measure: measureLoad,
		}, {
			name: "used", about: "as load, but on logs that have been in use for a while", used: true,
			axes: axes{clients: true, payload: true}, diskOnly: true, columns: loadColumns, drawn: loadDrawn, measure: measureLoad,
		}, {
			name: "deadline", about: fmt.Sprintf("as load, but each request has a context of its own, with a deadline after %v", requestDeadline),
			axes: axes{clients: true, payload: true}, columns: loadColumns, drawn: loadDrawn, measure: measureDeadline,
		}, {
			name: "open", about: "commands arrive at a rate, and their latency counts from their arrival",
			axes: axes{clients: true, payload: true, rate: true}, columns: openColumns, drawn: loadDrawn, measure: measureLoad,
		}, {
			name: "read", about: "linearizable reads: each client waits for its answer and then reads again",
			axes:  axes{clients: true},
			needs: []Ability{reads}, columns: loadColumns, drawn: loadDrawn, measure: measureReads(100),
		}, {
			name: "mix", about: "nine linearizable reads for each command: each client waits for its answer before its next request",
			axes:  axes{clients: true, payload: true},
			needs: []Ability{reads}, columns: mixColumns, drawn: loadDrawn, measure: measureReads(90),
		}, {
			name: "slow-machine", about: fmt.Sprintf("as load, but every state machine sleeps %v after %d commands", applyPause, pauseEvery),
			axes: axes{clients: true, payload: true}, columns: loadColumns, drawn: loadDrawn, measure: measureSlowMachine,
		}, {
			name: "slow-follower", about: fmt.Sprintf("as load, but the process of one follower is stopped for %v, then runs for %v, and so on", frozenFor, thawedFor),
			axes: axes{clients: true, payload: true}, diskOnly: true,
			needs: []Ability{restarts, elections}, columns: slowFollowerColumns, drawn: []string{"p99_ratio"}, measure: measureSlowFollower,
		}, {
			name: "slow-disk", about: fmt.Sprintf("as load, but the syncs of one follower are held up for %v of every %v", stallFor, stallEvery),
			axes: axes{clients: true, payload: true}, diskOnly: true,
			needs: []Ability{stalling}, columns: slowDiskColumns, drawn: []string{"p99_ratio"}, measure: measureSlowDisk,
		}, {
			name:  "snapshots",
			about: "as load, while all servers take snapshots again and again, and while a follower that was away is sent a snapshot and installs it",
			axes:  axes{clients: true, payload: true, state: true}, diskOnly: true,
			needs: []Ability{snapshots}, columns: snapshotsColumns, measure: measureSnapshots,
			drawn: []string{"taking_p99_ratio", "installing_p99_ratio"},
		}, {
			name: "idle", about: "servers in processes of their own, without any requests; a wait is a voluntary context switch",
			axes: axes{election: true}, diskOnly: true,
			needs: []Ability{elections}, columns: idleColumns, drawn: []string{"cpu_percent"}, measure: measureIdle,
		}, {
			name: "away", about: fmt.Sprintf("a follower is killed, comes back when the log has grown by these entries, and catches up, while %d clients propose", lightClients),
			axes: axes{payload: true, entries: true}, diskOnly: true,
			needs: []Ability{restarts, elections}, columns: awayColumns, drawn: []string{"caught_up_s"}, measure: measureAway,
		}, {
			name: "restart", about: "a sole voter starts with a log in the page cache; the time until all of it is applied",
			axes: axes{payload: true, entries: true}, diskOnly: true, alone: true,
			needs: []Ability{restarts}, columns: restartColumns, drawn: []string{"replayed_s"}, measure: measureRestart,
		},
		failoverCell(leaderClosed, "the leader's process hands over and closes"),
		failoverCell(leaderKilled, "the leader's process is killed, and its connections are reset"),
		failoverCell(leaderSilent, "the leader's process is stopped, and its connections stay"),
	}
	return append(cells, hostCells()...)
}

// failoverCell returns a cell in which leaders are lost.
func failoverCell(l loss, about string) cell {
	return cell{
		name: "failover-" + string(l), about: about + "; the time until the next acknowledged command",
		axes: axes{election: true, times: true}, diskOnly: true,
		needs: []Ability{restarts, elections}, columns: failoverColumns, drawn: []string{"p50_ms"}, measure: measureFailover(l),
	}
}

// cellNames returns the names of all cells.
func cellNames() []string {
	var names []string
	for _, c := range allCells() {
		names = append(names, c.name)
	}
	return names
}

// findCell returns a cell by its name.
func findCell(name string) (cell, error) {
	for _, c := range allCells() {
		if c.name == name {
			return c, nil
		}
	}
	return cell{}, fmt.Errorf("no cell %q: the cells are %s", name, strings.Join(cellNames(), ", "))
}

// selectCells returns the cells that a list names.
func selectCells(list string) ([]cell, error) {
	if list == "all" {
		return allCells(), nil
	}
	var found []cell
	for name := range strings.SplitSeq(list, ",") {
		c, err := findCell(name)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	return found, nil
}

// column returns a column by its name.
func (c cell) column(name string) column {
	return c.columns[slices.IndexFunc(c.columns, func(col column) bool { return col.name == name })]
}

// lacks returns the reason why a peer can't do this cell; "" when it can.
func (c cell) lacks(p Peer) string {
	for _, a := range c.needs {
		if why := p.Lacks(a); why != "" {
			return why
		}
	}
	return ""
}

// errNothingMeasured says that the measured time was too short for the load.
var errNothingMeasured = errors.New("no request was answered in the measured time")

// measureReads returns measureLoad with a share of reads, in percent.
func measureReads(share int) func(context.Context, Peer, runConfig, *result) error {
	return func(ctx context.Context, p Peer, c runConfig, r *result) error {
		c.load.reads = share
		return measureLoad(ctx, p, c, r)
	}
}

// measureDeadline is measureLoad with a deadline for each request.
func measureDeadline(ctx context.Context, p Peer, c runConfig, r *result) error {
	c.load.deadline = requestDeadline
	return measureLoad(ctx, p, c, r)
}

// measureSlowMachine is measureLoad with slow state machines.
func measureSlowMachine(ctx context.Context, p Peer, c runConfig, r *result) error {
	c.applyPause = applyPause
	return measureLoad(ctx, p, c, r)
}
