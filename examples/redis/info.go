package main

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"time"
)

// infoSections are the sections of INFO, in their order.
var infoSections = []struct {
	name string
	text func(*server) string
}{
	{"server", func(s *server) string {
		up := time.Since(s.started)
		return lines("redis_version", version, "redis_mode", s.mode(), "os", runtime.GOOS, "arch_bits", 32<<(^uint(0)>>63),
			"process_id", os.Getpid(), "tcp_port", port(s.listener.Addr().String()), "uptime_in_seconds", int(up.Seconds()),
			"uptime_in_days", int(up.Hours()/24), "go_version", runtime.Version())
	}},
	{"clients", func(s *server) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return lines("connected_clients", len(s.clients), "maxclients", s.limits.clients, "blocked_clients", 0)
	}},
	{"memory", func(*server) string {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return lines("used_memory", m.HeapAlloc, "used_memory_rss", m.Sys-m.HeapReleased, "maxmemory", 0, "maxmemory_policy", "noeviction")
	}},
	{"persistence", func(*server) string {
		return lines("loading", 0, "async_loading", 0, "aof_enabled", 1)
	}},
	{"stats", func(s *server) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return lines("total_connections_received", s.total, "rejected_connections", s.refused.Load(),
			"total_commands_processed", s.commands.Load())
	}},
	{"replication", func(*server) string {
		// Any server takes any command, so to clients each of them is a master.
		return lines("role", "master", "connected_slaves", 0)
	}},
	{"raft", func(s *server) string {
		is, held := s.node.Status(), s.summary()
		trouble := "none"
		if is.Trouble != nil {
			trouble = strings.Join(strings.Fields(is.Trouble.Error()), " ")
		}
		var members []string
		for _, m := range is.Members {
			members = append(members, fmt.Sprintf("%s=%s", m.ID, m.Address))
		}
		return lines("raft_id", is.ID, "raft_role", is.Role, "raft_term", is.Term, "raft_leader", is.Leader, "raft_leader_address", is.LeaderAddress,
			"raft_commit", is.Commit, "raft_applied", is.Applied, "raft_members", strings.Join(members, ","), "raft_trouble", trouble,
			"state_time_ahead_ms", max(0, held.Now-wall()), "state_entries_applied", held.Applied)
	}},
	{"cluster", func(s *server) string {
		if s.mode() == "cluster" {
			return lines("cluster_enabled", 1)
		}
		return lines("cluster_enabled", 0)
	}},
	{"keyspace", func(s *server) string {
		if is := s.summary(); is.Keys > 0 {
			return lines("db0", fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", is.Keys, is.Expiring))
		}
		return ""
	}},
}

// mode is what Redis calls a server of this kind.
func (s *server) mode() string {
	if s.shards == nil || s.plain {
		return "standalone"
	}
	return "cluster"
}

// lines returns names with their values as INFO tells them.
func lines(pairs ...any) string {
	var text strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&text, "%v:%v\r\n", pairs[i], pairs[i+1])
	}
	return text.String()
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// infoCommand carries out INFO [section…].
func (c *connection) infoCommand(args [][]byte) {
	wanted := map[string]bool{}
	for _, arg := range args[1:] {
		wanted[strings.ToLower(string(arg))] = true
	}
	all := len(wanted) == 0 || wanted["all"] || wanted["default"] || wanted["everything"]
	var parts []string
	for _, section := range infoSections {
		if all || wanted[section.name] {
			title := strings.ToUpper(section.name[:1]) + section.name[1:]
			parts = append(parts, "# "+title+"\r\n"+section.text(c.server))
		}
	}
	c.out.Text(strings.Join(parts, "\r\n"))
}

// config carries out CONFIG GET pattern…; the settings are flags of the program.
func (c *connection) config(args [][]byte) {
	switch strings.ToLower(string(args[1])) {
	case "get":
	case "resetstat":
		c.server.commands.Store(0)
		c.server.refused.Store(0)
		c.out.Simple("OK")
		return
	case "set", "rewrite":
		c.out.Error("ERR the settings are flags of the program, and can't be changed while it runs")
		return
	default:
		c.out.Error(unknownSubcommand(args))
		return
	}
	if len(args) < 3 {
		c.out.Error("ERR wrong number of arguments for 'config|get' command")
		return
	}
	l := c.server.limits
	settings := []struct{ name, value string }{
		{"appendfsync", "always"}, {"appendonly", "yes"}, {"databases", "1"}, {"maxclients", fmt.Sprint(l.clients)}, {"maxmemory", "0"},
		{"maxmemory-policy", "noeviction"}, {"proto-max-bulk-len", fmt.Sprint(l.request)}, {"save", ""}, {"timeout", fmt.Sprint(int(l.idle.Seconds()))},
	}
	var found []string
	for _, setting := range settings {
		for _, pattern := range args[2:] {
			if match, err := path.Match(strings.ToLower(string(pattern)), setting.name); err == nil && match {
				found = append(found, setting.name, setting.value)
				break
			}
		}
	}
	c.out.Map(len(found) / 2)
	for _, text := range found {
		c.out.Text(text)
	}
}
