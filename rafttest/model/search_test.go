package model_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/model"
)

// explore demands that everything within the bounds is explored and that no invariant is broken.
func explore(t *testing.T, bounds model.Bounds, options model.Options) model.Result {
	t.Helper()
	search, err := model.New(bounds, options)
	require.NoError(t, err)
	result := search.Run(context.Background())
	if result.Violation != nil {
		search.Transcript(t.Output())
	}
	require.Nil(t, result.Violation)
	require.True(t, result.Exhausted)
	require.Zero(t, result.Waiting)
	require.Greater(t, result.States, uint64(1))
	require.GreaterOrEqual(t, result.Steps, result.States-1)
	return result
}

// TestNothingIsBroken explores small models of each kind. Bounds that prove more take minutes:
// go run ./cmd/raftmodel.
func TestNothingIsBroken(t *testing.T) {
	for name, bounds := range map[string]model.Bounds{
		"one election":    {Terms: 1, Crashes: 1, Duplicates: 1},
		"losses":          {Terms: 1, Commands: 1, Crashes: 1, Losses: -1},
		"two elections":   {Terms: 2, Losses: 1},
		"soup":            {Terms: 2, Soup: true},
		"two servers":     {Servers: 2, Terms: 2, Commands: 2, Crashes: 1, Losses: -1},
		"async disks":     {Terms: 1, AsyncDisks: true, Crashes: 1, Losses: 1},
		"many writes":     {Servers: 2, Terms: 2, Commands: 1, AsyncDisks: true, Writes: 2, Crashes: 1},
		"pre-vote":        {Servers: 2, Terms: 1, Commands: 1, Timeouts: true, Crashes: 1, Losses: 0},
		"rounds":          {Servers: 2, Terms: 1, Commands: 1, Timeouts: true, Rounds: 2},
		"reads":           {Servers: 2, Terms: 1, Reads: 1, Commands: 1, Rounds: 2},
		"anywhere":        {Servers: 2, Terms: 1, Reads: 1, Commands: 1, Rounds: 1, Anywhere: true},
		"entry by entry":  {Servers: 2, Terms: 1, Commands: 3, AppendBytes: 1},
		"several servers": {Servers: 4, Terms: 1, InFlight: 1},
		"removal":         {Terms: 1, Soup: true, Changes: 1},
		"adding anew":     {Servers: 2, Terms: 1, Soup: true, Changes: 2},
		"handing over":    {Terms: 2, Soup: true, Transfers: 1},
		"damage":          {Terms: 1, Soup: true, Damages: 1},
		"damage of two":   {Servers: 2, Terms: 2, Commands: 1, Soup: true, Damages: 1},
		"damage of three": {Terms: 1, Commands: 1, Soup: true, Damages: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := explore(t, bounds, model.Options{})
			t.Logf("%+v", result.Progress)
		})
	}
}

// TestFolding counts states that differ only in the names of servers as one. It demands that this
// changes no verdict, and that about one of n! states is left. A few more are left, because some
// states look the same to several servers.
func TestFolding(t *testing.T) {
	for _, c := range []struct {
		bounds model.Bounds
		orders uint64
	}{
		{model.Bounds{Servers: 2, Terms: 2, Commands: 1, Crashes: 1}, 2},
		{model.Bounds{Servers: 3, Terms: 1, Commands: 1, Losses: -1}, 6},
		{model.Bounds{Servers: 4, Terms: 1, InFlight: 1, Soup: true}, 24},
		{model.Bounds{Servers: 3, Terms: 1, Soup: true, Changes: 1}, 6},
		{model.Bounds{Servers: 3, Terms: 1, Soup: true, Transfers: 1}, 6},
		{model.Bounds{Servers: 3, Terms: 1, Soup: true, Damages: 1}, 6},
	} {
		folded := explore(t, c.bounds, model.Options{})
		all := explore(t, c.bounds, model.Options{Unfolded: true})
		require.LessOrEqual(t, all.States, c.orders*folded.States)
		require.Greater(t, 2*all.States, c.orders*folded.States)
		require.Equal(t, all.Depth, folded.Depth)
		t.Logf("%d servers: %d states, %d folded", c.bounds.Servers, all.States, folded.States)
	}
}

// TestEveryOrderFindsTheSame demands that neither the order in which states are visited nor the
// number of workers changes what is found.
func TestEveryOrderFindsTheSame(t *testing.T) {
	bounds := model.Bounds{Terms: 1, Commands: 1, Crashes: 1}
	one := explore(t, bounds, model.Options{Workers: 1})
	many := explore(t, bounds, model.Options{Workers: 4})
	depthFirst := explore(t, bounds, model.Options{DepthFirst: true})
	bounded := explore(t, bounds, model.Options{DepthFirst: true, MaxDepth: one.Depth + 1})
	require.Equal(t, one.States, many.States)
	require.Equal(t, one.Depth, many.Depth)
	require.Equal(t, one.Steps, many.Steps)
	require.Equal(t, one.States, depthFirst.States)
	require.GreaterOrEqual(t, depthFirst.Depth, one.Depth)
	require.Equal(t, one.States, bounded.States)
}

// TestEveryOrderCoversTheSame demands the same of a search that passes over states that are
// covered.
func TestEveryOrderCoversTheSame(t *testing.T) {
	for _, bounds := range []model.Bounds{
		{Terms: 2, Soup: true, Crashes: 1},
		{Terms: 1, Commands: 1, Losses: -1, Crashes: 1, Duplicates: 1},
	} {
		one := explore(t, bounds, model.Options{Workers: 1})
		many := explore(t, bounds, model.Options{Workers: 4})
		require.Equal(t, one.States, many.States)
		require.Equal(t, one.Depth, many.Depth)
		require.Equal(t, one.Steps, many.Steps)
	}
}

// TestMaxDepth demands that a search to a depth knows the same states in either order, and that it
// doesn't claim to have seen all.
func TestMaxDepth(t *testing.T) {
	bounds := model.Bounds{Terms: 1, Commands: 1, Crashes: 1}
	var results []model.Result
	for _, depthFirst := range []bool{false, true} {
		search, err := model.New(bounds, model.Options{MaxDepth: 7, DepthFirst: depthFirst})
		require.NoError(t, err)
		result := search.Run(context.Background())
		require.False(t, result.Exhausted)
		require.Nil(t, result.Violation)
		require.Equal(t, 7, result.Depth)
		results = append(results, result)
	}
	require.Equal(t, results[0].States, results[1].States)
}

func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, depthFirst := range []bool{false, true} {
		search, err := model.New(model.Bounds{Commands: 2, Crashes: 1}, model.Options{DepthFirst: depthFirst})
		require.NoError(t, err)
		result := search.Run(ctx)
		require.False(t, result.Exhausted)
		require.Nil(t, result.Violation)
	}
}

func TestBoundsAreRefused(t *testing.T) {
	for name, bounds := range map[string]model.Bounds{
		"Servers":     {Servers: model.MaxServers + 1},
		"Terms":       {Terms: model.MaxTerms + 1},
		"Commands":    {Commands: -1},
		"Reads":       {Reads: 15},
		"InFlight":    {InFlight: -2},
		"Changes":     {Changes: 15},
		"Transfers":   {Transfers: -1},
		"Crashes":     {Crashes: 15},
		"Duplicates":  {Duplicates: 15},
		"Losses":      {Losses: 251},
		"Rounds":      {Rounds: -1},
		"Writes":      {Writes: 5},
		"Held":        {Held: -1},
		"AppendBytes": {AppendBytes: -1},
	} {
		_, err := model.New(bounds, model.Options{})
		require.ErrorContains(t, err, name)
	}
	_, err := model.New(model.Bounds{}, model.Options{Workers: -1})
	require.Error(t, err)
	_, err = model.New(model.Bounds{Servers: model.MaxServers, Terms: model.MaxTerms, Commands: 14, Losses: 250}, model.Options{})
	require.NoError(t, err)
}
