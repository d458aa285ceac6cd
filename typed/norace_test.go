//go:build !race

package typed_test

// raceDetector says whether the race detector runs.
const raceDetector = false
