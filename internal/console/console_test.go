package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func get(t *testing.T, h http.Handler, path string) (int, http.Header, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Header(), w.Body.String()
}

func fine(context.Context) error { return nil }

// Its words may hold anything, so they are told to nobody.
func broken(context.Context) error { return errors.New("dial nats://user:s3cret@n1: refused") }

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestReadinessIsPerDependency(t *testing.T) {
	for name, tt := range map[string]struct {
		checks []Check
		code   int
		want   map[string]string
	}{
		"no dependency": {nil, 200, map[string]string{}},
		"all fine":      {[]Check{{"a", fine}, {"b", fine}}, 200, map[string]string{"a": "ok", "b": "ok"}},
		"first broken":  {[]Check{{"a", broken}, {"b", fine}}, 503, map[string]string{"a": "not ready", "b": "ok"}},
		"second broken": {[]Check{{"a", fine}, {"b", broken}}, 503, map[string]string{"a": "ok", "b": "not ready"}},
		"first hangs":   {[]Check{{"a", hangs}, {"b", fine}}, 503, map[string]string{"a": "not ready", "b": "ok"}},
		"all hang":      {[]Check{{"a", hangs}, {"b", hangs}}, 503, map[string]string{"a": "not ready", "b": "not ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				code, header, body := get(t, Handler(tt.checks, nil), "/readyz")
				var got map[string]string
				if err := json.Unmarshal([]byte(body), &got); err != nil {
					t.Fatal(err)
				}
				if code != tt.code || len(got) != len(tt.want) || header.Get("Content-Type") != "application/json" {
					t.Errorf("%d %v %s", code, header, body)
				}
				for name, want := range tt.want {
					if got[name] != want {
						t.Errorf("%s is %q, want %q", name, got[name], want)
					}
				}
				if strings.Contains(body, "s3cret") {
					t.Errorf("it tells what an error says: %s", body)
				}
				if took := time.Since(began); took > readyWithin {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestHealthHangsOnNobody(t *testing.T) {
	code, _, body := get(t, Handler([]Check{{"a", broken}, {"b", hangs}}, nil), "/healthz")
	if code != 200 || body != "ok\n" {
		t.Errorf("%d %s", code, body)
	}
}

func TestMetrics(t *testing.T) {
	n := 41.0
	h := Handler(nil, []Reading{
		{Name: "connector_polls_total", Help: "Polls.", Counter: true, Read: func() float64 { n++; return n }},
		{Name: "connector_members", Help: "Members.", Read: func() float64 { return 3 }},
	})
	_, _, body := get(t, h, "/metrics")
	want := `# HELP connector_members Members.
# TYPE connector_members gauge
connector_members 3
# HELP connector_polls_total Polls.
# TYPE connector_polls_total counter
connector_polls_total 42
`
	for _, want := range []string{want, "go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestOnlyWhatThereIs(t *testing.T) {
	h := Handler(nil, nil)
	for path, want := range map[string]int{"/": 404, "/debug/pprof/": 404, "/readyz/x": 404, "/metrics": 200} {
		if code, _, _ := get(t, h, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/readyz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestAddressTaken(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Serve(t.Context(), l.Addr().String(), Handler(nil, nil), func(net.Addr) { t.Error("it says that it listens") })
	if err == nil || !strings.Contains(err.Error(), "listen for HTTP") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	if err := Serve(t.Context(), "no address", Handler(nil, nil), func(net.Addr) {}); err == nil {
		t.Error("that is no address")
	}
}

// What is in hand when the stop comes is answered before Serve returns.
func TestStopFinishesWhatIsInHand(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	inHand, finish := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inHand)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	at := make(chan net.Addr, 1)
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, "127.0.0.1:0", h, func(a net.Addr) { at <- a }) }()
	url := "http://" + (<-at).String()
	answered := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, nil)
		if err != nil {
			answered <- err.Error()
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answered <- string(body)
	}()
	<-inHand
	stop()
	// New ones are refused once the stop has begun; only then the one in hand goes on.
	var d net.Dialer
	for {
		c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		_ = c.Close()
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended with a request in hand: %v", err)
	default:
	}
	close(finish)
	if body := <-answered; body != "done" {
		t.Errorf("answered %q", body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
