package main

import "slices"

// all are the mutants, in the order of the rules that they take out. The files of the list are named after the part of the
// tree that they change.
func all() []mutant {
	return slices.Concat(readingMutants, stateMutants, answerMutants, deadMutants, clusterMutants, doorMutants, pushMutants, dueMutants, accountMutants, limitMutants)
}
