// Package rules has the tests of the alerts and of the dashboard that come with the package
// metrics/prometheus. Real servers suffer simulated faults in virtual time, their metrics are
// scraped, and the engine of Prometheus itself evaluates the rules. It is a module of its own,
// since that engine is large.
package rules
