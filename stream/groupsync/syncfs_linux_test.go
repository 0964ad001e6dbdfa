package groupsync

import "testing"

func TestSyncfsReportsErrors(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{
		"6.1.0-18-amd64": true, "5.8.0": true, "5.10.0-28-cloud-amd64": true, "10.0": true,
		"5.7.19": false, "4.19.0": false, "3.10.0-1160.el7.x86_64": false, "": false, "unknown": false,
	} {
		if got := syncfsReportsErrors(release); got != want {
			t.Errorf("%q: got %v, want %v", release, got, want)
		}
	}
}
