"""A program that is refused what it asks for, by every layer, made in a container with a compiler."""

from __future__ import annotations

# refused: at each SIGUSR1 it makes each call once, by name.
SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <grp.h>

#define ASK(name, call) __attribute__((noinline)) static void ask_##name(void) { long r = (call); \
    printf("%s %d\n", #name, r < 0 ? errno : 0); }

static struct timespec now;
static struct rlimit more = {1 << 24, 1 << 24};
ASK(keyctl, syscall(SYS_keyctl, 0, -3, 0))
ASK(add_key, syscall(SYS_add_key, "user", "a", "b", 1, -2))
ASK(bpf, syscall(SYS_bpf, 0, 0, 0))
ASK(mount, mount("none", "/tmp", "tmpfs", 0, ""))
ASK(umount, umount2("/proc", 0))
ASK(pivot_root, syscall(SYS_pivot_root, "/", "/"))
ASK(unshare, unshare(CLONE_NEWNET))
ASK(setns, setns(0, 0))
ASK(swapon, syscall(SYS_swapon, "/etc/passwd", 0))
ASK(reboot, syscall(SYS_reboot, 0, 0, 0, 0))
ASK(kexec, syscall(SYS_kexec_load, 0, 0, 0, 0))
ASK(init_module, syscall(SYS_init_module, 0, 0, ""))
ASK(delete_module, syscall(SYS_delete_module, "a", 0))
ASK(iopl, syscall(SYS_iopl, 3))
ASK(acct, syscall(SYS_acct, 0))
ASK(settime, syscall(SYS_clock_settime, 0, &now))
ASK(perf, syscall(SYS_perf_event_open, 0, 0, 0, 0, 0))
ASK(handle, syscall(SYS_open_by_handle_at, 0, 0, 0))
ASK(userfault, syscall(SYS_userfaultfd, 0))
ASK(hostname, sethostname("a", 1))
ASK(chroot, chroot("/"))
ASK(setuid, geteuid() ? setuid(12345) : 0)
ASK(setgid, geteuid() ? setgid(12345) : 0)
ASK(setgroups, setgroups(0, 0))
ASK(nice, setpriority(PRIO_PROCESS, 0, -19))
ASK(raw, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
ASK(packet, socket(AF_PACKET, SOCK_RAW, 0))
ASK(limit, setrlimit(RLIMIT_NPROC, &more))
ASK(mknod, mknod("/tmp/device", S_IFCHR | 0600, 0x103))
ASK(chown, chown("/tmp/own", 12345, 12345))
ASK(chown_other, chown("/etc/passwd", 1000, 1000))
ASK(chmod_other, chmod("/etc/passwd", 0666))
ASK(shadow, open("/tmp/closed/file", O_RDONLY))
ASK(secret, open("/tmp/secret", O_RDONLY))
ASK(passwd, open("/etc/passwd", O_RDWR))
ASK(create, open("/etc/new", O_RDWR | O_CREAT, 0600))
ASK(link, open("/tmp/to-secret", O_RDONLY))
ASK(unlink, unlink("/etc/passwd"))
ASK(mkdir, mkdir("/usr/new", 0755))
ASK(execve, execl("/etc/passwd", "passwd", NULL))
ASK(access, access("/tmp/secret", R_OK))
ASK(chdir, chdir("/tmp/closed"))
ASK(group, open("/tmp/group", O_RDONLY))
ASK(fine, open("/etc/passwd", O_RDONLY))
ASK(missing, open("/etc/nothing", O_RDONLY))

int main(void) {
    sigset_t set;
    int number;
    setvbuf(stdout, NULL, _IOLBF, 0);
    close(open("/tmp/own", O_CREAT | O_WRONLY, 0600));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    prctl(PR_SET_DUMPABLE, 1);
    printf("ready\n");
    for (;;) {
        sigwait(&set, &number);
        ask_keyctl(); ask_add_key(); ask_bpf(); ask_mount(); ask_umount(); ask_pivot_root(); ask_unshare();
        ask_setns(); ask_swapon(); ask_kexec(); ask_init_module(); ask_delete_module(); ask_iopl(); ask_acct();
        ask_settime(); ask_perf(); ask_handle(); ask_userfault(); ask_hostname(); ask_chroot(); ask_setuid();
        ask_setgid(); ask_setgroups(); ask_nice(); ask_raw(); ask_packet(); ask_limit(); ask_mknod(); ask_chown();
        ask_chown_other(); ask_chmod_other(); ask_shadow(); ask_secret(); ask_passwd(); ask_create(); ask_link();
        ask_unlink(); ask_mkdir(); ask_execve(); ask_access(); ask_chdir(); ask_group(); ask_fine(); ask_missing();
        ask_reboot();
        printf("done\n");
    }
}
"""
# By root, in a container that runs.
PREPARE = """\
mkdir -p /tmp/closed && echo a >/tmp/closed/file && chmod 700 /tmp/closed
echo a >/tmp/secret && chmod 600 /tmp/secret && ln -s secret /tmp/to-secret
echo a >/tmp/group && chown 0:4242 /tmp/group && chmod 640 /tmp/group
"""
COMMAND = f"cat >/tmp/r.c <<'END'\n{SOURCE}\nEND\ngcc -g -O1 -fno-optimize-sibling-calls -w -o /tmp/refused /tmp/r.c\n"
