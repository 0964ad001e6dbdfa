// Package bots holds nothing itself: its folders are complete bots in Go, JavaScript and Python, and its tests start them as the processes
// that they are and ask them what a user would.
package bots
