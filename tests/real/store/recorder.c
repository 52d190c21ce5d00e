/* Preloaded into a writer: appends to $RECORD_LOG, in order, every write, truncation and sync of files whose path starts
 * with $RECORD_FILES, and every line written to standard output.
 * One record: kind (1 byte), path length (4), offset (8), size (8), all little-endian; then the path; then the data.
 * Kinds: W write, T truncate (size is the new one, no data), S sync, A acknowledgement. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef int (*truncate_fn)(int, off_t);
typedef int (*sync_fn)(int);

static ssize_t real_write(int fd, const void *data, size_t size) {
    static write_fn next;
    if (!next) next = (write_fn)dlsym(RTLD_NEXT, "write");
    return next(fd, data, size);
}

static void record(char kind, const char *path, int64_t offset, const void *data, int64_t size) {
    static int log = -1;
    char header[21];
    int32_t length = (int32_t)strlen(path);
    if (log < 0) log = open(getenv("RECORD_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    header[0] = kind;
    memcpy(header + 1, &length, 4);
    memcpy(header + 5, &offset, 8);
    memcpy(header + 13, &size, 8);
    if (real_write(log, header, sizeof header) != sizeof header || real_write(log, path, length) != length ||
        (data && real_write(log, data, size) != size))
        abort();
}

static const char *recorded_path(int fd) {
    static char path[4096];
    char link[64];
    const char *wanted = getenv("RECORD_FILES");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || !wanted) return NULL;
    path[length] = 0;
    return strncmp(path, wanted, strlen(wanted)) ? NULL : path;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (fd == 1) {
        record('A', "", 0, data, size);
        return size;
    }
    const char *path = recorded_path(fd);
    off_t offset = path ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t written = real_write(fd, data, size);
    if (path && written > 0) record('W', path, offset, data, written);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    static pwrite_fn next;
    if (!next) next = (pwrite_fn)dlsym(RTLD_NEXT, "pwrite");
    ssize_t written = next(fd, data, size, offset);
    const char *path = recorded_path(fd);
    if (path && written > 0) record('W', path, offset, data, written);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }

int ftruncate(int fd, off_t size) {
    static truncate_fn next;
    if (!next) next = (truncate_fn)dlsym(RTLD_NEXT, "ftruncate");
    const char *path = recorded_path(fd);
    if (path) record('T', path, 0, NULL, size);
    return next(fd, size);
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int synced(int fd, const char *name) {
    int result = ((sync_fn)dlsym(RTLD_NEXT, name))(fd);
    const char *path = recorded_path(fd);
    if (path && result == 0) record('S', path, 0, NULL, 0);
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }

int fdatasync(int fd) { return synced(fd, "fdatasync"); }
