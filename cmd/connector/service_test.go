package main

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Requests are answered after their handlers have returned, alone and one beside
// the other; the race detector looks on. It sees the most when it is quiet.
func TestAnswersOfTheMicroService(t *testing.T) {
	w := newWorld(t, 0)
	w.serve(nil)
	for _, askers := range []int{1, 8} {
		var asked sync.WaitGroup
		for range askers {
			asked.Go(func() {
				for range 400 / askers {
					reply, err := w.nc.Request(servicePrefix+".prompt.start", []byte("{}"), 10*time.Second)
					if err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "bad_request" || reply.Header.Get(micro.ErrorHeader) == "" || len(reply.Data) != 0 {
						t.Errorf("%+v, %v", reply, err)
						return
					}
				}
			})
		}
		asked.Wait()
	}
}
