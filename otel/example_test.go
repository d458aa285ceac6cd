package otel_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/otel"
)

func Example() {
	spans := tracetest.NewSpanRecorder() // in place of an exporter
	tracing := otel.New(otel.Options{Provider: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))})
	config := raft.Config{
		ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, Machine: &keeper{}, Storage: memory.NewStorage(),
		Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
	}
	tracing.Instrument(&config)
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close(context.Background())
	if err := node.Read(context.Background()); err != nil { // there is a leader now
		log.Fatal(err)
	}

	ctx, call := tracing.Start(context.Background(), otel.Propose)
	_, err = node.Propose(ctx, []byte("a command"))
	call.End(err)
	if err != nil {
		log.Fatal(err)
	}
	for _, span := range spans.Ended() {
		fmt.Print(span.Name(), ":")
		for _, event := range span.Events() {
			fmt.Print(" ", event.Name)
		}
		fmt.Println()
	}
	// Output: raft.propose: gathered written quorum applied
}
