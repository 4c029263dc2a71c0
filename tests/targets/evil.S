/* .debug_gdb_scripts (gdb manual, "The .debug_gdb_scripts section"): a Python text and a gdb text inline, a file's name. */
    .section .debug_gdb_scripts, "MS", @progbits, 1
    .byte 4
    .ascii "inline-python\n"
    .asciz "print('TAKEN OVER by .debug_gdb_scripts')\n"
    .byte 6
    .ascii "inline-gdb\n"
    .asciz "echo TAKEN OVER by .debug_gdb_scripts\\n\n"
    .byte 1
    .asciz "/opt/app/worker-gdb.py"
    .section .note.GNU-stack, "", @progbits
