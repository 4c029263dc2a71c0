/* Makes system calls with arguments that can do nothing, and says for each what came of it.
 *
 *   prober in-container ABI:FIRST-LAST... ABI:NUMBER:ARG0[,ARG1[,ARG2]]...
 *
 * Every argument is -1 (an impossible pointer, descriptor, length, signal and flag set) but those that are given, in
 * hexadecimal. ABI is x86_64, x86 (int 0x80) or x32. One line for each call: ABI NUMBER ARG0,ARG1,ARG2 RESULT, where
 * RESULT is trap (the filter raised SIGSYS), a return value, died:SIGNAL, exited or hung. Each call is made in a child
 * of its own.
 *
 * It refuses to run without "in-container": some of these calls must not be tried on a machine that matters.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { X32_BIT = 0x40000000, PATIENCE_MS = 60 };
enum state { STARTED, RETURNED, TRAPPED };

struct report {
    volatile enum state state;
    volatile long value;
};

static struct report *report;

static void trapped(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    report->state = TRAPPED;
    _exit(0);
}

static inline long call64(long number, const long *args)
{
    long result;
    register long r10 __asm__("r10") = -1, r8 __asm__("r8") = -1, r9 __asm__("r9") = -1;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long call32(long number, const long *args)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(args[0]), "c"(args[1]), "d"(args[2]), "S"(-1L), "D"(-1L)
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)result;
}

static void child(const char *abi, long number, const long *args)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    static const long none[3] = {0, 0, 0};
    long self = call64(SYS_getpid, none);
    long result = strcmp(abi, "x86") ? call64(number, args) : call32(number, args);
    if (call64(SYS_getpid, none) != self)
        call64(SYS_exit_group, none); /* the child of fork, vfork or clone */
    report->value = result;
    report->state = RETURNED;
    call64(SYS_exit_group, none);
}

/* Whether a process sleeps: on a busy machine it may only wait for a processor. */
static int sleeps(pid_t pid)
{
    char path[32], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 1;
    char *state = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
    fclose(file);
    return state && state[2] == 'S';
}

/* The child's wait status, or -1 after killing it because it would not end. SIGCHLD is blocked. */
static int reap(pid_t pid)
{
    struct timespec patience = {0, PATIENCE_MS * 1000 * 1000};
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    int status;
    for (int waited = 0; waited < 100; waited++) {
        int timely = sigtimedwait(&ended, NULL, &patience) > 0;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        if (!timely && sleeps(pid))
            break;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

static void probe(const char *abi, long number, const long *args)
{
    report->state = STARTED;
    pid_t pid = fork();
    if (pid == 0)
        child(abi, strcmp(abi, "x32") ? number : number | X32_BIT, args);
    int status = reap(pid);
    printf("%s %ld %lx,%lx,%lx ", abi, number, args[0], args[1], args[2]);
    if (report->state == TRAPPED)
        puts("trap");
    else if (report->state == RETURNED)
        printf("%ld\n", report->value);
    else if (status == -1)
        puts("hung");
    else if (WIFSIGNALED(status))
        printf("died:%d\n", WTERMSIG(status));
    else
        puts("exited");
}

int main(int count, char **words)
{
    if (count < 2 || strcmp(words[1], "in-container")) {
        fputs("prober: runs in a container that is there for it only\n", stderr);
        return 2;
    }
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    static char buffer[1 << 20];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    for (int at = 2; at < count; at++) {
        char *abi = strtok(words[at], ":"), *numbers = strtok(NULL, ":"), *end, *word;
        long args[3] = {-1, -1, -1};
        for (int index = 0; index < 3 && (word = strtok(NULL, index ? "," : ":,")); index++)
            args[index] = (long)strtoull(word, NULL, 16);
        long first = strtol(numbers, &end, 10), last = *end == '-' ? strtol(end + 1, NULL, 10) : first;
        for (long number = first; number <= last; number++) {
            fflush(stdout);
            probe(abi, number, args);
        }
    }
    return 0;
}
