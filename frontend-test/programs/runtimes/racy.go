// The server of racy.c for Go: answers depend on how its goroutines interleave.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
)

const rounds = 300

var (
	lock    sync.Mutex
	counter uint64
	plain   uint64
)

func add() uint64 {
	lock.Lock()
	defer lock.Unlock()
	counter++
	return counter
}

func serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		first := add()
		last := first
		for round := 1; round < rounds; round++ {
			// A race on purpose: an addition of another goroutine may be lost.
			before := plain
			runtime.Gosched()
			plain = before + 1
			last = add()
		}
		name := strings.TrimSuffix(line, "\n")
		fmt.Fprintf(conn, "%s moved %d to %d\n", name, last-first, last+plain)
	}
}

func main() {
	listener, err := net.Listen("tcp4", "0.0.0.0:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn)
	}
}
