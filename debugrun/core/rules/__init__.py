"""What the rules say: the kernel, its security modules, seccomp, other sandboxes."""
