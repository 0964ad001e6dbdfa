//go:build !race

package ingress

// raceDetector says whether the race detector watches this test.
const raceDetector = false
