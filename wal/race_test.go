//go:build race

package wal_test

// raceDetector says whether this test runs under the race detector.
const raceDetector = true
