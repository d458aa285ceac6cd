package main

import (
	"fmt"
	"slices"
)

// tooMany returns the reason why a peer isn't measured with the groups of a run; "" when it is.
func tooMany(p Peer, c runConfig) string {
	if p.Name() == (raftPeer{}).Name() || c.groups <= c.peerGroups {
		return ""
	}
	return fmt.Sprintf("it isn't measured with more than %d groups (-peer-groups)", c.peerGroups)
}

// These are the columns of the cells of many groups.
var (
	hostLoadColumns = slices.Concat([]column{
		{name: "throughput", title: "requests/s", better: maxOf},
		{name: "one_throughput", title: "in one group requests/s", better: maxOf},
		{name: "kept", title: "over one group", decimals: 2, better: maxOf},
		{name: "syncs_ratio", title: "syncs over one group", decimals: 2},
	}, latencyColumns, costColumns, []column{
		{name: "one_p99_us", title: "in one group p99 µs"},
		{name: "one_cpu_us", title: "in one group CPU µs", decimals: 1},
		{name: "one_allocs", title: "in one group allocs", decimals: 1},
		{name: "one_syncs", title: "in one group syncs", decimals: 3},
	})
	hostCreateColumns = []column{
		{name: "led_s", title: "all are led after s", decimals: 3, better: minOf},
		{name: "cpu_s", title: "CPU s", decimals: 3, better: minOf},
		{name: "syncs", title: "syncs"},
	}
	hostStartColumns = []column{
		{name: "part_s", title: "takes part in all after s", decimals: 3, better: minOf},
		{name: "started_s", title: "started after s", decimals: 3},
		{name: "cpu_s", title: "CPU s", decimals: 2, better: minOf},
		{name: "allocs", title: "allocs per group", decimals: 1},
	}
	hostFairColumns = []column{
		{name: "heavy_p99_ratio", title: "beside many writes: p99 over usual", decimals: 2, better: minOf},
		{name: "sleepy_p99_ratio", title: "beside a machine that sleeps: p99 over usual", decimals: 2, better: minOf},
		{name: "usual_p99_us", title: "usual p99 µs", better: minOf},
		{name: "heavy_p99_us", title: "beside many writes: p99 µs", better: minOf},
		{name: "sleepy_p99_us", title: "beside a machine that sleeps: p99 µs", better: minOf},
		{name: "heavy_mib", title: "many writes: MiB"},
	}
	hostIdleColumns = []column{
		{name: "cpu_percent", title: "CPU of all servers, % of a core", decimals: 3, better: minOf},
		{name: "switches", title: "waits/s", decimals: 1},
		{name: "messages", title: "messages/s", decimals: 1},
		{name: "written", title: "write calls/s", decimals: 1},
		{name: "group_bytes", title: "bytes of a group at a server", better: minOf},
		{name: "rss_mib", title: "MiB of a server", decimals: 1, better: minOf},
		{name: "goroutines", title: "goroutines of a server"},
		{name: "descriptors", title: "descriptors of a server"},
		{name: "ports", title: "ports of a server"},
	}
	hostLossColumns = []column{
		{name: "last_ms", title: "last group led after ms", decimals: 1, better: minOf},
		{name: "p50_ms", title: "p50 ms", decimals: 1, better: minOf},
		{name: "p99_ms", title: "p99 ms", decimals: 1, better: minOf},
		{name: "lost", title: "groups that lost their leader"},
		{name: "split_percent", title: "split votes, %", decimals: 2},
	}
	hostClosedColumns = slices.Concat(hostLossColumns, []column{
		{name: "closed_ms", title: "closed after ms", decimals: 1, better: minOf},
		{name: "answered", title: "commands meanwhile"},
		{name: "refused", title: "refused"},
		{name: "unknown", title: "of unknown outcome"},
		{name: "unknown_lost", title: "of these at the server itself"},
		{name: "max_ms", title: "longest command ms", decimals: 1},
	})
	hostSoakColumns = []column{
		{name: "answered", title: "commands"},
		{name: "p50_us", title: "p50 µs", better: minOf},
		{name: "p99_us", title: "p99 µs", better: minOf},
		{name: "max_us", title: "max µs"},
		{name: "refused", title: "refused"},
		{name: "unknown", title: "of unknown outcome"},
		{name: "moved", title: "groups whose leader changed"},
		{name: "cpu_percent", title: "CPU of all servers, % of a core", decimals: 1, better: minOf},
		{name: "group_bytes", title: "bytes of a group at a server", better: minOf},
		{name: "first_mib", title: "MiB of a server at first", decimals: 1},
		{name: "rss_mib", title: "in the end", decimals: 1},
		{name: "goroutines", title: "goroutines of a server"},
		{name: "descriptors", title: "descriptors of a server"},
	}
)

// hostCells are the cells of many groups.
func hostCells() []cell {
	needs := []Ability{hosting}
	return []cell{
		{
			name: "groups-load", about: "as load, with each command in a group by chance; and, before that, with all commands in one of these groups",
			axes: axes{groups: true, clients: true, payload: true}, needs: needs, columns: hostLoadColumns,
			drawn: []string{"throughput", "kept"}, measure: measureHostLoad,
		}, {
			name: "groups-create", about: "groups are made at all servers at once; the time until each has a leader",
			axes: axes{groups: true}, needs: needs, columns: hostCreateColumns, drawn: []string{"led_s"}, measure: measureHostCreate,
		}, {
			name: "groups-start", about: "a server starts with the logs of its groups, which have so many entries in all, in the page cache; the time until it knows each leader and has applied everything",
			axes: axes{groups: true, payload: true, entries: true}, diskOnly: true, needs: needs, columns: hostStartColumns,
			drawn: []string{"part_s"}, measure: measureHostStart,
		}, {
			name: "groups-fair", about: fmt.Sprintf("as groups-load, beside one group in which %d MiB are proposed at any time, and beside one whose machine sleeps for %v before each batch",
				heavyClients*heavyPayload>>20, sleepyBatch),
			axes: axes{groups: true, clients: true, payload: true}, needs: needs, columns: hostFairColumns,
			drawn: []string{"heavy_p99_ratio", "sleepy_p99_ratio"}, measure: measureHostFair,
		}, {
			name: "groups-idle", about: "servers in processes of their own, with groups in which nothing happens",
			axes: axes{groups: true, election: true}, diskOnly: true, needs: needs, columns: hostIdleColumns,
			drawn: []string{"cpu_percent", "group_bytes"}, measure: measureHostIdle,
		},
		hostLossCell(leaderClosed, "the server that leads most groups hands over and closes, while clients propose at all servers", hostClosedColumns),
		hostLossCell(leaderKilled, "the process of the server that leads most groups is killed, and its connections are reset", hostLossColumns),
		hostLossCell(leaderSilent, "the process of the server that leads most groups is stopped, and its connections stay", hostLossColumns),
		{
			name: "groups-soak", about: fmt.Sprintf("servers in processes of their own, at each of which %d clients propose in groups by chance, and wait for %v after each answer", soakClients, soakPause),
			axes: axes{groups: true, payload: true}, diskOnly: true, needs: needs, columns: hostSoakColumns,
			drawn: []string{"p99_us", "group_bytes"}, measure: measureHostSoak,
		},
	}
}

// hostLossCell returns a cell in which the server that leads most groups is lost.
func hostLossCell(l loss, about string, columns []column) cell {
	return cell{
		name: "groups-" + string(l), about: about + "; the time until all groups that it led have another leader",
		axes: axes{groups: true, election: true}, diskOnly: true, needs: []Ability{hosting}, columns: columns,
		drawn: []string{"last_ms"}, measure: measureHostLoss(l),
	}
}
