/* A shared library on the stack: serve -> work -> pump -> the step it is given. */
#include <time.h>

volatile unsigned long pumped;

__attribute__((noinline)) void pump(void (*step)(void)) {
    step();
    pumped++;
}
