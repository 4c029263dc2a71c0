/* PID 1 of several: starts each UID:PROGRAM that it is given and waits for them, for ever. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void start(char *word) {
    char *program = strchr(word, ':') + 1;
    uid_t uid = (uid_t)atoi(word);
    if (fork() != 0)
        return;
    if (uid != 0 && (setgid(uid) != 0 || setuid(uid) != 0))
        _exit(126);
    execl(program, program, (char *)NULL);
    _exit(127);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        start(argv[i]);
    for (;;)
        if (wait(NULL) < 0)
            pause();
}
