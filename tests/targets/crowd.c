/* A supervisor that tells what becomes of its worker, and that worker: not PID 1, which the kernel spares most signals.
 *
 *   crowd THREADS [busy|vfork|calls] [catches]
 *
 * The threads sleep; busy: the first two burn time; vfork: the main one waits in vfork(2), state D; calls: it calls
 * work() every millisecond. catches: the worker takes each signal that can be caught, and says so. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int busy;
volatile unsigned long ticks;

static void rest(long nanoseconds) {
    struct timespec left = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

static void *sit(void *number) {
    while (busy && (long)number < 2)
        ticks++;
    for (;;)
        rest(3600000000000);
    return NULL;
}

__attribute__((noinline)) void work(void) {
    ticks++;
}

static void tell(int number) {
    char line[] = "saw 00\n";
    line[4] += number / 10;
    line[5] += number % 10;
    if (write(1, line, 7) != 7)
        _exit(1);
}

static void worker(long threads, int argc, char **argv) {
    pthread_attr_t small;
    int waits = 0, calls = 0;
    for (int i = 0; i < argc; i++) {
        busy |= strcmp(argv[i], "busy") == 0;
        waits |= strcmp(argv[i], "vfork") == 0;
        calls |= strcmp(argv[i], "calls") == 0;
        if (strcmp(argv[i], "catches") == 0) {
            struct sigaction action = {.sa_handler = tell, .sa_flags = SA_RESTART};
            for (int number = 1; number < 32; number++)
                if (number != SIGSEGV && number != SIGBUS && number != SIGILL && number != SIGFPE)
                    sigaction(number, &action, NULL);
        }
    }
    if (busy && nice(19) == -1)
        _exit(1);
    prctl(PR_SET_NAME, "worker");
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (long number = 1; number < threads; number++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, sit, (void *)number) != 0)
            _exit(1);
    }
    if (write(1, "ready\n", 6) != 6)
        _exit(1);
    if (waits && vfork() == 0)
        for (;;)
            pause();
    while (calls) {
        work();
        rest(1000000);
    }
    sit((void *)0);
}

int main(int argc, char **argv) {
    int status;
    pid_t child = fork();
    if (child == 0)
        worker(atol(argv[1]), argc - 2, argv + 2);
    while (waitpid(child, &status, WUNTRACED | WCONTINUED) == child) {
        if (WIFSTOPPED(status))
            printf("stopped %d\n", WSTOPSIG(status));
        else if (WIFCONTINUED(status))
            printf("continued\n");
        else
            printf("died %d\n", status);
        fflush(stdout);
        if (WIFEXITED(status) || WIFSIGNALED(status))
            break;
    }
    for (;;)
        pause();
}
