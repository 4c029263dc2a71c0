# Attaches delve so that it can be made to let go: sh -c THIS DLV PID [ARGUMENTS OF THE CLIENT]
# A dlv that ends at a signal leaves its breakpoints in the target, which kills that; so does the end of its input at
# its question whether to kill the process (measured with dlv 1.24). Its server takes them out and detaches, at SIGINT
# and when its client goes. It is in a session of its own, so that Ctrl-C reaches the client only.
pid=$1
shift
socket=/tmp/debugrun-delve.$$ stopped='' client=''
exec 3<&0
setsid "$0" attach "$pid" --headless --listen="unix:$socket" </dev/null >/dev/null 3<&- &
server=$!
trap 'stopped=yes; kill -INT "$server"' TERM HUP
trap : INT
while [ ! -S "$socket" ] && kill -0 "$server" 2>/dev/null; do
    sleep 0.05
done
if [ -S "$socket" ]; then
    "$0" connect "unix:$socket" --allow-non-terminal-interactive=true "$@" <&3 &
    client=$!
fi
exec 3<&-
while
    wait "$server"
    status=$?
    kill -0 "$server" 2>/dev/null
do :; done
if [ "$client" ]; then
    [ ! "$stopped" ] || kill "$client" 2>/dev/null
    while
        wait "$client"
        status=$?
        kill -0 "$client" 2>/dev/null
    do :; done
fi
rm -f "$socket"
exit "$status"
