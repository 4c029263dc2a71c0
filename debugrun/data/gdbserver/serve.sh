# Starts gdbserver with a view of the target's files where there is a Python: sh -c THIS sh PROGRAM gdbserver ARGS...
# Without one, the gdb at the other end gets none.
text=$1
shift
command -v python3 >/dev/null || exec "$@"
exec python3 -I -S -c "$text" "$@"
