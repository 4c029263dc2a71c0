"""Programs that crash in every way, made in a container with a compiler."""

from __future__ import annotations

# crasher HOW...: for each word a child that crashes so; prints how each ended. `alone`: this process itself crashes.
SOURCE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf after;
static volatile int zero;

static void handler(int number) { siglongjmp(after, number); }

__attribute__((noinline)) static void at_null(volatile int *nowhere) { *nowhere = 7; }
__attribute__((noinline)) static void gives_up(const char *why) { if (why) abort(); }
__attribute__((noinline)) static void divides(int by) { zero = 7 / by; }
__attribute__((noinline)) static void not_code(void) { __builtin_trap(); }
__attribute__((noinline)) static void behind_the_end(volatile char *page) { page[4096] = 1; }
__attribute__((noinline)) static void leaves(int status) { exit(status); }

static void *idle(void *unused) { for (;;) pause(); return unused; }
static void *doomed(void *unused) { usleep(1000); at_null(NULL); return unused; }

__attribute__((noinline)) static void crash(const char *how, const char *self) {
    pthread_t thread;
    if (!strcmp(how, "forged")) prctl(PR_SET_NAME, "\033[2Jroot");
    if (!strcmp(how, "segv") || !strcmp(how, "forged")) at_null(NULL);
    if (!strcmp(how, "abrt")) gives_up("tired");
    if (!strcmp(how, "fpe")) divides(zero);
    if (!strcmp(how, "ill")) not_code();
    if (!strcmp(how, "bus")) {
        FILE *file = tmpfile();
        ftruncate(fileno(file), 100);
        behind_the_end(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0));
    }
    if (!strcmp(how, "thread")) {
        for (int i = 0; i < 5; i++) pthread_create(&thread, NULL, idle, NULL);
        pthread_create(&thread, NULL, doomed, NULL);
        for (;;) pause();
    }
    if (!strcmp(how, "exec")) execl(self, self, "alone", "segv", NULL);
    if (!strcmp(how, "grandchild")) {
        int status;
        pid_t child = fork();
        if (!child) at_null(NULL);
        waitpid(child, &status, 0);
        kill(getpid(), WTERMSIG(status));
    }
    if (!strcmp(how, "handled") || !strcmp(how, "outlived")) {
        signal(SIGSEGV, handler);
        if (!sigsetjmp(after, 1)) at_null(NULL);
        if (!strcmp(how, "outlived")) sleep(10); /* what ends at once has no files to name its functions by */
        _exit(0);
    }
    if (!strcmp(how, "gain")) execl("/bin/sh", "sh", "-c", "/tmp/link", NULL);
    if (!strcmp(how, "exit")) leaves(3);
    if (!strcmp(how, "idle")) for (;;) pause();
    if (!strcmp(how, "busy")) for (;;) zero = 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2 && !strcmp(argv[1], "alone")) {
        crash(argv[2], argv[0]);
        return 0;
    }
    char line[256];
    printf("ready\n");
    for (;;) { /* each SIGUSR1 makes it go through its words once */
        sigset_t set;
        int number;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        sigwait(&set, &number);
        for (int i = 1; i < argc; i++) {
            int status;
            pid_t child = fork();
            if (!child) {
                sigprocmask(SIG_UNBLOCK, &set, NULL);
                crash(argv[i], argv[0]);
                _exit(0);
            }
            waitpid(child, &status, 0);
            printf("%s %d %d\n", argv[i], WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                   WIFEXITED(status) ? WEXITSTATUS(status) : 0);
        }
        printf("done\n");
    }
}
"""
FLAGS = "-g -O1 -fno-optimize-sibling-calls -pthread -w"
COMMAND = f"cat >/tmp/c.c <<'END'\n{SOURCE}\nEND\ngcc {FLAGS} -o /tmp/crasher /tmp/c.c\n"
# A program that only root may be, behind a link; it says what it is. By root, in a container that runs.
GAIN = """\
printf 'int geteuid(void); int main() { return geteuid() ? 1 : 42; }' >/tmp/gain.c
gcc -w -o /tmp/gain /tmp/gain.c && chmod 4755 /tmp/gain && ln -s /tmp/gain /tmp/link
"""
