package rules

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"hongyan/examples"
)

var update = flag.Bool("update", false, "write the error texts in testdata/faults.txt anew")

// TestFaults holds what people read about broken files: in testdata/faults.txt, after each file, all of its faults.
func TestFaults(t *testing.T) {
	t.Parallel()
	const name = "testdata/faults.txt"
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) == 0 || len(archive.Files)%2 != 0 {
		t.Fatalf("%s must hold pairs of a file and its faults", name)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		in, want := archive.Files[i], &archive.Files[i+1]
		_, err := Parse(in.Name, in.Data)
		if err == nil {
			t.Errorf("%s has no fault", in.Name)
			continue
		}
		got := err.Error() + "\n"
		if *update {
			want.Data = []byte(got)
		} else if got != string(want.Data) {
			t.Errorf("%s: got\n%swant\n%s", in.Name, got, want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFaultsOfBytes has what a text archive cannot hold.
func TestFaultsOfBytes(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{
			"not UTF-8", "rules:\n  - {match: exact, value: 你\xc4\xe3, reply: x}\n",
			"f:2:28: the file is not UTF-8 from here on; save it as UTF-8",
		},
		{
			"too large", "#" + strings.Repeat("x", MaxFileSize),
			"f:1:1: the file has 4194305 bytes; 4194304 are the most, use the FAQ for so many answers",
		},
	}
	for _, tt := range tests {
		if _, err := Parse("f", []byte(tt.in)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// FuzzParse holds for any bytes: no panic, and each fault is at a place that is in the file.
func FuzzParse(f *testing.F) {
	f.Add(examples.Rules)
	f.Add([]byte(everyKind))
	archive, err := txtar.ParseFile("testdata/faults.txt")
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		f.Add(archive.Files[i].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse("f", data)
		if err == nil {
			for _, content := range []string{"", "你好", "Ａ b", string(data)} {
				if got, ok := set.Match(said(content)); ok && got.Text != "" && strings.TrimSpace(got.Text) == "" {
					t.Errorf("%q gets the blank reply %q", content, got.Text)
				}
			}
			return
		}
		var faulty *Error
		if !errors.As(err, &faulty) || len(faulty.Faults) == 0 {
			t.Fatalf("the error is not one with faults: %v", err)
		}
		lines := strings.Split(string(data), "\n")
		for _, fault := range faulty.Faults {
			if fault.Line < 1 || fault.Line > len(lines)+1 || fault.Column < 1 || fault.Message == "" || !utf8.ValidString(fault.Message) {
				t.Errorf("the fault %+v is not in a file of %d lines", fault, len(lines))
			}
		}
	})
}
