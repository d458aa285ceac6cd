// Package otel makes a span of each call of a raft.Node, with OpenTelemetry. It needs the API of
// OpenTelemetry alone, and is a module of its own.
//
//	tracing := otel.New(otel.Options{})
//	tracing.Instrument(&config)
//	node, err := raft.Start(config)
//	…
//	ctx, call := tracing.Start(ctx, otel.Propose)
//	result, err := node.Propose(ctx, command)
//	call.End(err)
//
// The span is a child of the one in the context, or the first of a trace. It ends with the call, and
// has an event for each stage that this server has seen the command reach:
//
//	gathered  the node took the command
//	written   this server's disk has it
//	quorum    this server knows that it is committed
//	applied   this server's state machine has applied it
//
// A read has gathered, and applied if it had to wait until the state machine had applied what it must
// show. A stage that can't be told has no event: the call failed, or it was too many turns of the node
// ago (see Options).
//
// Nothing is put into commands, entries or messages: so a trace ends at the server at which the call
// was made, and the log holds what it held. A span that isn't sampled costs next to nothing, but for
// what Instrument adds to each turn of the node.
package otel

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/e17579a5/raft"
)

// Options are the settings of a Tracing. The zero value is a good choice.
type Options struct {
	// Provider has the tracer made; nil stands for the global one (otel.GetTracerProvider).
	Provider trace.TracerProvider
	// Turns is how many turns of the node are remembered, for each stage, in which entries got
	// there: 1 to 1<<20 (4,096). An entry that got there before has no event of that stage.
	Turns int
	// Server and Group are for a group of a host (raft.HostConfig.Group), whose config has no ID. They are
	// the attributes raft.server and raft.group of its spans. Server is that of the config otherwise, and
	// without a Group there is no such attribute. With many groups, Turns should be small: each of them
	// takes about 100 bytes, whether the group is busy or not.
	Server raft.ServerID
	Group  raft.GroupID
}

// defaultTurns is the default of Options.Turns, and maxTurns its limit.
const defaultTurns, maxTurns = 4096, 1 << 20

// A Tracing makes the spans of one node, in one life. Any goroutine may use it.
type Tracing struct {
	tracer trace.Tracer
	about  []attribute.KeyValue // on each span
	turns  turns
}

// New returns a Tracing. Turns that are out of their range are put to the end of it that is nearer.
func New(options Options) *Tracing {
	if options.Provider == nil {
		options.Provider = otel.GetTracerProvider()
	}
	if options.Turns == 0 {
		options.Turns = defaultTurns
	}
	t := &Tracing{tracer: options.Provider.Tracer("github.com/e17579a5/raft/otel")}
	if options.Server != "" {
		t.about = append(t.about, attribute.String("raft.server", string(options.Server)))
	}
	if options.Group != "" {
		t.about = append(t.about, attribute.String("raft.group", string(options.Group)))
	}
	t.turns.keep(min(max(options.Turns, 1), maxTurns))
	return t
}

// Instrument has the stages of entries noted by a node that is started with the config. It changes
// config.Trace; a function Turn that is there is called first, as before.
func (t *Tracing) Instrument(config *raft.Config) {
	if config.ID != "" {
		t.about = append(slices.DeleteFunc(t.about, func(a attribute.KeyValue) bool { return a.Key == "raft.server" }),
			attribute.String("raft.server", string(config.ID)))
	}
	changed := raft.Trace{}
	if config.Trace != nil {
		changed = *config.Trace
	}
	before := changed.Turn
	changed.Turn = func(turn raft.TurnTrace) {
		if before != nil {
			before(turn)
		}
		t.turns.note(&turn, time.Now)
	}
	config.Trace = &changed
}

// A Kind says what is called. It is also the name of the span.
type Kind string

// The kinds of calls.
const (
	Propose   Kind = "raft.propose" // Node.Propose, ProposeInSession, OpenSession and CloseSession
	Read      Kind = "raft.read"
	LeaseRead Kind = "raft.lease_read"
	StaleRead Kind = "raft.stale_read"
	Admin     Kind = "raft.call" // the calls about the cluster
)

// isRead says whether the calls of a kind are reads.
func (k Kind) isRead() bool { return k == Read || k == LeaseRead || k == StaleRead }

// A Call is a call that is being made, and its span.
type Call struct {
	tracing *Tracing
	kind    Kind
	span    trace.Span
	told    raft.CallTrace
}

// Start begins a span, and returns the context for the call of the node. One call is made with it,
// and then End is called. Attributes that the caller gives are on the span, too; what is secret in a
// command must not be among them.
func (t *Tracing) Start(ctx context.Context, kind Kind, attributes ...attribute.KeyValue) (context.Context, *Call) {
	ctx, span := t.tracer.Start(ctx, string(kind), trace.WithSpanKind(trace.SpanKindInternal))
	c := &Call{tracing: t, kind: kind, span: span}
	if !span.IsRecording() {
		return ctx, c
	}
	span.SetAttributes(t.about...)
	span.SetAttributes(attributes...)
	return raft.FollowCall(ctx, &c.told), c
}

// The outcomes of a call: the values of the attribute raft.outcome.
const (
	outcomeOK         = "ok"
	outcomeNotApplied = "not_applied"
	outcomeUnknown    = "unknown"
	outcomeNotServed  = "not_served"
)

// End ends the span, with the error of the call.
func (c *Call) End(err error) {
	defer c.span.End()
	if !c.span.IsRecording() {
		return
	}
	outcome := outcomeOK
	switch {
	case err == nil:
		if c.told.Index > 0 {
			c.span.SetAttributes(attribute.Int64("raft.index", int64(c.told.Index)))
		}
	case c.kind.isRead():
		outcome = outcomeNotServed
	case errors.Is(err, raft.ErrOutcomeUnknown):
		outcome = outcomeUnknown
	default:
		outcome = outcomeNotApplied
	}
	c.span.SetAttributes(attribute.String("raft.outcome", outcome))
	if err != nil {
		c.span.SetStatus(codes.Error, err.Error())
		var failed *raft.CallError
		if errors.As(err, &failed) && failed.Leadership.Leader != "" {
			c.span.SetAttributes(attribute.String("raft.leader", string(failed.Leadership.Leader)))
		}
	}
	c.stages(err)
}

// stages adds the events.
func (c *Call) stages(err error) {
	if c.told.Taken == 0 {
		return // the node hasn't answered it
	}
	t := &c.tracing.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch.IsZero() {
		return
	}
	c.event("gathered", c.told.Taken)
	if err != nil || c.told.Index == 0 {
		return
	}
	if !c.kind.isRead() {
		if at, known := t.stable.reached(c.told.Index); known {
			c.event("written", at)
		}
		if at, known := t.commit.reached(c.told.Index); known {
			c.event("quorum", at)
		}
	}
	at, known := t.applied.reached(c.told.Index)
	switch {
	case known && at >= c.told.Taken:
		c.event("applied", at)
	case c.told.Index > t.last.Applied:
		c.span.AddEvent("applied") // the turn that brought the answer isn't over
	}
}

// event adds an event. The caller holds the mutex of the turns.
func (c *Call) event(name string, at raft.Instant) {
	c.span.AddEvent(name, trace.WithTimestamp(c.tracing.turns.epoch.Add(time.Duration(at))))
}
