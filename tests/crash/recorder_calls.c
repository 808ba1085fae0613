/* The calls that the recorder stands before: each is carried out, logged and perhaps disturbed under the lock; see recorder.c. */
#include "recorder.h"

/* --- names */

static int absolute(int folder, const char *path, char *out) {
    if (*path == '/') return snprintf(out, PATH_BYTES, "%s", path) < PATH_BYTES;
    char link[64], start[PATH_BYTES];
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t size = readlink(link, start, sizeof start - 1);
    if (size < 0) return 0;
    start[size] = 0;
    return snprintf(out, PATH_BYTES, "%s/%s", start, path) < PATH_BYTES;
}

/* The part of a path below the root ("" is the root itself), or NULL. */
static const char *inside(int folder, const char *path, char *out) {
    int kept = errno;
    int known = state.on && absolute(folder, path, out);
    errno = kept;
    if (!known || strncmp(out, state.root, state.root_bytes)) return NULL;
    char *rest = out + state.root_bytes;
    if (*rest && *rest != '/') return NULL;
    while (*rest == '/') rest++;
    for (size_t n = strlen(rest); n && rest[n - 1] == '/'; n--) rest[n - 1] = 0;
    return rest;
}

static int ours(int fd) { return state.on && fd >= 0 && fd < DESCRIPTORS && below[fd]; }

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

/* --- calls */

static int open_inside(int folder, const char *path, const char *name, int flags, mode_t mode) {
    REAL(int, openat, int, const char *, int, ...);
    lock();
    struct stat before;
    int made = (flags & O_CREAT) && fstatat(folder, path, &before, AT_SYMLINK_NOFOLLOW) != 0, fd = -1;
    int wrong = made ? begin(&state.shared->changes, FAIL) : 0;
    if (wrong > 1)
        errno = wrong;
    else
        fd = real_openat(folder, path, flags, mode);
    if (fd >= 0 && made) record(CREATE, inode_of(fd), 0, 0, 0, name, NULL, NULL, 0);
    if (fd < 0 && made) record(FAILED, 0, 0, 0, errno, name, NULL, NULL, 0);
    if (fd >= 0 && !made && (flags & O_TRUNC)) record(TRUNCATE, inode_of(fd), 0, 0, 0, NULL, NULL, NULL, 0);
    if (fd >= DESCRIPTORS) die("too many descriptors");
    if (fd >= 0) {
        struct stat now;
        below[fd] = !fstat(fd, &now) && S_ISDIR(now.st_mode) ? 2 : 1;
        free(folders[fd]);
        folders[fd] = below[fd] == 2 ? strdup(name) : NULL;
    }
    if (made) end_change();
    unlock();
    return fd;
}

#define MODE(flags)                                 \
    mode_t mode = 0;                                \
    if ((flags) & (O_CREAT | O_TMPFILE)) {          \
        va_list rest;                               \
        va_start(rest, flags);                      \
        mode = (mode_t)va_arg(rest, int);           \
        va_end(rest);                               \
    }

static int open_any(int folder, const char *path, int flags, mode_t mode) {
    REAL(int, openat, int, const char *, int, ...);
    char buffer[PATH_BYTES];
    const char *name = inside(folder, path, buffer);
    if (name) return open_inside(folder, path, name, flags, mode);
    int fd = real_openat(folder, path, flags, mode);
    if (fd >= 0 && fd < DESCRIPTORS) below[fd] = 0;
    return fd;
}

int open(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return open_any(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags) return open_any(folder, path, flags | O_LARGEFILE, mode);
}
int creat(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    REAL(int, close, int);
    if (ours(fd)) below[fd] = 0;
    return real_close(fd);
}

/* One write of one range; every other way to write comes here. */
static ssize_t write_range(int fd, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    lock();
    int wrong = begin(&state.shared->changes, FAIL);
    if (wrong == 1 && size > 1) size /= 2;
    ssize_t done = -1;
    remember(fd, inode_of(fd), size, offset);
    if (wrong > 1)
        errno = wrong;
    else
        done = real_pwrite64(fd, data, size, offset);
    if (done > 0)
        record(WRITE, inode_of(fd), (uint64_t)offset, (uint64_t)done, 0, NULL, NULL, data, (size_t)done);
    else
        record(FAILED, inode_of(fd), (uint64_t)offset, size, errno, NULL, NULL, NULL, 0);
    end_change();
    unlock();
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return ours(fd) ? write_range(fd, data, size, offset) : real_pwrite64(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (!ours(fd)) return real_write(fd, data, size);
    int appends = fcntl(fd, F_GETFL) & O_APPEND;
    off64_t at = lseek64(fd, 0, appends ? SEEK_END : SEEK_CUR);
    ssize_t done = write_range(fd, data, size, at);
    if (done > 0) lseek64(fd, at + done, SEEK_SET);
    return done;
}

static ssize_t write_vector(int fd, const struct iovec *parts, int count, off64_t offset) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write_range(fd, parts[i].iov_base, parts[i].iov_len, offset + total);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
    return ours(fd) ? write_vector(fd, parts, count, offset) : real_pwritev64(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    REAL(ssize_t, pwritev2, int, const struct iovec *, int, off_t, int);
    return ours(fd) ? write_vector(fd, parts, count, offset) : real_pwritev2(fd, parts, count, offset, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (!ours(fd)) return real_writev(fd, parts, count);
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = write_vector(fd, parts, count, at);
    if (done > 0) lseek64(fd, at + done, SEEK_SET);
    return done;
}

/* Carried out as a read and a write. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    if (!ours(to)) return real_copy_file_range(from, from_at, to, to_at, size, flags);
    if (size > 1 << 20) size = 1 << 20;
    off64_t source = from_at ? *from_at : lseek64(from, 0, SEEK_CUR), target = to_at ? *to_at : lseek64(to, 0, SEEK_CUR);
    char *data = malloc(size + 1);
    if (!data) die("memory");
    ssize_t done = real_pread64(from, data, size, source);
    if (done > 0) done = write_range(to, data, (size_t)done, target);
    int kept = errno;
    free(data);
    if (done > 0) {
        if (from_at) *from_at += done;
        else lseek64(from, source + done, SEEK_SET);
        if (to_at) *to_at += done;
        else lseek64(to, target + done, SEEK_SET);
    }
    errno = kept;
    return done;
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    if (!ours(fd)) return real_ftruncate64(fd, size);
    lock();
    int wrong = begin(&state.shared->changes, FAIL), failed = -1;
    if (wrong > 1)
        errno = wrong;
    else if (!(failed = real_ftruncate64(fd, size)))
        record(TRUNCATE, inode_of(fd), 0, (uint64_t)size, 0, NULL, NULL, NULL, 0);
    if (failed) record(FAILED, inode_of(fd), 0, (uint64_t)size, errno, NULL, NULL, NULL, 0);
    end_change();
    unlock();
    return failed;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    REAL(int, fallocate64, int, int, off64_t, off64_t);
    if (!ours(fd)) return real_fallocate64(fd, mode, offset, size);
    lock();
    int wrong = begin(&state.shared->changes, FAIL), failed = -1;
    if (wrong > 1)
        errno = wrong;
    else if (!(failed = real_fallocate64(fd, mode, offset, size)))
        record(ALLOCATE, inode_of(fd), (uint64_t)offset, (uint64_t)size, 0, NULL, NULL, NULL, 0);
    if (failed) record(FAILED, inode_of(fd), (uint64_t)offset, (uint64_t)size, errno, NULL, NULL, NULL, 0);
    if (mode) errno = ENOSYS, die("fallocate with a mode is not recorded");
    end_change();
    unlock();
    return failed;
}

int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate64(fd, mode, offset, size); }

static int sync_file(int fd, int data_only) {
    REAL(int, fsync, int);
    REAL(int, fdatasync, int);
    if (!ours(fd)) return data_only ? real_fdatasync(fd) : real_fsync(fd);
    lock();
    int wrong = begin(&state.shared->changes, FAIL), failed = -1;
    if (wrong < 2 && below[fd] == 1) wrong = begin(&state.shared->syncs, state.action == FAIL_SYNC ? FAIL_SYNC : FAIL_SYNC_KEPT);
    if (wrong > 1)
        errno = wrong;
    else
        failed = data_only ? real_fdatasync(fd) : real_fsync(fd);
    if (failed && below[fd] == 1 && state.shared->doomed != inode_of(fd))
        doom(inode_of(fd));
    else if (!failed)
        forget(inode_of(fd));
    record(SYNC, inode_of(fd), below[fd] == 2, 0, failed ? errno : 0, folders[fd], NULL, NULL, 0);
    end_change();
    unlock();
    return failed;
}

int fsync(int fd) { return sync_file(fd, 0); }
int fdatasync(int fd) { return sync_file(fd, 1); }

static int advise(int fd, off64_t offset, off64_t size, int advice) {
    REAL(int, posix_fadvise64, int, off64_t, off64_t, int);
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    REAL(ssize_t, read, int, void *, size_t);
    REAL(int, open, const char *, int, ...);
    REAL(int, close, int);
    if (!ours(fd) || advice != POSIX_FADV_DONTNEED || !state.shared->doomed || state.shared->doomed != inode_of(fd))
        return real_posix_fadvise64(fd, offset, size, advice);
    lock();
    uint64_t inode = inode_of(fd);
    state.shared->doomed = 0;
    record(state.shared->kept ? SEEN : LOST, inode, 0, 0, 0, NULL, NULL, NULL, 0);
    if (!state.shared->kept) {
        char name[PATH_BYTES + 8], self[64];
        snprintf(name, sizeof name, "%s.lost", state.log_name);
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        int lost = real_open(name, O_RDONLY | O_CLOEXEC), writer = real_open(self, O_WRONLY | O_CLOEXEC);
        struct before one;
        while (real_read(lost, &one, sizeof one) == (ssize_t)sizeof one) {
            char *data = malloc(one.size + 1);
            if (!data || real_read(lost, data, one.size) != (ssize_t)one.size) die(name);
            if (real_pwrite64(writer, data, one.size, (off64_t)one.offset) != (ssize_t)one.size) die(self);
            free(data);
        }
        real_close(lost);
        real_close(writer);
    }
    unlock();
    return 0;
}

int posix_fadvise64(int fd, off64_t offset, off64_t size, int advice) { return advise(fd, offset, size, advice); }
int posix_fadvise(int fd, off_t offset, off_t size, int advice) { return advise(fd, offset, size, advice); }

/* A call on one or two names: `call` is what the kernel is asked, `log` what the log says. */
#define NAMED(kind_, name_, other_, call)                              \
    do {                                                               \
        lock();                                                        \
        int wrong = begin(&state.shared->changes, FAIL), failed = -1;  \
        if (wrong > 1)                                                 \
            errno = wrong;                                             \
        else if (!(failed = (call)))                                   \
            record(kind_, 0, 0, 0, 0, name_, other_, NULL, 0);         \
        else                                                           \
            record(FAILED, 0, 0, 0, errno, name_, other_, NULL, 0);    \
        end_change();                                                  \
        unlock();                                                      \
        return failed;                                                 \
    } while (0)

static int rename_any(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    char a[PATH_BYTES], b[PATH_BYTES];
    const char *old = inside(from_folder, from, a), *new = inside(to_folder, to, b);
    if (!old != !new) errno = EXDEV, die("a rename across the recorded folder's border");
    if (!old) return real_renameat2(from_folder, from, to_folder, to, flags);
    NAMED(RENAME, old, new, real_renameat2(from_folder, from, to_folder, to, flags));
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return rename_any(a, from, b, to, flags); }
int renameat(int a, const char *from, int b, const char *to) { return rename_any(a, from, b, to, 0); }
int rename(const char *from, const char *to) { return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    char a[PATH_BYTES], b[PATH_BYTES];
    const char *old = inside(from_folder, from, a), *new = inside(to_folder, to, b);
    if (!old || !new) return real_linkat(from_folder, from, to_folder, to, flags);
    NAMED(LINK, old, new, real_linkat(from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char buffer[PATH_BYTES];
    const char *name = inside(folder, path, buffer);
    if (!name) return real_unlinkat(folder, path, flags);
    NAMED(UNLINK, name, NULL, real_unlinkat(folder, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    char buffer[PATH_BYTES];
    const char *name = inside(folder, path, buffer);
    if (!name) return real_mkdirat(folder, path, mode);
    NAMED(MKDIR, name, NULL, real_mkdirat(folder, path, mode));
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* --- reads, to be failed */

static int read_fails(int fd) {
    if (!ours(fd) || state.action != FAIL_READ) return 0;
    lock();
    int wrong = begin(&state.shared->reads, FAIL_READ);
    unlock();
    if (wrong) errno = wrong;
    return wrong != 0;
}

ssize_t pread64(int fd, void *out, size_t size, off64_t offset) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    return read_fails(fd) ? -1 : real_pread64(fd, out, size, offset);
}

ssize_t pread(int fd, void *out, size_t size, off_t offset) { return pread64(fd, out, size, offset); }

ssize_t read(int fd, void *out, size_t size) {
    REAL(ssize_t, read, int, void *, size_t);
    return read_fails(fd) ? -1 : real_read(fd, out, size);
}

ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset) {
    REAL(ssize_t, preadv64, int, const struct iovec *, int, off64_t);
    return read_fails(fd) ? -1 : real_preadv64(fd, parts, count, offset);
}

ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) { return preadv64(fd, parts, count, offset); }

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    REAL(ssize_t, preadv2, int, const struct iovec *, int, off_t, int);
    return read_fails(fd) ? -1 : real_preadv2(fd, parts, count, offset, flags);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) {
    REAL(ssize_t, preadv64v2, int, const struct iovec *, int, off64_t, int);
    return read_fails(fd) ? -1 : real_preadv64v2(fd, parts, count, offset, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) {
    return pwritev2(fd, parts, count, offset, flags);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    REAL(void *, mmap, void *, size_t, int, int, int, off_t);
    if (ours(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) errno = EPERM, die("a writable shared mapping");
    return real_mmap(at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset) {
    return mmap(at, size, protection, flags, fd, offset);
}
