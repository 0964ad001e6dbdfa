package cluster

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// place says which worker should own each partition: rendezvous hashing with a bound on the load. Every node that knows the
// same workers computes the same answer. The result has one id per partition; without workers all are "".
//
// All (partition, worker) pairs are sorted by score, and the best pair whose partition is free and whose worker has room is
// taken, again and again. That is the stable matching of partitions and workers: a partition leaves its best worker only
// because that one is full of partitions that score higher there. So a join or a leave moves little more than it must.
//
// The bound is a quarter above the mean: unbounded, 64 partitions over 3 nodes put more than 30 % too much on one of them
// for one set of random ids in six.
func place(partitions int, workers []string) []string {
	owners := make([]string, partitions)
	if len(workers) == 0 {
		return owners
	}
	type pair struct {
		score     uint64
		partition int
		worker    int
	}
	workers = slices.Sorted(slices.Values(workers))
	pairs := make([]pair, 0, partitions*len(workers))
	for p := range partitions {
		for w, id := range workers {
			pairs = append(pairs, pair{score(p, id), p, w})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.partition, b.partition), cmp.Compare(a.worker, b.worker))
	})
	room := capacity(partitions, len(workers))
	load := make([]int, len(workers))
	for _, x := range pairs {
		if owners[x.partition] == "" && load[x.worker] < room {
			owners[x.partition] = workers[x.worker]
			load[x.worker]++
		}
	}
	return owners
}

// capacity is how many partitions one worker may have: the mean and a quarter, at least the mean rounded up.
func capacity(partitions, workers int) int {
	return max((partitions+workers-1)/workers, partitions*5/(4*workers))
}

// score mixes a partition and a worker. The finaliser (MurmurHash3's) spreads the low entropy of the partition's number over
// all bits; FNV without one put 49 % of the partitions on one of three nodes.
func score(partition int, worker string) uint64 {
	var d xxhash.Digest
	d.Reset()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(partition))
	_, _ = d.Write(b[:])
	_, _ = d.WriteString(worker)
	h := d.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
