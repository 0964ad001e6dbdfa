package redis

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]target{
		"redis://h1":                           {addrs: []string{"h1:6379"}},
		"redis://h1:1/7":                       {addrs: []string{"h1:1"}, db: 7},
		"redis://:pw@h1":                       {addrs: []string{"h1:6379"}, password: "pw"},
		"redis://u:p%40%2Fw@h1:1":              {addrs: []string{"h1:1"}, username: "u", password: "p@/w"},
		"redis://u:p/w@h1":                     {addrs: []string{"h1:6379"}, username: "u", password: "p/w"},
		"redis://u:p@w@[::1]:1/0":              {addrs: []string{"[::1]:1"}, username: "u", password: "p@w"},
		"redis://u:p:w@[fe80::1]":              {addrs: []string{"[fe80::1]:6379"}, username: "u", password: "p:w"},
		"rediss://u:pw@redis.example.com:6380": {addrs: []string{"redis.example.com:6380"}, username: "u", password: "pw", tls: &tls.Config{}},
	} {
		got, err := Options{URL: url}.target()
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if !slices.Equal(got.addrs, want.addrs) || got.username != want.username || got.password != want.password ||
			got.db != want.db || (got.tls == nil) != (want.tls == nil) {
			t.Errorf("%s: %+v, want %+v", url, got, want)
		}
	}
	many, err := Options{URL: "redis://h1,h2:2,[::1]", Mode: ModeSentinel, Master: "m"}.target()
	if want := []string{"h1:26379", "h2:2", "[::1]:26379"}; err != nil || !slices.Equal(many.addrs, want) {
		t.Errorf("sentinels: %v, %v; want %v", many.addrs, err, want)
	}
}

// TestCheck refuses what cannot work, without showing the password.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"empty":                     {},
		"no scheme":                 {URL: "u:SECRET@h1:6379"},
		"other scheme":              {URL: "http://u:SECRET@h1"},
		"no host":                   {URL: "redis://u:SECRET@"},
		"no host in a list":         {URL: "redis://u:SECRET@h1,", Mode: ModeCluster},
		"port":                      {URL: "redis://u:SECRET@h1:66666"},
		"port 0":                    {URL: "redis://u:SECRET@h1:0"},
		"port with letters":         {URL: "redis://h1:SECRET"},
		"IPv6 without brackets":     {URL: "redis://u:SECRET@fe80::1"},
		"database":                  {URL: "redis://u:SECRET@h1/x"},
		"percent":                   {URL: "redis://u:SECRET%zz@h1"},
		"question mark":             {URL: "redis://u:SECRET@h1?db=1"},
		"user without password":     {URL: "redis://SECRET@h1"},
		"two hosts, no mode":        {URL: "redis://u:SECRET@h1,h2"},
		"mode":                      {URL: "redis://u:SECRET@h1", Mode: "ring"},
		"cluster with a database":   {URL: "redis://u:SECRET@h1/1", Mode: ModeCluster},
		"sentinel without a master": {URL: "redis://u:SECRET@h1", Mode: ModeSentinel},
		"master without sentinel":   {URL: "redis://u:SECRET@h1", Master: "m"},
		"sentinel password alone":   {URL: "redis://h1", SentinelPassword: "SECRET"},
		"TLS over plain":            {URL: "redis://u:SECRET@h1", TLS: &tls.Config{}},
		"prefix":                    {URL: "redis://u:SECRET@h1", Prefix: "a{b}"},
		"negative replicas":         {URL: "redis://u:SECRET@h1", WaitReplicas: -1},
		"short mark":                {URL: "redis://u:SECRET@h1", TombstoneTTL: time.Microsecond},
	} {
		err := o.Check()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, part := range []string{"SECRET", "SEC", "RET@"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error shows the password: %v", name, err)
			}
		}
		if _, openErr := Open(t.Context(), o); openErr == nil {
			t.Errorf("%s: it was opened", name)
		}
	}
}
