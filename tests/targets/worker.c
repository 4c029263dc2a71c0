/* A program to look at. Each thread goes through serve -> work; the main one prints a tick every 100 ms.
 *
 *   worker [undumpable] [busy] [lone]      busy: burn a few ms for each tick, for profilers; lone: one thread
 *
 * Built with -DPUMP the innermost call goes through pump() of a shared library, which is then on every stack.
 * Built with -DOWN_SYSCALL no function of libc is innermost: musl's have no unwind tables, and its stacks would end
 * there. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

volatile unsigned long ticks;
static int busy;

#ifdef PUMP
void pump(void (*step)(void));
#else
#define pump(step) step()
#endif

static void pause_100_ms(void) {
    for (volatile int i = 0; busy && i < 2000000; i++)
        ;
    struct timespec tenth = {0, 100000000};
    nanosleep(&tenth, NULL);
}

__attribute__((noinline)) unsigned long work(unsigned long step) {
    pump(pause_100_ms);
    return step + 1;
}

__attribute__((noinline)) void serve(const char *name) {
    unsigned long step = 0;
    for (;;) {
        step = work(step);
        if (name == NULL) {
            ticks = step;
            printf("tick %lu\n", step);
            fflush(stdout);
        }
    }
}

static void *run(void *name) {
    pthread_setname_np(pthread_self(), name);
    serve(name);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t alpha, beta;
    int lone = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "undumpable") == 0)
            prctl(PR_SET_DUMPABLE, 0);
        busy |= strcmp(argv[i], "busy") == 0;
        lone |= strcmp(argv[i], "lone") == 0;
    }
    if (lone)
        serve(NULL);
    if (pthread_create(&alpha, NULL, run, "alpha") != 0 || pthread_create(&beta, NULL, run, "beta") != 0)
        return 1;
    serve(NULL);
}
