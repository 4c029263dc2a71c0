# What /proc tells of the processes of this PID namespace, for `debugrun.observe.scout` to read. POSIX sh, few forks.
# Arguments: the PIDs to look at; none: all. Environments are never printed. Of a shell's command line it is said whether
# the second word is -c; with a first argument -c the beginning of each is printed, for the reader to take secrets out.
# A line that begins with @ is ours: no line of what the kernel prints here does, and links are printed without.
cd /proc || exit 1
shown=
[ "$1" != -c ] || { shown=yes && shift; }

# The go of a client that listens. Without one: the client is gone, and so are we, unless this shell is dash, whose
# read has no time limit (it fails with 2) and ends with the client's connection only.
read -r -t 30 _ 2> /dev/null
case $? in
    0) ;;
    2) read -r _ || exit 0 ;;
    *) exit 0 ;;
esac
echo "@self $$"

# Not by `read`, which asks for one byte after the other: a sysctl answers the first time only.
echo @sysctls
[ -e sys/kernel/yama ] || [ ! -r sys/kernel/osrelease ] || echo "sys/kernel/yama/ptrace_scope:absent"
grep . /dev/null sys/kernel/yama/ptrace_scope sys/kernel/perf_event_paranoid sys/kernel/kptr_restrict \
    2> /dev/null
grep -o '\bproc_mem[.]force_override=[a-z]*' cmdline 2> /dev/null

[ $# -gt 0 ] || set -- [0-9]*
pids=$*

# Before all else that is told of a process: who takes its PID later must not be taken for it. The name of a process may
# hold anything, a newline too, so that it is the last line that counts, behind the last parenthesis.
echo @starts
set -f
for pid in $pids; do
    last=
    while read -r line; do
        last=$line
    done < "$pid/stat"
    # shellcheck disable=SC2086 # words without blanks
    set -- ${last##*) }
    echo "$pid ${20-}"
done 2> /dev/null
set +f

files() {
    for pid in $pids; do
        echo "$pid/$1"
    done
}

# The lists are words without blanks: to be split.
# shellcheck disable=SC2046
{
    echo @status
    cat $(files status)
    echo @owners
    stat -c '%n %u %g' $(files status)
    echo @cgroups
    grep . /dev/null $(files cgroup)
    echo @labels
    grep . /dev/null $(files attr/current)
} 2> /dev/null

# To follow this link is a ptrace access check: that it can be tells more than where it leads.
all=$pids pids=
for pid in $all; do
    [ ! -e "$pid/exe" ] || pids="$pids $pid"
done
echo @readable
echo "$pids"
echo @exes
# shellcheck disable=SC2046
[ -z "$pids" ] || stat -c %N $(files exe) 2> /dev/null | tr @ '?'

echo @shells
for pid in $all; do
    read -r comm < "$pid/comm" || continue
    case $comm in
        sh | ash | bash | busybox | dash | ksh | zsh)
            case $(head -c 256 "$pid/cmdline" | tr '\0' '\n' | sed -n 2p) in
                -c | -[a-z]c | -[a-z][a-z]c) echo "$pid" ;;
            esac
            ;;
    esac
done 2> /dev/null
# One line each: what a process calls itself may hold newlines, and what looks like a line of ours.
echo @commands
count=0
set -f
for pid in $all; do
    [ "$count" -lt 200 ] || break
    count=$((count + 1))
    read -r line < "$pid/stat" || continue
    # Behind the name, which may hold anything, fields 12 and 13 are utime and stime.
    # shellcheck disable=SC2086
    set -- ${line##*) }
    case ${12}${13} in
        '' | *[!0-9]*) ticks='?' ;;
        *) ticks=$((${12} + ${13})) ;;
    esac
    words=
    [ ! "$shown" ] || words=$(head -c 300 "$pid/cmdline" | tr '\0\n\r@' '   ?')
    echo "$pid $ticks $words"
done 2> /dev/null
echo @end
