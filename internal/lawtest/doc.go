// Package lawtest reads the tree's source and fails where it breaks a law of the house: which part may import which, where each
// library has its one home, what the pure parts must not call, who ends a goroutine, how large things may get, what must be
// written down. Each law says why it is there, and has a tiny tree in testdata that breaks it.
//
// Where a law must be broken, the code says so and why, on the line itself or in the comment right above it:
//
//	//lawtest:allow <law> <reason>
//
// A law about a whole file takes the comment anywhere in that file. An allowance that no longer allows anything is a
// violation itself.
package lawtest
