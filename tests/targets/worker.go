// A Go program that works for ever in small steps, for debuggers. With the argument "undumpable" it makes itself so.
package main

import (
	"os"
	"syscall"
	"time"
)

var ticks int

//go:noinline
func pause() { time.Sleep(100 * time.Millisecond) }

//go:noinline
func work(step int) int {
	pause()
	ticks++
	return step + 1
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "undumpable" {
		syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0)
	}
	println("tick")
	for step := 0; ; step = work(step) {
	}
}
