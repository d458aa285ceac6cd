//go:build !race

package tcp_test

// raceDetector says whether this test runs under the race detector.
const raceDetector = false
