//go:build !linux

package groupsync

func openSyncer(dir string) (syncer, error) { return openWalk(dir) }
