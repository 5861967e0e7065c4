package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/smartconnect/connector/internal/secret"
)

func TestValueIsNeverPrinted(t *testing.T) {
	const text = "hunter2"
	v := secret.New(text)
	held := struct{ V secret.Value }{v}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb, v, &v, held)
	}
	log := zerolog.New(&out)
	log.Info().Interface("v", v).Interface("held", held).Stringer("s", v).Msg("")
	body, err := json.Marshal(held)
	if err == nil {
		t.Errorf("JSON of a secret: %s", body)
	}
	if s := out.String(); strings.Contains(s, text) || strings.Contains(s, fmt.Sprintf("%x", text)) {
		t.Errorf("printed: %s", s)
	}
	if v.Reveal() != text || v.IsZero() || !(secret.Value{}).IsZero() {
		t.Error("Reveal or IsZero is wrong")
	}
}
