package bridge

import (
	"net/netip"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	const next, longest = 2 * time.Second, time.Hour
	for name, tt := range map[string]struct {
		status int
		after  time.Duration
		want   verdict
	}{
		"200":                              {200, 0, verdict{why: Delivered}},
		"204":                              {204, 0, verdict{why: Delivered}},
		"299, and a wait is nothing to us": {299, time.Hour, verdict{why: Delivered}},
		"304":                              {304, 0, verdict{why: Redirected, delay: longest}},
		"302":                              {302, 0, verdict{why: Redirected, delay: longest}},
		"400":                              {400, 0, verdict{why: Refused, delay: longest}},
		"401":                              {401, 0, verdict{why: Refused, delay: longest}},
		"404, waiting longer":              {404, 2 * time.Hour, verdict{why: Refused, delay: 2 * time.Hour}},
		"408":                              {408, 0, verdict{why: ServerError, delay: next}},
		"425":                              {425, 0, verdict{why: ServerError, delay: next}},
		"429":                              {429, 0, verdict{why: Throttled, delay: next}},
		"429, waiting":                     {429, time.Minute, verdict{why: Throttled, delay: time.Minute}},
		"429, waiting less than we would":  {429, time.Second, verdict{why: Throttled, delay: next}},
		"429, waiting for years":           {429, 1e6 * time.Hour, verdict{why: Throttled, delay: longestWait}},
		"410":                              {410, 0, verdict{why: Gone, delay: longest, pause: true}},
		"500":                              {500, 0, verdict{why: ServerError, delay: next}},
		"503, waiting":                     {503, time.Minute, verdict{why: ServerError, delay: time.Minute}},
		"999":                              {999, 0, verdict{why: ServerError, delay: next}},
	} {
		if got := judge(tt.status, tt.after, next, longest); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	if v := failed(AddressRefused, next, longest); v.delay != longest {
		t.Errorf("%+v", v)
	}
	if v := failed(Timeout, next, longest); v.delay != next || v.pause {
		t.Errorf("%+v", v)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "99999999999999": 0,
		"Tue, 24 Nov 2026 10:01:00 GMT": time.Minute, "Tue, 24 Nov 2026 09:00:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// Delays double, are spread, and end at the most, however often it was tried.
func TestDelay(t *testing.T) {
	spread := map[time.Duration]bool{}
	for tries, want := range map[uint64]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 30: time.Hour, 1 << 60: time.Hour} {
		for range 20 {
			d := delay(tries, time.Hour)
			if d < want*8/10 || d > min(want*12/10, time.Hour) {
				t.Errorf("after %d tries %s, want about %s", tries, d, want)
			}
			spread[d] = true
		}
	}
	if len(spread) < 20 {
		t.Errorf("only %d different delays", len(spread))
	}
}

func TestGuard(t *testing.T) {
	const always, private, never = "always", "private", "never"
	for address, want := range map[string]string{
		"93.184.215.14": always, "8.8.8.8": always, "100.63.255.255": always, "100.128.0.0": always, "172.32.0.1": always, "2606:4700::1111": always,
		"127.0.0.1": private, "127.255.255.255": private, "::1": private, "10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private,
		"192.168.1.1": private, "100.64.0.1": private, "100.127.255.255": private, "fc00::1": private, "fd12:3456::1": private,
		"::ffff:127.0.0.1": private, "::ffff:10.0.0.1": private, "64:ff9b::10.0.0.1": private, "64:ff9b::7f00:1": private,
		"0.0.0.0": never, "0.1.2.3": never, "::": never, "169.254.169.254": never, "::ffff:169.254.169.254": never, "64:ff9b::a9fe:a9fe": never,
		"fe80::1": never, "fe80::1%eth0": never, "fec0::1": never, "224.0.0.1": never, "239.1.2.3": never, "ff02::1": never, "255.255.255.255": never,
		"240.0.0.1": never, "192.0.0.8": never, "192.0.2.1": never, "198.18.0.1": never, "198.19.255.255": never, "198.51.100.7": never, "203.0.113.9": never,
		"192.88.99.1": never, "2002:7f00:1::": never, "2001::1": never, "2001:db8::1": never, "::7f00:1": never, "64:ff9b:1::1": never, "100::1": never,
		"3fff::1": never, "4000::1": never,
		// Where clouds answer what runs in them, on addresses that look like others.
		"fd00:ec2::254": never, "fd00:ec2::23": never, "fd20:ce::254": never, "100.100.100.200": never, "::ffff:100.100.100.200": never,
		"64:ff9b::6464:64c8": never, "192.0.0.192": never, "168.63.129.16": never, "169.254.170.2": never,
		"100.100.100.199": private, "fd00:ec3::254": private, "168.63.129.17": always,
	} {
		addr := netip.MustParseAddr(address)
		ok, okPrivate := guard{}.check(addr) == nil, guard{private: true}.check(addr) == nil
		if ok != (want == always) || okPrivate != (want != never) {
			t.Errorf("%s: %v, with private ones %v; want %s", address, ok, okPrivate, want)
		}
		if loopback := (guard{private: true, loopback: true}).check(addr) == nil; loopback != (addr.Unmap().IsLoopback() || address == "64:ff9b::7f00:1") {
			t.Errorf("%s without TLS: %v", address, loopback)
		}
	}
	for _, address := range []string{"", "nowhere", "example.org:443", "1.2.3.4"} {
		if (guard{private: true}).control(t.Context(), "tcp", address, nil) == nil {
			t.Errorf("%q passes", address)
		}
	}
	if err := (guard{}).control(t.Context(), "tcp6", "[2606:4700::1111]:443", nil); err != nil {
		t.Error(err)
	}
}
