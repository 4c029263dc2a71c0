# Holds a debug tool on a lease: sh -c THIS lease STOP PATIENCE SILENCE WRITES [MARK TOOL...]
# When the client goes (end of input), sleeps (no line for SILENCE seconds; a shell whose read has no -t notices the
# end of input only) or the container is stopped (TERM), the tool gets the signal STOP and the script ends after it.
# STOP may be several, a second apart.
# STOP is CONT for a tool that ends at the end of its own input, but looks at that only when its target does something
# (gdbserver): the targets get it then, and for a process that runs it means nothing.
# A tool that has not ended PATIENCE seconds later is killed; one that WRITES (not empty) breakpoints not while it traces
# anything, since they would stay in the target's memory and kill that.
# The input's lines: "" (still here), "tool PID START" (starttime of proc_pid_stat(5): a PID may be used again), and
# "int", "hup", "stop" (signals for the tool). It never forks where it can do without: in a PID namespace that belongs
# to the target, an orphan would become a zombie of the target's PID 1.
# With a TOOL it starts that itself, without input, below `tini -s -g`, and in busybox: what it has to say then comes on
# standard error, each line after MARK; the tool's exit status on both streams, last.
set -f
stop=$1 patience=$2 silence=$3 writes=$4 mark=${5-} tool='' start=''
[ "$mark" ] && shift 5

alive() {
    [ "$tool" ] && { read -r stat <"/proc/$tool/stat"; } 2>/dev/null || return 1
    set -- ${stat##*) }
    [ "${20}" = "$start" ] && [ "$1" != Z ] && [ "$1" != X ]
}

send() {
    alive && kill -"$1" "$tool" 2>/dev/null
}

release() {
    if [ "$stop" != CONT ]; then
        later=
        for signal in $stop; do
            [ "$later" ] && pause
            later=1
            send "$signal" || return
            send CONT
        done
        return
    fi
    set +f
    for status in /proc/[0-9]*/status; do
        while read -r key value _; do
            [ "$key" = TracerPid: ] && break
        done <"$status"
        process=${status#/proc/}
        [ "$value" = "$tool" ] && kill -CONT "${process%/status}"
    done 2>/dev/null
    set -f
}

# Whether the tool, or a child of it (lldb's server), traces a thread of this PID namespace; yes where that is hidden.
tracing() {
    read -r _ </proc/1/status || return 0
    set +f
    for status in /proc/[0-9]*/task/[0-9]*/status; do
        tracer=0 parent=0
        while read -r key value _; do
            [ "$key" = TracerPid: ] && tracer=$value && break
        done <"$status"
        [ "$tracer" = 0 ] && continue
        while read -r key value _; do
            [ "$key" = PPid: ] && parent=$value && break
        done <"/proc/$tracer/status"
        [ "$tracer" = "$tool" ] || [ "$parent" = "$tool" ] && break
    done 2>/dev/null
    set -f
    [ "$tracer" = "$tool" ] || [ "$parent" = "$tool" ]
}

pause() {
    if [ "$limit" ]; then
        read -r -t 1 _ <&3
    else
        sleep 1
    fi
}

end() {
    trap '' TERM HUP
    echo "$mark$1"
    # One that waits for its go ends with the client too. Killed with the container, its shells would be the target's.
    [ "$tool" ] || pause
    waited=0
    while alive; do
        [ $((waited % 5)) -eq 0 ] && release
        waited=$((waited + 1))
        if [ "$waited" -gt "$patience" ] && { [ ! "$writes" ] || ! tracing; }; then
            send KILL
            exit 1
        fi
        pause
    done
    # Its parent is the reaper, below tini: what the tool orphaned must be taken in before we, and they, go.
    waited=0
    while [ "${reaper:-0}" -gt 1 ] && [ $waited -lt 3 ] && kill -0 "$reaper" 2>/dev/null; do
        waited=$((waited + 1))
        pause
    done
    exit 0
}

hold() {
    trap 'end stopped' TERM HUP
    # Not for us: gdbserver interrupts PID 1 by kill(-1, SIGINT), which is everybody in the target's PID namespace.
    trap '' INT
    [ "$mark" ] && read -r tool start <&3
    while read -r $limit line; do
        case $line in
        tool\ *)
            line=${line#tool }
            tool=${line% *} start=${line#* } reaper=0
            {
                read -r stat <"/proc/$tool/stat" && set -- ${stat##*) } && parent=$2 &&
                    read -r stat <"/proc/$parent/stat" && set -- ${stat##*) } &&
                    read -r name <"/proc/$2/comm" && [ "$name" = tini ] && reaper=$parent
            } 2>/dev/null
            ;;
        int) send INT ;;
        hup) send HUP ;;
        stop) release ;;
        esac
    done
    end gone
}

# Says who it is, and becomes the tool: in a session of its own, since tini passes a signal on to all of ours.
become() {
    read -r stat </proc/self/stat
    whose=${stat%% *}
    set -- ${stat##*) }
    echo "$whose ${20}" >&3
}

if [ "$mark" ]; then
    # Where nothing is to be read, a read with a time limit is a sleep without a process: the pipe of a here-document,
    # opened for writing too, so that it never ends.
    exec 3<<-END
	END
    exec 3<>/proc/self/fd/3 4<&0 9>&2 2>/dev/null
    limit="-t $silence"
    trap '' INT QUIT HUP TERM # until the lease has traps of its own
    hold <&4 >&9 &
    lease=$!
    trap : INT QUIT HUP TERM # which the tool does not inherit
    (become && exec setsid "$@" </dev/null 2>&9 3>&- 4>&- 9>&-)
    status=$?
    kill -KILL "$lease"
    wait "$lease"
    # tini takes in what the tool orphaned; it must not outlive us, or it would be the target's.
    tries=0 children=''
    while [ $tries -lt 20000 ]; do
        children=
        read -r children <"/proc/$PPID/task/$PPID/children"
        [ "${children:-$$}" = $$ ] && break
        tries=$((tries + 1))
    done
    echo "$mark$status"
    echo "$mark$status" >&9
    exit $status
fi

# The pipe of our errors, opened for reading too: nothing is written there, so that a read of it with a time limit is
# a sleep without a process. Dash has no time limit (its read fails with 2, the others' with 1 at the end of input).
limit=
if [ -p /proc/self/fd/2 ] && [ -r /proc/self/fd/2 ]; then
    read -r -t 1 _ </dev/null 2>/dev/null
    [ $? -eq 1 ] && exec 3<>/proc/self/fd/2 && limit="-t $silence"
fi
echo ready

hold
