package rules

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

const dashboardFile = "../dashboard.json"

var update = flag.Bool("update", false, "write dashboard.json anew")

// A panel shows expressions over time. In an expression, $s stands for the servers that are chosen,
// and $r for the range of a rate.
type panel struct {
	title, unit string
	exprs       []expr
}

type expr struct{ legend, text string }

// a row of the dashboard
type row struct {
	title  string
	panels []panel
}

// gaugeOf returns the expression of a gauge.
func gaugeOf(name, legend string) expr {
	return expr{legend, name + "{$s}"}
}

// rateOf returns the expression of a counter's rate.
func rateOf(name, legend string) expr {
	return expr{legend, "rate(" + name + "{$s}[$r])"}
}

// quantiles returns the median and the 99th percentile of a histogram, native or classic.
func quantiles(name, legend string) (of []expr) {
	for _, q := range []string{"0.5", "0.99"} {
		of = append(of, expr{legend + " p" + strings.TrimPrefix(q, "0."), fmt.Sprintf(
			"histogram_quantile(%s, rate(%s{$s}[$r])) or histogram_quantile(%s, rate(%s_bucket{$s}[$r]))", q, name, q, name)})
	}
	return of
}

const byServer, byPeer, byGroup = "{{server}}", "{{server}} to {{peer}}", "{{server}} {{group}}"

var rows = []row{
	{"Server and cluster", []panel{
		{"Role", "none", []expr{{"{{server}} {{role}}", `raft_role{$s} == 1`}}},
		{"Term", "none", []expr{gaugeOf("raft_term", byServer)}},
		{"No leader known", "s", []expr{gaugeOf("raft_no_leader_seconds", byServer)}},
		{"Leader changes and campaigns", "cps", []expr{rateOf("raft_leader_changes_total", byServer+" leaders"), rateOf("raft_campaigns_total", byServer+" campaigns")}},
		{"In trouble, failed, stuck, astray", "none", []expr{
			{"{{server}} {{reason}}", `raft_trouble{$s} == 1`}, gaugeOf("raft_failed", byServer+" failed"),
			gaugeOf("raft_stuck", byServer+" stuck"), gaugeOf("raft_diverged", byServer+" diverged")}},
		{"Members and level", "none", []expr{gaugeOf("raft_members", "{{server}} {{role}}"), gaugeOf("raft_level", byServer+" level")}},
		{"Lease and hand-over", "s", []expr{gaugeOf("raft_lease_seconds", byServer+" lease"), gaugeOf("raft_handing_over", byServer+" hands over")}},
	}},
	{"Log", []panel{
		{"Committed, not applied", "none", []expr{{byServer, `raft_commit_index{$s} - raft_applied_index{$s}`}}},
		{"Not committed", "none", []expr{{byServer, `raft_last_index{$s} - raft_commit_index{$s}`}}},
		{"Not on disk", "none", []expr{{byServer, `raft_last_index{$s} - raft_stable_index{$s}`}}},
		{"Behind the snapshot", "none", []expr{{byServer, `raft_applied_index{$s} - raft_snapshot_index{$s}`}}},
	}},
	{"Calls", []panel{
		{"Answers", "ops", []expr{rateOf("raft_answers_total", "{{server}} {{kind}} {{outcome}}")}},
		{"Duration of calls", "s", quantiles("raft_answer_duration_seconds", "{{server}} {{kind}}")},
		{"Stages of a command", "s", quantiles("raft_stage_duration_seconds", "{{server}} {{stage}}")},
		{"Refusals", "ops", []expr{rateOf("raft_refusals_total", "{{server}} {{reason}}")}},
		{"Waiting calls", "none", []expr{gaugeOf("raft_pending", "{{server}} {{kind}}")}},
		{"Oldest waiting call", "s", []expr{gaugeOf("raft_oldest_pending_seconds", "{{server}} {{kind}}")}},
		{"Bytes that wait", "bytes", []expr{gaugeOf("raft_pending_bytes", byServer+" pending"),
			gaugeOf("raft_uncommitted_bytes", byServer+" uncommitted"), gaugeOf("raft_unapplied_bytes", byServer+" unapplied")}},
	}},
	{"Loop and messages", []panel{
		{"Turns", "ops", []expr{rateOf("raft_turns_total", byServer)}},
		{"Duration of turns", "s", quantiles("raft_turn_duration_seconds", byServer)},
		{"Messages", "ops", []expr{rateOf("raft_messages_received_total", byServer+" received"), rateOf("raft_messages_sent_total", byServer+" sent")}},
		{"Inbox", "none", []expr{gaugeOf("raft_inbox_messages", byServer)}},
		{"Inbox, bytes", "bytes", []expr{gaugeOf("raft_inbox_bytes", byServer)}},
		{"Messages dropped and refused", "ops", []expr{rateOf("raft_inbox_dropped_total", byServer+" dropped"), rateOf("raft_messages_refused_total", byServer+" refused")}},
	}},
	{"Disk and state machine", []panel{
		{"Lanes: work that waits", "none", []expr{gaugeOf("raft_lane_pending", "{{server}} {{lane}}"), gaugeOf("raft_lane_waiting", "{{server}} {{lane}} lacks room")}},
		{"Lanes: since the last thing was done", "s", []expr{gaugeOf("raft_lane_busy_seconds", "{{server}} {{lane}}")}},
		{"Writes", "s", quantiles("raft_write_duration_seconds", byServer)},
		{"Syncs", "s", quantiles("raft_sync_duration_seconds", byServer)},
		{"Entries written and applied", "ops", []expr{rateOf("raft_written_entries_total", byServer+" written"), rateOf("raft_applied_entries_total", byServer+" applied")}},
		{"Bytes written", "Bps", []expr{rateOf("raft_written_bytes_total", byServer)}},
		{"Reads of the log", "s", quantiles("raft_fetch_duration_seconds", "{{server}} {{purpose}}")},
		{"Batches of the state machine", "s", quantiles("raft_apply_duration_seconds", byServer)},
	}},
	{"Snapshots", []panel{
		{"Snapshots", "ops", []expr{rateOf("raft_snapshots_total", "{{server}} {{kind}} {{outcome}}")}},
		{"Duration", "s", quantiles("raft_snapshot_duration_seconds", "{{server}} {{kind}}")},
		{"Bytes", "Bps", []expr{rateOf("raft_snapshot_bytes_total", "{{server}} {{kind}}")}},
		{"Size", "bytes", []expr{gaugeOf("raft_snapshot_size_bytes", byServer)}},
		{"Being received", "bytes", []expr{gaugeOf("raft_snapshot_receiving_bytes", byServer+" has"), gaugeOf("raft_snapshot_receiving_size_bytes", byServer+" of")}},
		{"Trouble", "none", []expr{gaugeOf("raft_snapshot_trouble", byServer)}},
	}},
	{"Damage and room", []panel{
		{"Lost entries", "none", []expr{gaugeOf("raft_lost_entries", byServer)}},
		{"Lost for", "s", []expr{gaugeOf("raft_lost_seconds", byServer)}},
		{"Repaired entries", "ops", []expr{rateOf("raft_repaired_entries_total", byServer)}},
		{"Storage trouble", "none", []expr{gaugeOf("raft_storage_trouble", byServer)}},
		{"Room", "bytes", []expr{gaugeOf("raft_room_bytes", byServer)}},
		{"Full for", "s", []expr{gaugeOf("raft_disk_full_seconds", byServer)}},
	}},
	{"Other servers, as the leader knows them", []panel{
		{"Lag", "none", []expr{gaugeOf("raft_peer_lag_entries", byPeer)}},
		{"Match", "none", []expr{gaugeOf("raft_peer_match_index", byPeer)}},
		{"Silent for", "s", []expr{gaugeOf("raft_peer_silent_seconds", byPeer)}},
		{"How it is sent entries", "none", []expr{{byPeer + " {{mode}}", `raft_peer_sending{$s} == 1`}}},
		{"Appends in flight", "none", []expr{gaugeOf("raft_peer_in_flight_appends", byPeer)}},
		{"Bytes in flight", "bytes", []expr{gaugeOf("raft_peer_in_flight_bytes", byPeer)}},
		{"In trouble, full", "none", []expr{gaugeOf("raft_peer_trouble", byPeer+" in trouble"), gaugeOf("raft_peer_disk_full", byPeer+" full")}},
	}},
	{"Groups of hosts", []panel{
		{"Groups", "none", []expr{gaugeOf("raft_host_groups", "{{server}} {{state}}"), gaugeOf("raft_host_running_groups", byServer+" running")}},
		{"Quiet groups", "none", []expr{gaugeOf("raft_host_quiet_groups", byServer)}},
		{"Groups that have failed, or in which a server takes no part", "none", []expr{gaugeOf("raft_host_failed_groups", byServer+" failed"), gaugeOf("raft_host_troubled_groups", byServer+" no part")}},
		{"Longest without a leader", "s", []expr{gaugeOf("raft_host_leaderless_seconds", byServer)}},
		{"Waiting calls", "none", []expr{gaugeOf("raft_host_pending", byServer)}},
		{"Most entries to apply", "none", []expr{gaugeOf("raft_host_unapplied_entries", byServer)}},
		{"Writes", "ops", []expr{rateOf("raft_host_writes_total", byServer), rateOf("raft_host_group_writes_total", byServer+" of groups")}},
		{"Bytes to write", "bytes", []expr{gaugeOf("raft_host_waiting_bytes", byServer)}},
		{"Logs of all groups", "bytes", []expr{gaugeOf("raft_host_log_bytes", byServer)}},
		{"Snapshots of groups", "none", []expr{gaugeOf("raft_host_snapshots", "{{server}} {{state}}")}},
		{"Passes over what is stored", "ops", []expr{rateOf("raft_host_scrubs_total", byServer)}},
		{"Groups that the other process leads", "none", []expr{gaugeOf("raft_host_process_leads", byPeer)}},
		{"Groups that the other process misses", "none", []expr{gaugeOf("raft_host_process_absent_groups", byPeer), gaugeOf("raft_host_process_lost", byPeer+" lost")}},
		{"Silence of the other process", "s", []expr{gaugeOf("raft_host_process_silent_seconds", byPeer)}},
		{"Entries of the busiest groups", "ops", []expr{rateOf("raft_group_applied_entries_total", byGroup)}},
		{"Their leaders", "none", []expr{gaugeOf("raft_group_leads", byGroup), gaugeOf("raft_group_leaderless_seconds", byGroup+" without one, s")}},
		{"Their calls that wait", "none", []expr{gaugeOf("raft_group_pending", byGroup)}},
		{"Their entries to apply", "none", []expr{gaugeOf("raft_group_unapplied_entries", byGroup)}},
	}},
	{"Connections", []panel{
		{"Connected", "none", []expr{gaugeOf("raft_connected", byPeer), gaugeOf("raft_connected_from", "{{server}} from {{peer}}")}},
		{"Connections and guests", "none", []expr{gaugeOf("raft_connections", byServer), gaugeOf("raft_guests", byServer+" guests")}},
		{"Connects", "ops", []expr{rateOf("raft_connects_total", byPeer), rateOf("raft_connect_failures_total", byPeer+" failed")}},
		{"Queued messages", "none", []expr{gaugeOf("raft_queued_messages", byPeer)}},
		{"Queued bytes", "bytes", []expr{gaugeOf("raft_queued_bytes", byPeer)}},
		{"Messages", "ops", []expr{rateOf("raft_transport_messages_total", byPeer), rateOf("raft_transport_dropped_total", byPeer+" dropped")}},
		{"Bytes", "Bps", []expr{rateOf("raft_transport_bytes_total", byPeer)}},
	}},
}

// dashboard returns the dashboard as Grafana imports it.
func dashboard() map[string]any {
	source := map[string]any{"type": "prometheus", "uid": "${datasource}"}
	fill := strings.NewReplacer("$s", `server=~"$server", job=~"$job"`, "$r", "$__rate_interval")
	var panels []any
	y := 0
	for _, r := range rows {
		panels = append(panels, map[string]any{"id": len(panels) + 1, "type": "row", "title": r.title, "collapsed": false, "panels": []any{},
			"gridPos": map[string]any{"x": 0, "y": y, "w": 24, "h": 1}})
		y++
		for i, p := range r.panels {
			var targets []any
			for j, e := range p.exprs {
				targets = append(targets, map[string]any{"refId": string(rune('A' + j)), "datasource": source, "expr": fill.Replace(e.text), "legendFormat": e.legend})
			}
			panels = append(panels, map[string]any{
				"id": len(panels) + 1, "type": "timeseries", "title": p.title, "datasource": source, "targets": targets,
				"gridPos":     map[string]any{"x": i % 4 * 6, "y": y + i/4*7, "w": 6, "h": 7},
				"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit}, "overrides": []any{}},
			})
		}
		y += (len(r.panels) + 3) / 4 * 7
	}
	variable := func(name, of string) map[string]any {
		return map[string]any{"name": name, "type": "query", "datasource": source, "query": of, "refresh": 2, "multi": true, "includeAll": true,
			"current": map[string]any{"text": "All", "value": "$__all"}}
	}
	return map[string]any{
		"title": "Raft", "uid": "raft", "tags": []string{"raft"}, "schemaVersion": 39, "editable": true, "refresh": "10s",
		"time": map[string]any{"from": "now-1h", "to": "now"}, "panels": panels,
		"templating": map[string]any{"list": []any{
			map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus"},
			variable("job", "label_values(raft_failed, job)"), variable("server", `label_values(raft_failed{job=~"$job"}, server)`),
		}},
	}
}

// dashboard.json is what this file describes.
func TestDashboard(t *testing.T) {
	var want bytes.Buffer
	encoder := json.NewEncoder(&want)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	require.NoError(t, encoder.Encode(dashboard()))
	if *update {
		require.NoError(t, os.WriteFile(dashboardFile, want.Bytes(), 0o644))
	}
	got, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got), "go test . -run TestDashboard -update")
}

var (
	exprInJSON     = regexp.MustCompile(`"expr": ("(?:[^"\\]|\\.)*")`)
	histogramParts = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// drawn returns the names that the shipped dashboard uses, after the parser of Prometheus.
func drawn(t *testing.T) map[string]bool {
	text, err := os.ReadFile(dashboardFile)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, found := range exprInJSON.FindAllSubmatch(text, -1) {
		var expr string
		require.NoError(t, json.Unmarshal(found[1], &expr))
		namesIn(t, strings.ReplaceAll(expr, "$__rate_interval", "1m"), names)
	}
	return names
}

// namesIn adds the names of the families in an expression.
func namesIn(t *testing.T, text string, names map[string]bool) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	require.NoError(t, err, text)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			names[histogramParts.ReplaceAllString(v.Name, "")] = true
		}
		return nil
	})
}
