package otel_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/otel"
)

// forgetful is a state machine without state.
type forgetful struct{ keeper }

func (*forgetful) Apply([]raft.Entry, [][]byte) {}

// BenchmarkPropose measures one client of one server in memory: without traces, with traces of which
// none is sampled, and with traces of which all are.
func BenchmarkPropose(b *testing.B) {
	for name, sampler := range map[string]sdk.Sampler{"without": nil, "unsampled": sdk.NeverSample(), "sampled": sdk.AlwaysSample()} {
		b.Run(name, func(b *testing.B) {
			config := raft.Config{
				ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, Machine: &forgetful{}, Storage: memory.NewStorage(),
				Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
			}
			tracing := otel.New(otel.Options{Provider: sdk.NewTracerProvider(sdk.WithSampler(sampler))})
			if sampler != nil {
				tracing.Instrument(&config)
			}
			node, err := raft.Start(config)
			require.NoError(b, err)
			defer node.Close(context.Background())
			b.ReportAllocs()
			for b.Loop() {
				ctx, call := context.Background(), (*otel.Call)(nil)
				if sampler != nil {
					ctx, call = tracing.Start(ctx, otel.Propose)
				}
				_, err := node.Propose(ctx, []byte("a command"))
				if call != nil {
					call.End(err)
				}
				require.NoError(b, err)
			}
		})
	}
}
