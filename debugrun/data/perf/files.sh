# Show `perf report` and `perf script` the files that process PID runs, from another mount namespace:
#   sh -c TEXT sh PID perf report ARGS...
# Needs what recording needs (/proc/PID/root, /proc/PID/maps) and a writable /tmp; changes nothing else.
# perf runs realpath(3) over names, and readlink of /proc/PID/root says "/": it would read this container's
# own files. So names go through a directory that was opened and then removed: the kernel walks on from it,
# realpath(3) can't, and perf keeps the name as it is. The recording must carry no build-ids (record -B):
# perf reads those from this container's files too.
pid=$1
shift
gap=/tmp/.gap.$$
view=/tmp/perf-root.$$
mkdir "$gap" && exec 9<"$gap" && rmdir "$gap" || exit
proc=/proc/self/fd/9/../../proc/$pid
own=$proc/root
exe=$(readlink "/proc/$pid/exe")

# Paths begin at the root of its mount namespace: after a chroot(2) that stands above its own root.
jail=$(readlink "/proc/$pid/root")
root=$own rest=${jail%/}
while [ "$rest" != "${rest#/}" ]; do
    root=$root/.. rest=${rest%/*}
done

# perf looks for a compiler's map of generated code in its own /tmp. A pipe there would block it.
map=$own/tmp/perf-$pid.map
[ -f "$map" ] && [ ! -L "$map" ] && ln -sf "$map" /tmp/

# link PATH FILE: PATH in the view.
link() {
    [ -e "$view$1" ] || { mkdir -p "$view${1%/*}" && ln -s "$2" "$view$1"; }
}

# Debug files by build-id (perf has no build-ids here), a removed executable and a changed root need a tree of links.
if [ -d "$root/usr/lib/debug/.build-id" ] || [ "$exe" != "${exe% (deleted)}" ] || [ "$root" != "$own" ]; then
    sed -n 's|^[^ ]* ..x[^/]* \(/.*\)|\1|p' "/proc/$pid/maps" | sort -u | while IFS= read -r path; do
        file=$root$path
        [ "$path" = "$exe" ] && file=$proc/exe
        [ -f "$file" ] || continue
        folder=${path%/*}
        # A .debug of the tree is a link to the target's: nothing is to be made behind it.
        case $folder/ in */.debug/*) continue ;; esac
        link "$path" "$file"
        # What it mapped while it was recorded is named from its own root on.
        [ "$root" != "$own" ] && [ "$path" != "${path#"$jail"/}" ] && link "${path#"$jail"}" "$file"
        [ -d "$root$folder/.debug" ] && ln -sfn "$root$folder/.debug" "$view$folder/.debug"
        id=$(perf buildid-list -i "$file" 2>/dev/null)
        debug=$root/usr/lib/debug/.build-id/${id%"${id#??}"}/${id#??}.debug
        [ -n "$id" ] && [ -f "$debug" ] && link "/usr/lib/debug$path.debug" "$debug"
    done
else
    ln -s "$root" "$view"
fi
# Without addr2line (binutils) perf dies at the first inlined function.
command -v addr2line >/dev/null || set -- "$@" --no-inline
exec "$@" --symfs "$view"
