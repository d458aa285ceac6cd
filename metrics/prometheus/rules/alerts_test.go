package rules

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

const alertsFile = "../alerts.yml"

// shipped returns the rules that are shipped, as Prometheus reads them. A template that makes no
// sense is an error.
func shipped(t *testing.T) []rulefmt.Rule {
	text, err := os.ReadFile(alertsFile)
	require.NoError(t, err)
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	require.Len(t, groups.Groups, 1)
	return groups.Groups[0].Rules
}

func newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{}),
	})
}

// firing evaluates the rules at each scrape, and returns the alerts that have fired. As in
// Prometheus, an alert fires for a set of labels once its expression has had a value for it at each
// evaluation since `for` ago.
func (s *scrapes) firing(t *testing.T, engine *promql.Engine, rules []rulefmt.Rule) map[string]bool {
	fired := map[string]bool{}
	for _, rule := range rules {
		since := map[string]int64{}
		for _, at := range s.times {
			now := map[string]int64{}
			for _, of := range s.evaluate(t, engine, rule.Expr, at) {
				key := of.String()
				begun, active := since[key]
				if !active {
					begun = at
				}
				now[key] = begun
				if time.Duration(at-begun)*time.Millisecond >= time.Duration(rule.For) {
					fired[rule.Alert] = true
				}
			}
			since = now
		}
	}
	return fired
}

// evaluate returns the labels of the values of an expression.
func (s *scrapes) evaluate(t *testing.T, engine *promql.Engine, expr string, at int64) (of []labels.Labels) {
	query, err := engine.NewInstantQuery(context.Background(), s, nil, expr, time.UnixMilli(at))
	require.NoError(t, err)
	defer query.Close()
	result := query.Exec(context.Background())
	require.NoError(t, result.Err)
	require.Empty(t, result.Warnings, expr)
	vector, err := result.Vector()
	require.NoError(t, err)
	for _, sample := range vector {
		of = append(of, sample.Metric)
	}
	return of
}

func set(names ...string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	return all
}
