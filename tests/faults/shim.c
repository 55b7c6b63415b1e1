/* Faults for a program that knows nothing of them: preloaded into wick (LD_PRELOAD), this file
 * stands between it and the C library, counts the calls that write, and lets one of them be the
 * last thing that the process does, or fail.
 *
 * What it is to do stands in the environment, once and for all:
 *
 *   FAULT_CONTROL  a file of `struct control`, shared by all processes and the test
 *   FAULT_ROLES    which processes: words among the first argument of wick, e.g. ",run,worker,"
 *   FAULT_CALLS    which calls: ",fsync,fdatasync,"; empty for all that write
 *   FAULT_UNDER    the paths that count begin with this
 *   FAULT_PATH     and hold this
 *   FAULT_ACTION   "count", "kill" (before the call), "stop" (before the call, until SIGCONT),
 *                  "fail" (instead of the call) or "fail-after" (the call is done, and an error
 *                  is returned all the same)
 *   FAULT_ERRNO    the error that a failing call gives
 *   FAULT_TRACE    a file that gets a line for every call that counts: its number, its name, its
 *                  path; of a rename the new one, an arrow, the old one
 *   FAULT_HASTE    if set, sleeping takes no time
 *
 * What may change while the program runs stands in the control block: see below.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int64_t calls; /* how many calls counted so far */
    _Atomic int64_t first; /* the first call that something happens to; 1 is the very first */
    _Atomic int64_t times; /* to how many calls from there on; 0 for all */
    _Atomic int64_t hits;  /* how often it happened */
    _Atomic int64_t clock; /* seconds by which the wall clock is ahead */
};

enum action { COUNT, KILL, STOP, FAIL, FAIL_AFTER };

static struct control *control;
static int active;
static enum action action;
static int error_number = EIO;
static const char *calls = "", *under = "", *part = "";
static int trace = -1;
static int haste;

/* The C library's own function. */
#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static const char *text(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

/* Whether `list`, ",one,two,", holds `word`. */
static int holds(const char *list, const char *word)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, ",%s,", word);
    return strstr(list, quoted) != NULL;
}

__attribute__((constructor)) static void begin(void)
{
    char line[4096];
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(file, line, sizeof line - 1);
    close(file);
    if (length <= 0)
        return;
    line[length] = 0;
    const char *role = line + strlen(line) + 1;
    if (role >= line + length || !holds(text("FAULT_ROLES"), role))
        return;
    file = open(text("FAULT_CONTROL"), O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (control == MAP_FAILED)
        return;
    calls = text("FAULT_CALLS");
    under = text("FAULT_UNDER");
    part = text("FAULT_PATH");
    const char *wanted = text("FAULT_ACTION");
    action = !strcmp(wanted, "kill") ? KILL
             : !strcmp(wanted, "stop") ? STOP
             : !strcmp(wanted, "fail") ? FAIL
             : !strcmp(wanted, "fail-after") ? FAIL_AFTER
                                             : COUNT;
    if (*text("FAULT_ERRNO"))
        error_number = atoi(text("FAULT_ERRNO"));
    if (*text("FAULT_TRACE"))
        trace = open(text("FAULT_TRACE"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    haste = *text("FAULT_HASTE") != 0;
    active = 1;
}

/* Counts a call. What happens to it: COUNT for nothing. */
static enum action happens(const char *call, const char *path)
{
    if (!active || (*calls && !holds(calls, call)))
        return COUNT;
    if (strncmp(path, under, strlen(under)) || !strstr(path, part))
        return COUNT;
    int64_t number = atomic_fetch_add(&control->calls, 1) + 1;
    int64_t first = atomic_load(&control->first), times = atomic_load(&control->times);
    int hit = action != COUNT && first > 0 && number >= first && (!times || number < first + times);
    if (trace >= 0) {
        char line[4608];
        int length = snprintf(line, sizeof line, "%lld %s %s%s\n", (long long)number, call, path,
                              hit ? " !" : "");
        syscall(SYS_write, trace, line, (size_t)length);
    }
    if (!hit)
        return COUNT;
    atomic_fetch_add(&control->hits, 1);
    if (action == KILL) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;)
            pause();
    }
    if (action == STOP) {
        syscall(SYS_kill, getpid(), SIGSTOP);
        return COUNT;
    }
    return action;
}

static enum action happens_to_file(const char *call, int file)
{
    if (!active)
        return COUNT;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return COUNT;
    path[length] = 0;
    return happens(call, path);
}

static enum action happens_to_path(const char *call, int folder, const char *path)
{
    if (!active)
        return COUNT;
    if (*path == '/')
        return happens(call, path);
    char link[64], whole[8192];
    if (folder == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, whole, 4095);
    if (length < 0)
        return COUNT;
    snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
    return happens(call, whole);
}

/* Does the call, unless it is to fail; says that it failed, if it is to. */
#define WITH(what, call)                                                                          \
    enum action doing = (what);                                                                   \
    if (doing == FAIL) {                                                                          \
        errno = error_number;                                                                     \
        return -1;                                                                                \
    }                                                                                             \
    __typeof__(call) done = (call);                                                               \
    if (doing == FAIL_AFTER) {                                                                    \
        errno = error_number;                                                                     \
        return -1;                                                                                \
    }                                                                                             \
    return done

ssize_t write(int file, const void *bytes, size_t count)
{
    WITH(happens_to_file("write", file), REAL(write)(file, bytes, count));
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    WITH(happens_to_file("write", file), REAL(writev)(file, parts, count));
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at)
{
    WITH(happens_to_file("write", file), REAL(pwrite64)(file, bytes, count, at));
}

int ftruncate64(int file, off64_t length)
{
    WITH(happens_to_file("truncate", file), REAL(ftruncate64)(file, length));
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *into, size_t count, unsigned flags)
{
    WITH(happens_to_file("write", to), REAL(copy_file_range)(from, at, to, into, count, flags));
}

int fsync(int file)
{
    WITH(happens_to_file("sync", file), REAL(fsync)(file));
}

int fdatasync(int file)
{
    WITH(happens_to_file("sync", file), REAL(fdatasync)(file));
}

int rename(const char *from, const char *to)
{
    char both[8192];
    snprintf(both, sizeof both, "%s <- %s", to, from);
    WITH(happens_to_path("rename", AT_FDCWD, both), REAL(rename)(from, to));
}

int mkdir(const char *path, mode_t mode)
{
    WITH(happens_to_path("mkdir", AT_FDCWD, path), REAL(mkdir)(path, mode));
}

int rmdir(const char *path)
{
    WITH(happens_to_path("remove", AT_FDCWD, path), REAL(rmdir)(path));
}

int unlink(const char *path)
{
    WITH(happens_to_path("remove", AT_FDCWD, path), REAL(unlink)(path));
}

int unlinkat(int folder, const char *path, int flags)
{
    WITH(happens_to_path("remove", folder, path), REAL(unlinkat)(folder, path, flags));
}

int symlink(const char *target, const char *path)
{
    WITH(happens_to_path("link", AT_FDCWD, path), REAL(symlink)(target, path));
}

int linkat(int folder, const char *from, int other, const char *path, int flags)
{
    WITH(happens_to_path("link", other, path), REAL(linkat)(folder, from, other, path, flags));
}

int chmod(const char *path, mode_t mode)
{
    WITH(happens_to_path("chmod", AT_FDCWD, path), REAL(chmod)(path, mode));
}

int fchmod(int file, mode_t mode)
{
    WITH(happens_to_file("chmod", file), REAL(fchmod)(file, mode));
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int done = (int)syscall(SYS_clock_gettime, clock, time);
    if (done == 0 && active && clock == CLOCK_REALTIME)
        time->tv_sec += atomic_load(&control->clock);
    return done;
}

int usleep(useconds_t time)
{
    return active && haste ? 0 : REAL(usleep)(time);
}

int nanosleep(const struct timespec *time, struct timespec *rest)
{
    return active && haste ? 0 : REAL(nanosleep)(time, rest);
}
