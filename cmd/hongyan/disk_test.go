package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What the folder holds counts as room, so that a restart on a full log does not find a smaller cap.
func TestRoomCountsWhatIsHeld(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const held = 1 << 40
	block := filepath.Join(dir, "block")
	if err := os.WriteFile(block, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, held); err != nil { // sparse: it takes nothing from what is free
		t.Fatal(err)
	}
	got, err := room(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got < held {
		t.Errorf("room %d in a folder that holds %d", got, held)
	}
	if _, err := room(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there has room")
	}
}
