/* Loaded by a debugger that trusts the target: says so and does what any code could do. */
#include <stdio.h>

__attribute__((constructor)) static void take_over(void) {
    puts("TAKEN OVER by libthread_db");
    fflush(stdout);
}
