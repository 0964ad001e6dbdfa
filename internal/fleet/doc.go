// Package fleet runs the nodes of `hongyan dev --nodes` as processes of this machine: it starts, stops, pauses and kills each by
// name, and tells how each is.
//
// A child never outlives its parent. When the parent ends in order, Run ends the children first. When it is killed, the kernel
// kills them too where it can (Linux: parent-death signal, which reaches a paused process as well), and everywhere their standard
// input ends, for which they listen with [Orphaned].
//
// A child that ends by itself is shown with its exit code and not started again: a supervisor that hides crashes would hide
// what this one is there to show.
package fleet
