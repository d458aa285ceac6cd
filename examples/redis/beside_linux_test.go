package main

import (
	"cmp"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The measurement in the README: go test . -run TestBesideRedis -v -beside 5
var (
	beside         = flag.Int("beside", 0, "how many rounds measure this store beside a real Redis with appendfsync always; 0 for none")
	besideFlags    = flag.String("beside-flags", "", "flags of the servers that are measured, such as \"-lease 500ms\"")
	besideCommands = flag.Int("beside-commands", 40_000, "how many requests of -P 1 a measurement has; sixteen times as many of -P 16")
)

var perSecond = regexp.MustCompile(`([\d.]+) requests per second, p50=([\d.]+) msec`)

// TestBesideRedis measures, with redis-benchmark: one Redis that syncs each write, and three servers of
// this store, at the leader and at a follower. Their disks are one disk. They take turns, so that
// what else the machine does hits all of them; both run all the time.
func TestBesideRedis(t *testing.T) {
	if *beside == 0 {
		t.Skip("-beside is 0")
	}
	theirs := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	p := startProcesses(t, strings.Fields(*besideFlags)...)
	followers, leader := p.followers()
	targets := []struct{ name, address string }{
		{"one Redis", theirs}, {"this store, leader", leader.Address}, {"this store, follower", followers[0].Address},
	}
	rates, times := map[string][]float64{}, map[string][]float64{}
	for round := range *beside {
		for _, depth := range []int{1, 16} {
			for _, command := range []string{"set", "get"} {
				for i := range targets {
					target := targets[(i+round)%len(targets)]
					host, port, _ := strings.Cut(target.address, ":")
					out, err := exec.Command("redis-benchmark", "-h", host, "-p", port, "-t", command, "-c", "50",
						"-P", fmt.Sprint(depth), "-n", fmt.Sprint(depth**besideCommands), "-q").CombinedOutput()
					require.NoError(t, err, "%s", out)
					all := perSecond.FindAllSubmatch(out, -1)
					require.NotEmpty(t, all, "%s", out)
					row := fmt.Sprintf("%s -P %d", command, depth)
					for _, figures := range []struct {
						all  map[string][]float64
						text []byte
					}{{rates, all[len(all)-1][1]}, {times, all[len(all)-1][2]}} {
						figure, err := strconv.ParseFloat(string(figures.text), 64)
						require.NoError(t, err)
						figures.all[row+target.name] = append(figures.all[row+target.name], figure)
					}
				}
			}
		}
	}
	var table strings.Builder
	for _, row := range []string{"set -P 1", "get -P 1", "set -P 16", "get -P 16"} {
		fmt.Fprintf(&table, "\n| %s |", row)
		first := median(rates[row+targets[0].name])
		for _, target := range targets {
			rate := median(rates[row+target.name])
			fmt.Fprintf(&table, " %.0f (%.2f; %.2f ms) |", rate, rate/first, median(times[row+target.name]))
		}
	}
	t.Logf("requests per second (as a part of one Redis; median time), medians of %d rounds: %v%s", *beside, targets, table.String())
	for row, all := range rates {
		t.Logf("%s: %.0f", row, all)
	}
}

// median returns the median of numbers.
func median[N cmp.Ordered](numbers []N) N {
	return slices.Sorted(slices.Values(numbers))[len(numbers)/2]
}
