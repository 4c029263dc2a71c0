/* A program to start: what `docker run` promises to one can be asked of it.
 *
 *   subject exit N          ends with N
 *   subject raise N         raises signal N
 *   subject stack           prints where its stack is
 *   subject args WORD...    prints its arguments, each in brackets
 *   subject env NAME...     prints variables, "-" for one that is not there
 *   subject lines           prints the rows and columns of its terminal
 *   subject serve           says "ready" and waits; ends with 5 after TERM, with 6 after INT, and says so */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t got;

static void note(int number) { got = number; }

static int serve(void) {
    signal(SIGTERM, note);
    signal(SIGINT, note);
    puts("ready");
    fflush(stdout);
    while (!got)
        usleep(20000);
    printf("got %d\n", (int)got);
    return got == SIGTERM ? 5 : 6;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int here = 0;
    if (strcmp(what, "exit") == 0)
        return atoi(argv[2]);
    if (strcmp(what, "raise") == 0)
        raise(atoi(argv[2]));
    if (strcmp(what, "stack") == 0)
        printf("stack %p\n", (void *)&here);
    if (strcmp(what, "args") == 0)
        for (int i = 2; i < argc; i++)
            printf("[%s]\n", argv[i]);
    if (strcmp(what, "env") == 0)
        for (int i = 2; i < argc; i++)
            printf("%s=%s\n", argv[i], getenv(argv[i]) ? getenv(argv[i]) : "-");
    if (strcmp(what, "lines") == 0) {
        struct winsize size = {0};
        ioctl(1, TIOCGWINSZ, &size);
        printf("%d x %d, terminal %d\n", size.ws_row, size.ws_col, isatty(0));
    }
    return strcmp(what, "serve") == 0 ? serve() : 0;
}
