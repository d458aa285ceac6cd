package otel_test

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/otel"
)

// A keeper is a state machine that keeps what it is given.
type keeper struct {
	mu      sync.Mutex
	entries []raft.Entry
}

func (k *keeper) Apply(entries []raft.Entry, results [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range entries {
		e.Data = append([]byte(nil), e.Data...)
		k.entries = append(k.entries, e)
	}
}

func (*keeper) Snapshot() (io.WriterTo, error) { return nil, nil }
func (*keeper) Restore(io.Reader) error        { return nil }

// servers are three servers in a bubble of virtual time, whose spans are recorded.
type servers struct {
	t        *testing.T
	network  *memory.Network
	spans    *tracetest.SpanRecorder
	nodes    []*raft.Node
	tracings []*otel.Tracing
	machines []*keeper
}

func start(t *testing.T, sampler sdk.Sampler) *servers {
	c := &servers{t: t, network: memory.NewNetwork(memory.Options{Faults: memory.Faults{MinDelay: 10 * time.Millisecond, MaxDelay: 10 * time.Millisecond}}), spans: tracetest.NewSpanRecorder()}
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(c.spans), sdk.WithSampler(sampler))
	list := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	for i, s := range list {
		machine := &keeper{}
		config := raft.Config{ID: s.ID, Bootstrap: list, Machine: machine, Storage: memory.NewStorage(), Transport: c.network.Join(s.ID),
			Seed: uint64(i + 1), Logger: slog.New(slog.DiscardHandler)}
		tracing := otel.New(otel.Options{Provider: provider})
		tracing.Instrument(&config)
		node, err := raft.Start(config)
		require.NoError(t, err)
		c.nodes, c.tracings, c.machines = append(c.nodes, node), append(c.tracings, tracing), append(c.machines, machine)
	}
	return c
}

func (c *servers) close() {
	for _, node := range c.nodes {
		require.NoError(c.t, node.Close(context.Background()))
	}
}

// leader returns the number of the leader, and of another server.
func (c *servers) leader() (leader, other int) {
	require.NoError(c.t, c.nodes[0].Read(c.t.Context()))
	time.Sleep(time.Second)
	for i, node := range c.nodes {
		if node.Leadership().Ready {
			return i, (i + 1) % len(c.nodes)
		}
	}
	c.t.Fatal("no leader")
	return 0, 0
}

// propose proposes a command at a server, with a span.
func (c *servers) propose(ctx context.Context, i int, command string) error {
	ctx, call := c.tracings[i].Start(ctx, otel.Propose, attribute.String("what", command))
	_, err := c.nodes[i].Propose(ctx, []byte(command))
	call.End(err)
	return err
}

// last returns the span that has ended last, its attributes and the times of its events, counted from
// its beginning.
func (c *servers) last() (span sdk.ReadOnlySpan, attributes map[string]string, events map[string]time.Duration) {
	all := c.spans.Ended()
	require.NotEmpty(c.t, all)
	span = all[len(all)-1]
	attributes, events = map[string]string{}, map[string]time.Duration{}
	for _, a := range span.Attributes() {
		attributes[string(a.Key)] = a.Value.String()
	}
	for _, e := range span.Events() {
		events[e.Name] = e.Time.Sub(span.StartTime())
	}
	return span, attributes, events
}

// A command at the leader, and one at another server, have their stages as events.
func TestStagesOfACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sdk.AlwaysSample())
		defer c.close()
		leader, other := c.leader()
		require.NoError(t, c.propose(t.Context(), leader, "x"))
		span, attributes, events := c.last()
		require.Equal(t, "raft.propose", span.Name())
		require.Equal(t, map[string]string{"raft.server": string('a' + rune(leader)), "what": "x", "raft.outcome": "ok", "raft.index": "2"}, attributes)
		require.Equal(t, map[string]time.Duration{"gathered": 0, "written": 0, "quorum": 20 * time.Millisecond, "applied": 20 * time.Millisecond}, events)
		require.Equal(t, codes.Unset, span.Status().Code)

		require.NoError(t, c.propose(t.Context(), other, "y"))
		_, attributes, events = c.last()
		require.Equal(t, "3", attributes["raft.index"])
		// There, an append back, and the word that it is committed.
		require.Equal(t, map[string]time.Duration{"gathered": 0, "written": 20 * time.Millisecond,
			"quorum": 40 * time.Millisecond, "applied": 40 * time.Millisecond}, events)
	})
}

// A group of a host has spans of its own, which name it.
func TestSpansOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewSpanRecorder()
		provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
		tracings := map[raft.GroupID]*otel.Tracing{}
		host, err := raft.StartHost(raft.HostConfig{
			ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
			Group: func(group raft.GroupID) raft.Config {
				config := raft.Config{Machine: &keeper{}, Bootstrap: []raft.Server{{ID: "a"}}}
				tracings[group] = otel.New(otel.Options{Provider: provider, Server: "a", Group: group, Turns: 16})
				tracings[group].Instrument(&config)
				return config
			},
		})
		require.NoError(t, err)
		defer host.Close(context.Background())
		time.Sleep(time.Second) // at instant 0 of the host's clock, a call would look as if nobody had taken it
		for i, group := range []raft.GroupID{"x", "y"} {
			node, err := host.Group(group)
			require.NoError(t, err)
			ctx, call := tracings[group].Start(t.Context(), otel.Propose)
			_, err = node.Propose(ctx, []byte("x"))
			synctest.Wait() // the turn that has answered ends
			call.End(err)
			require.NoError(t, err)
			span := spans.Ended()[i]
			attributes := map[string]string{}
			for _, a := range span.Attributes() {
				attributes[string(a.Key)] = a.Value.String()
			}
			require.Equal(t, map[string]string{"raft.server": "a", "raft.group": string(group), "raft.outcome": "ok", "raft.index": "2"}, attributes)
			require.Len(t, span.Events(), 4)
		}
	})
}

func TestStagesOfARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sdk.AlwaysSample())
		defer c.close()
		leader, other := c.leader()
		for _, read := range []struct {
			at   int
			kind otel.Kind
			call func(context.Context) error
		}{{other, otel.Read, c.nodes[other].Read}, {leader, otel.LeaseRead, c.nodes[leader].LeaseRead}} {
			ctx, call := c.tracings[read.at].Start(t.Context(), read.kind)
			err := read.call(ctx)
			require.NoError(t, err)
			call.End(err)
			span, attributes, events := c.last()
			require.Equal(t, string(read.kind), span.Name())
			require.Equal(t, "ok", attributes["raft.outcome"])
			require.Contains(t, events, "gathered")
			require.NotContains(t, events, "written")
		}
	})
}

// A span says how a call has failed.
func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sdk.AlwaysSample())
		defer c.close()
		leader, other := c.leader()
		short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.propose(short, other, "x"), raft.ErrOutcomeUnknown)
		span, attributes, events := c.last()
		require.Equal(t, "unknown", attributes["raft.outcome"])
		require.Equal(t, string('a'+rune(leader)), attributes["raft.leader"])
		require.Equal(t, codes.Error, span.Status().Code)
		require.Contains(t, span.Status().Description, "waits for")
		require.Equal(t, map[string]time.Duration{"gathered": 0}, events)

		require.ErrorIs(t, c.propose(short, other, "x"), raft.ErrNotApplied)
		_, attributes, events = c.last()
		require.Equal(t, "not_applied", attributes["raft.outcome"])
		require.Empty(t, events, "the node never took it")

		ctx, call := c.tracings[other].Start(short, otel.Read)
		call.End(c.nodes[other].Read(ctx))
		_, attributes, _ = c.last()
		require.Equal(t, "not_served", attributes["raft.outcome"])
	})
}

// A span is a child of the one in the context. One that isn't sampled has nothing, and the call is
// made all the same.
func TestParentsAndSampling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sdk.ParentBased(sdk.NeverSample()))
		defer c.close()
		leader, _ := c.leader()
		require.NoError(t, c.propose(t.Context(), leader, "x"))
		require.Empty(t, c.spans.Ended())
	})
	synctest.Test(t, func(t *testing.T) {
		c := start(t, sdk.AlwaysSample())
		defer c.close()
		leader, _ := c.leader()
		ctx, parent := c.tracings[leader].Start(t.Context(), otel.Admin)
		require.NoError(t, c.propose(ctx, leader, "x"))
		child, _, _ := c.last()
		parent.End(nil)
		of, _, _ := c.last()
		require.Equal(t, of.SpanContext().SpanID(), child.Parent().SpanID())
		require.Equal(t, of.SpanContext().TraceID(), child.SpanContext().TraceID())
	})
}

// Nothing is put into entries: the state machines get what they get without a trace.
func TestEntriesAreTheSame(t *testing.T) {
	var given [2][]raft.Entry
	for i, sampler := range []sdk.Sampler{sdk.NeverSample(), sdk.AlwaysSample()} {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, sampler)
			leader, other := c.leader()
			for _, at := range []int{leader, other} {
				require.NoError(t, c.propose(t.Context(), at, "a command"))
			}
			time.Sleep(time.Second)
			given[i] = c.machines[other].entries
			c.close()
		})
	}
	require.Len(t, given[0], 2)
	for i := range given[0] {
		given[0][i].Origin, given[1][i].Origin = raft.Origin{}, raft.Origin{} // drawn at each start
		require.Equal(t, given[0][i], given[1][i])
	}
}
