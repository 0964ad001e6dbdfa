//go:build !unix

package main

// freeDisk is how many bytes a new file below dir may take: here nobody is asked, and 16 GiB are assumed, which caps the log at
// 4 GiB. Set nats.max_bytes and state.max_bytes to what fits.
func freeDisk(string) (uint64, error) { return 16 << 30, nil }
