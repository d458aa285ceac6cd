package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are what the command line says. The fields that are lists are varied: each value of one
// is measured with each value of the others.
type settings struct {
	peers     []Peer
	cells     []cell
	modes     []Mode
	servers   []int
	clients   []int
	payloads  []int
	rates     []float64
	elections []time.Duration
	entries   []int
	states    []int // MiB
	groups    []int
	rounds    int
	run       runConfig // the settings that aren't varied
	json      bool
	describe  bool
	html      string // the file for the page
	svg       string // the file for the picture
	output    string // the file to which results are appended
	from      string // the files from which results are read, instead of being measured
}

// parse reads the command line.
func parse(args []string, log io.Writer) (settings, error) {
	var s settings
	var peers, cells, modes, servers, clients, payloads, rates, elections, entries, states, groups string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&peers, "peers", "all", "`names` of the peers, separated by commas, or all: "+strings.Join(peerNames(), ", "))
	f.StringVar(&cells, "cell", "load", "`names` of the cells that are measured, separated by commas, or all: "+strings.Join(cellNames(), ", "))
	f.StringVar(&modes, "mode", string(onDisk), "`modes`, separated by commas: disk (files and loopback TCP), memory")
	f.StringVar(&servers, "servers", "3", "`numbers` of servers, separated by commas; every value in the plural is such a list")
	f.StringVar(&clients, "clients", "256", "`numbers` of clients")
	f.StringVar(&payloads, "payload", "128", "`bytes` in a command, at least 16")
	f.StringVar(&rates, "rate", "10000", "requests per second in cell open (`numbers`)")
	f.StringVar(&elections, "election", "1s", "election timeouts (`durations`) of every peer; all cells but idle and the failover cells use the first one")
	f.DurationVar(&s.run.duration, "duration", 3*time.Second, "how long to measure each peer in each round")
	f.DurationVar(&s.run.warmup, "warmup", time.Second, "how long the clients run before they are measured")
	f.Int64Var(&s.run.prime, "prime", 512<<20, "how many `bytes` of commands the logs take before the warm-up in the cells used, slow-disk and snapshots")
	f.IntVar(&s.run.times, "times", 20, "how many leaders are lost in a failover cell (`number`)")
	f.StringVar(&entries, "entries", "1000000", "how long the log is in the cells away and restart (`numbers`)")
	f.StringVar(&states, "state", "64", "`sizes` of the state in the cell snapshots, in MiB")
	f.StringVar(&groups, "groups", "1000", "how many groups each server has in the cells of many groups (`numbers`)")
	f.IntVar(&s.run.peerGroups, "peer-groups", 1000, "how many groups (`number`) other libraries are given at most; they aren't measured with more")
	f.IntVar(&s.rounds, "rounds", 3, "`number` of rounds; in each of them, every peer is measured once")
	f.StringVar(&s.run.dir, "dir", "", "`directory` for the files, instead of the system's temporary one")
	f.StringVar(&s.output, "o", "", "append the results to a `file`, a line of JSON per peer and round")
	f.StringVar(&s.from, "from", "", "measure nothing, and read the results that -o has written to these `files`")
	f.StringVar(&s.html, "html", "", "draw the comparison into a `file`")
	f.StringVar(&s.svg, "svg", "", "draw latency against throughput into a `file`, for the first value of everything else that was varied")
	f.BoolVar(&s.json, "json", false, "print a line of JSON per peer and round instead of tables")
	f.BoolVar(&s.describe, "describe", false, "print the settings of the peers and measure nothing")
	f.StringVar(&s.run.cpuProfile, "cpuprofile", "", "write a CPU profile of the measured time to a `file`")
	f.StringVar(&s.run.allocProfile, "allocprofile", "", "write a profile of all allocations to a `file`")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var errs [11]error
	s.peers, errs[0] = selectPeers(peers)
	s.cells, errs[1] = selectCells(cells)
	s.modes, errs[2] = parseList("mode", modes, func(text string) (Mode, error) { return Mode(text), nil })
	s.servers, errs[3] = parseList("servers", servers, strconv.Atoi)
	s.clients, errs[4] = parseList("clients", clients, strconv.Atoi)
	s.payloads, errs[5] = parseList("payload", payloads, strconv.Atoi)
	s.rates, errs[6] = parseList("rate", rates, func(text string) (float64, error) { return strconv.ParseFloat(text, 64) })
	s.elections, errs[7] = parseList("election", elections, time.ParseDuration)
	s.entries, errs[8] = parseList("entries", entries, strconv.Atoi)
	s.states, errs[9] = parseList("state", states, strconv.Atoi)
	s.groups, errs[10] = parseList("groups", groups, strconv.Atoi)
	if err := errors.Join(errs[:]...); err != nil {
		return s, err
	}
	return s, s.check()
}

// parseList reads the values of a flag.
func parseList[T any](name, list string, parse func(string) (T, error)) ([]T, error) {
	var values []T
	for text := range strings.SplitSeq(list, ",") {
		v, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("-%s %s: %w", name, text, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// check refuses settings that make no sense.
func (s *settings) check() error {
	for _, m := range s.modes {
		if m != onDisk && m != inMemory {
			return fmt.Errorf("-mode %s: must be disk or memory", m)
		}
	}
	for _, limit := range []struct {
		name      string
		values    []int
		low, high int
	}{
		{"servers", s.servers, 3, maxServers},
		{"clients", s.clients, 1, maxClients},
		{"payload", s.payloads, minPayload, maxPayload},
		{"times", []int{s.run.times}, 1, 1000},
		{"entries", s.entries, 1, 100_000_000},
		{"state", s.states, 1, 1024},
		{"groups", s.groups, minGroups, maxGroups},
		{"peer-groups", []int{s.run.peerGroups}, minGroups, maxGroups},
	} {
		for _, v := range limit.values {
			if v < limit.low || v > limit.high {
				return fmt.Errorf("-%s %d: must be %d to %d", limit.name, v, limit.low, limit.high)
			}
		}
	}
	for _, r := range s.rates {
		if r < 1 || r > 1e7 {
			return fmt.Errorf("-rate %v: must be 1 to 10000000", r)
		}
	}
	for _, e := range s.elections {
		if e < 100*time.Millisecond {
			return fmt.Errorf("-election %v: must be at least 100ms", e)
		}
	}
	if s.run.duration <= 0 || s.run.warmup < 0 || s.run.prime < 0 || s.rounds < 1 {
		return errors.New("-duration and -rounds must be positive, -warmup and -prime must not be negative")
	}
	for _, p := range s.peers {
		if len(s.peers) < len(allPeers()) && !slices.ContainsFunc(s.modes, func(m Mode) bool { return slices.Contains(p.Modes(), m) }) {
			return fmt.Errorf("%s doesn't run in mode %s", p.Name(), s.modes[0])
		}
	}
	if (s.run.cpuProfile != "" || s.run.allocProfile != "") && (len(s.peers) != 1 || s.rounds != 1 || len(s.matrix()) != 1) {
		return errors.New("a profile needs one peer, one round and one cell")
	}
	return nil
}

// A matrixRun is a run of the matrix, which every peer makes in every round.
type matrixRun struct {
	runConfig
	key key
}

// matrix returns all runs: each cell with all values of the parameters by which it can be varied.
func (s *settings) matrix() []matrixRun {
	var runs []matrixRun
	for _, c := range s.cells {
		for _, k := range s.keys() {
			run := s.place(c, k)
			if k.Mode == inMemory && c.diskOnly || slices.ContainsFunc(runs, func(other matrixRun) bool { return other.key == run.key }) {
				continue
			}
			runs = append(runs, run)
		}
	}
	return runs
}

// keys returns all combinations of the values, without a cell.
func (s *settings) keys() []key {
	keys := []key{{Times: s.run.times}}
	keys = vary(keys, s.modes, func(k *key, v Mode) { k.Mode = v })
	keys = vary(keys, s.servers, func(k *key, v int) { k.Servers = v })
	keys = vary(keys, s.payloads, func(k *key, v int) { k.Payload = v })
	keys = vary(keys, s.clients, func(k *key, v int) { k.Clients = v })
	keys = vary(keys, s.rates, func(k *key, v float64) { k.Rate = v })
	keys = vary(keys, s.entries, func(k *key, v int) { k.Entries = v })
	keys = vary(keys, s.groups, func(k *key, v int) { k.Groups = v })
	keys = vary(keys, s.states, func(k *key, v int) { k.State = v })
	return vary(keys, s.elections, func(k *key, v time.Duration) { k.Election = float64(v) / float64(time.Millisecond) })
}

// vary returns each key with each of the values.
func vary[T any](keys []key, values []T, set func(*key, T)) []key {
	var all []key
	for _, k := range keys {
		for _, v := range values {
			set(&k, v)
			all = append(all, k)
		}
	}
	return all
}

// place returns the run of a cell with the values of a key. Of a parameter by which the cell isn't
// varied, it takes the first value.
func (s *settings) place(c cell, k key) matrixRun {
	r := matrixRun{runConfig: s.run, key: key{Cell: c.name, Mode: k.Mode, Servers: k.Servers}}
	r.cell, r.mode, r.servers = c, k.Mode, k.Servers
	r.load = loadConfig{clients: s.clients[0], payload: s.payloads[0]}
	r.election = s.elections[0]
	if c.axes.clients {
		r.load.clients, r.key.Clients = k.Clients, k.Clients
	}
	if c.axes.payload {
		r.load.payload, r.key.Payload = k.Payload, k.Payload
	}
	if c.axes.rate {
		r.load.rate, r.key.Rate = k.Rate, k.Rate
	}
	if c.axes.election {
		r.election, r.key.Election = time.Duration(k.Election*float64(time.Millisecond)), k.Election
	}
	if c.axes.times {
		r.key.Times = k.Times
	}
	if c.axes.entries {
		r.entries, r.key.Entries = k.Entries, k.Entries
	}
	if c.axes.state {
		r.state, r.key.State = k.State<<20, k.State
	}
	if c.axes.groups {
		r.groups, r.key.Groups = k.Groups, k.Groups
	}
	if c.alone {
		r.servers, r.key.Servers = 1, 1
	}
	return r
}
