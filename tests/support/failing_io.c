/* A storage that fails: cc -shared -fPIC -o failing_io.so failing_io.c -ldl; LD_PRELOAD=failing_io.so FAILING_FOLDER=...

   Calls that change or read files under FAILING_FOLDER are counted, and the one numbered by fail_at(number, error, ever)
   fails with that errno: once, or it and all that follow. So Python, SQLite and every library meet it alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define DESCRIPTORS 65536
static atomic_int counted, chosen, code, for_good;
static atomic_char watched[DESCRIPTORS];

void fail_at(int number, int error, int ever) {
    counted = 0;
    code = error;
    for_good = ever;
    chosen = number;
}

int calls_so_far(void) { return counted; }

static int inside(const char *path) {
    const char *folder = getenv("FAILING_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int fails(void) {
    int number = atomic_fetch_add(&counted, 1) + 1;
    if (chosen && (number == chosen || (for_good && number > chosen))) {
        errno = code;
        return 1;
    }
    return 0;
}

static void watch(int descriptor, int yes) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        watched[descriptor] = yes;
}

static int is_watched(int descriptor) {
    return descriptor >= 0 && descriptor < DESCRIPTORS && watched[descriptor];
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                                                    \
        va_end(rest);                                                                                                  \
        if (inside(path) && fails())                                                                                   \
            return -1;                                                                                                 \
        int descriptor = NEXT(name)(path, flags, mode);                                                                \
        watch(descriptor, inside(path));                                                                               \
        return descriptor;                                                                                             \
    }
OPEN(open)
OPEN(open64)

int openat(int folder, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (inside(path) && fails())
        return -1;
    int descriptor = NEXT(openat)(folder, path, flags, mode);
    watch(descriptor, inside(path));
    return descriptor;
}

int close(int descriptor) {
    watch(descriptor, 0);
    return NEXT(close)(descriptor);
}

#define ON_DESCRIPTOR(type, name, parameters, arguments)                                                               \
    type name parameters {                                                                                             \
        if (is_watched(descriptor) && fails())                                                                         \
            return -1;                                                                                                 \
        return NEXT(name) arguments;                                                                                   \
    }
ON_DESCRIPTOR(ssize_t, write, (int descriptor, const void *data, size_t size), (descriptor, data, size))
ON_DESCRIPTOR(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(ssize_t, read, (int descriptor, void *data, size_t size), (descriptor, data, size))
ON_DESCRIPTOR(ssize_t, pread, (int descriptor, void *data, size_t size, off_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(ssize_t, pread64, (int descriptor, void *data, size_t size, off64_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(int, fsync, (int descriptor), (descriptor))
ON_DESCRIPTOR(int, fdatasync, (int descriptor), (descriptor))
ON_DESCRIPTOR(int, ftruncate, (int descriptor, off_t size), (descriptor, size))
ON_DESCRIPTOR(int, ftruncate64, (int descriptor, off64_t size), (descriptor, size))

#define ON_PATH(name, parameters, arguments)                                                                           \
    int name parameters {                                                                                              \
        if (inside(path) && fails())                                                                                   \
            return -1;                                                                                                 \
        return NEXT(name) arguments;                                                                                   \
    }
ON_PATH(rename, (const char *path, const char *to), (path, to))
ON_PATH(link, (const char *path, const char *to), (path, to))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, (const char *path), (path))
