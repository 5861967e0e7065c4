package main

import (
	"strings"
	"testing"
)

func TestSimUsage(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"a token life that is none":         {[]string{"sim", "--token-life", "soon"}, "--token-life"},
		"a token life of nothing":           {[]string{"sim", "--token-life", "0s"}, "--token-life"},
		"a token life below what exp tells": {[]string{"sim", "--token-life", "999ms"}, "--token-life"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, complaints := terminal(t, tt.args...)
			if code != exitUsage || !strings.Contains(complaints, tt.want) || out != "" {
				t.Errorf("code %d, want %d and a word about %s\nout: %s\nerr: %s", code, exitUsage, tt.want, out, complaints)
			}
		})
	}
}
