// Counts requests by goroutines that contend for locks: each answer is the next number.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
)

var (
	rounds sync.RWMutex
	total  uint64
	moved  = make(chan uint64)
)

// Gives out the numbers, from a goroutine of its own.
func number() {
	for next := uint64(1); ; next++ {
		moved <- next
	}
}

func next(writer http.ResponseWriter, _ *http.Request) {
	for i := 0; i < 50; i++ {
		rounds.Lock()
		total++
		rounds.Unlock()
		runtime.Gosched()
	}
	fmt.Fprintf(writer, "%d\n", <-moved)
}

func main() {
	go number()
	listener, err := net.Listen("tcp4", "0.0.0.0:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	panic(http.Serve(listener, http.HandlerFunc(next)))
}
