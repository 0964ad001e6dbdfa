package api

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCodes compares the whole table, and the ranges around it, with testdata/codes.txt, which people read line by line.
func TestCodes(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		m := codes[code]
		b.WriteString(strings.TrimSpace(fmt.Sprintf("%d %s %s %s", code, m.class, m.source, m.next)) + "\n")
		if m.source == "" || m.class == Unknown || m.class == Unsent || m.class == Refused {
			t.Errorf("%d: an errcode is a definite answer from a known source, not %+v", code, m)
		}
	}
	b.WriteString("\nnot in the table\n")
	for _, code := range []int{1, 40004, 41006, 42007, 43002, 44005, 45007, 46003, 47002, 48003, 48008, 50003, 61500, 65399, 65400, 65499,
		65500, 87009, 9001001} {
		fmt.Fprintf(&b, "%d %s\n", code, classify(callSendCustom, code))
	}
	b.WriteString("\nfrom the calls that fetch a token\n")
	for _, code := range []int{40001, 40014, 42001, 40164, 45009, -1} {
		fmt.Fprintf(&b, "%d %s %s\n", code, classify(callToken, code), classify(callStableToken, code))
	}
	const golden = "testdata/codes.txt"
	if *update {
		must(t, os.WriteFile(golden, []byte(b.String()), 0o600))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if b.String() != string(want) {
		t.Errorf("not as in %s (-update writes it):\n%s", golden, b.String())
	}
}

// TestContract holds the classes that callers build on, written down here once more from the protocol sheet's tables.
func TestContract(t *testing.T) {
	t.Parallel()
	for class, list := range map[Class][]int{
		Busy:         {-1},
		TokenInvalid: {40001, 40014, 42001},
		Config:       {40013, 40125, 40243, 40164, 61004},
		DailyQuota:   {45009},
		MinuteRate:   {45011},
		NoRight:      {48001, 48004, 50002, 65400, 65401, 65416, 61451, 61459},
		NoWindow:     {45015, 45047},
		NoUser:       {48002, 43004, 43019, 50005, 40003},
		BadMessage:   {45002, 40007, 47001, 44004, 45008, 45048},
		Typing:       {45072, 45080, 45081},
	} {
		for _, code := range list {
			if got := classify(callSendCustom, code); got != class {
				t.Errorf("%d is %s, want %s", code, got, class)
			}
		}
	}
	seen := map[string]bool{}
	for c := Unknown; c <= Refused; c++ {
		if seen[c.String()] {
			t.Errorf("two classes are called %s", c)
		}
		seen[c.String()] = true
	}
	if ClassOf(os.ErrNotExist) != Unknown {
		t.Error("an error of elsewhere is not unknown")
	}
}
