// Package console answers operators over HTTP: health, readiness and metrics.
// Nothing it says names a member, not even by token.
package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Check says whether one dependency can be used right now.
type Check struct {
	Name string
	Ask  func(ctx context.Context) error
}

// A Reading is one number for the metrics, read when it is asked for.
type Reading struct {
	Name, Help string
	Counter    bool              // it only grows; otherwise a gauge
	Labels     map[string]string // never of anybody
	Read       func() float64
}

// Handler serves /healthz (this process runs), /readyz (each dependency
// answers) and /metrics.
func Handler(checks []Check, readings []Reading) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, r := range readings {
		if r.Counter {
			registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: r.Name, Help: r.Help, ConstLabels: r.Labels}, r.Read))
		} else {
			registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: r.Name, Help: r.Help, ConstLabels: r.Labels}, r.Read))
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { ready(w, r, checks) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

const (
	readyWithin = 3 * time.Second // how long a dependency may take to answer
	stopWithin  = time.Minute     // how long requests in hand may take after a stop: as long as b.well may take
)

func ready(w http.ResponseWriter, r *http.Request, checks []Check) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWithin)
	defer cancel()
	// All at once: one that hangs must not make the others look bad.
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { errs[i] = c.Ask(ctx) })
	}
	wg.Wait()
	answer, status := map[string]string{}, http.StatusOK
	for i, c := range checks {
		answer[c.Name] = "ok"
		if errs[i] != nil {
			answer[c.Name], status = "not ready", http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// Serve answers on listen until ctx ends, then finishes what is in hand. The
// address in use is told to listening before the first request.
func Serve(ctx context.Context, listen string, h http.Handler, listening func(net.Addr)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	listening(l.Addr())
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		// Handlers find the logger of ctx; a stop lets them finish.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// The context that ended is the reason to stop; it cannot bound the stop.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if s.Shutdown(grace) != nil {
			_ = s.Close() // they had their time
		}
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	<-stopped // Serve returns when the stop begins
	return nil
}
