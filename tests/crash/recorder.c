/* A recorder of what programs do to the files below one folder, and a disturber of it. LD_PRELOAD; Linux, glibc.
 *
 * Every call that changes files (and every flush) is carried out and written into a log while one lock over all processes of
 * the run is held: the log is the one order in which things happened. Data are logged with it, so the log alone can make
 * every state the folder was in. The program itself puts marks into the log ("this has been acknowledged").
 *
 * A flush that is made to fail does what Linux does: what was written since the last flush goes on being seen, is flushed by
 * nothing any more, and is gone (or, fail-sync-kept: turns out to be there) when the program asks for the file to be forgotten
 * (POSIX_FADV_DONTNEED). Of one process's writes, and until the file is written again.
 *
 * "hold" waits before a change for as long as somebody has LOG.held, a named pipe, open for writing.
 *
 * One call, by its number, can be disturbed: the process (or all of the run) is killed before it, in its middle or after it,
 * or it fails, or is cut short. Reads below the folder are counted apart and can be made to fail; they are not logged.
 *
 * Not recorded: mappings. A writable shared mapping of a file below the folder is refused, so it cannot go unnoticed.
 *
 * environment: BAASH_RECORDER_ROOT   the folder (absolute, no links in it)
 *              BAASH_RECORDER_LOG    the log, appended to; its lock is an flock(2), which dies with its holder
 *              BAASH_RECORDER_FAULT  "ACTION NUMBER [ERRNO [TIMES]]"; see `actions`
 * or, in a process that runs already, baash_recorder_start(root, log, fault).
 */
#include "recorder.h"

static const char *const actions[] = {"none",           "kill-before", "kill-middle", "kill-after", "kill-all-before",
                                      "kill-all-after", "fail",        "short",       "fail-sync",   "fail-sync-kept", "fail-read", "hold"};

struct state state;
unsigned char below[DESCRIPTORS];
char *folders[DESCRIPTORS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct before *unflushed; /* newest first */

void die(const char *why) {
    dprintf(2, "recorder: %s: %s\n", why, strerror(errno));
    abort();
}

void lock(void) {
    pthread_mutex_lock(&mutex);
    while (flock(state.log, LOCK_EX))
        if (errno != EINTR) die("flock");
}

void unlock(void) {
    int kept = errno;
    flock(state.log, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = kept;
}

static void write_all(const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    const char *at = data;
    while (size) {
        ssize_t done = real_write(state.log, at, size);
        if (done <= 0) die("cannot write the log");
        at += done, size -= (size_t)done;
    }
}

void record(enum kind kind, uint64_t inode, uint64_t offset, uint64_t size, int result, const char *path,
                   const char *other, const void *data, size_t data_bytes) {
    int kept = errno;
    struct entry entry = {kind, (uint32_t)getpid(), inode, offset, size, result, path ? (uint32_t)strlen(path) : 0,
                          other ? (uint32_t)strlen(other) : 0, (uint32_t)data_bytes, 0};
    write_all(&entry, sizeof entry);
    write_all(path, entry.path_bytes);
    write_all(other, entry.other_bytes);
    write_all(data, entry.data_bytes);
    errno = kept;
}

static void kill_run(void) {
    for (uint32_t i = 0; i < state.shared->process_count; i++)
        if (state.shared->processes[i] != getpid()) kill(state.shared->processes[i], SIGKILL);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void hold(void) {
    REAL(int, open, const char *, int, ...);
    REAL(ssize_t, read, int, void *, size_t);
    char name[PATH_BYTES + 8], byte;
    snprintf(name, sizeof name, "%s.held", state.log_name);
    int pipe = real_open(name, O_RDONLY | O_CLOEXEC); /* waits for the other side */
    while (pipe >= 0 && real_read(pipe, &byte, 1) > 0)
        ;
}

/* Begin a call, the lock held: 0 go on, 1 half of it, else the errno it fails with. */
int begin(uint64_t *counter, enum action fails) {
    uint64_t number = ++*counter;
    if (state.action == NONE || number < state.number || number >= state.number + state.times) return 0;
    if (fails == FAIL && state.action == KILL_BEFORE) kill(getpid(), SIGKILL);
    if (fails == FAIL && state.action == KILL_ALL_BEFORE) kill_run();
    if (fails == FAIL && state.action == HOLD) hold();
    if (fails == FAIL && (state.action == KILL_MIDDLE || state.action == SHORT)) {
        state.shared->disturbed++;
        return 1;
    }
    if (state.action != fails) return 0;
    state.shared->disturbed++;
    return state.error;
}

void end_change(void) {
    uint64_t number = state.shared->changes;
    if (number != state.number) return;
    if (state.action == KILL_AFTER || state.action == KILL_MIDDLE) kill(getpid(), SIGKILL);
    if (state.action == KILL_ALL_AFTER) kill_run();
}

static void join_run(void) {
    struct shared *shared = state.shared;
    if (shared->process_count < RUN_PROCESSES) shared->processes[shared->process_count++] = getpid();
}

/* For a process that is running already; log NULL: stop. Returns 0, -1 for a fault that is none. */
int baash_recorder_start(const char *root, const char *log, const char *fault) {
    REAL(int, open, const char *, int, ...);
    state.on = 0;
    if (!log) return 0;
    char name[PATH_BYTES], action[32] = "none";
    snprintf(state.root, sizeof state.root, "%s", root);
    snprintf(state.log_name, sizeof state.log_name, "%s", log);
    state.root_bytes = strlen(state.root);
    unsigned long long number = 0, times = 1;
    int error = EIO;
    if (fault && *fault && sscanf(fault, "%31s %llu %d %llu", action, &number, &error, &times) < 2) return -1;
    state.action = NONE;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(actions[i], action)) state.action = (enum action)i;
    if (state.action == NONE && strcmp(action, "none")) return -1;
    state.number = number, state.times = times, state.error = error;
    state.log = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(name, sizeof name, "%s.count", log);
    int count = real_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state.log < 0 || count < 0) die(log);
    REAL(int, ftruncate64, int, off64_t);
    if (real_ftruncate64(count, sizeof(struct shared))) die(name);
    state.shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, count, 0);
    if (state.shared == MAP_FAILED) die(name);
    memset(below, 0, sizeof below);
    lock();
    join_run();
    unlock();
    state.on = 1;
    return 0;
}

__attribute__((constructor)) static void start(void) {
    const char *root = getenv("BAASH_RECORDER_ROOT"), *log = getenv("BAASH_RECORDER_LOG");
    if (root && log && baash_recorder_start(root, log, getenv("BAASH_RECORDER_FAULT"))) {
        errno = EINVAL;
        die("BAASH_RECORDER_FAULT");
    }
}

void baash_recorder_mark(const char *text) {
    if (!state.on) return;
    lock();
    record(MARK, 0, 0, 0, 0, NULL, NULL, text, strlen(text));
    unlock();
}

/* How many changes, flushes, reads, disturbances there have been: out[4]. */
void baash_recorder_counts(uint64_t *out) { memcpy(out, state.shared, 4 * sizeof *out); }

/* --- what a failed flush loses */

void remember(int fd, uint64_t inode, size_t size, off64_t offset) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    if (state.shared->doomed == inode) state.shared->doomed = 0; /* written again */
    if (state.action != FAIL_SYNC && state.action != FAIL) return;
    struct before *one = calloc(1, sizeof *one + size);
    if (!one) die("no memory");
    *one = (struct before){unflushed, inode, (uint64_t)offset, size};
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd); /* fd may be for writing alone */
    REAL(int, open, const char *, int, ...);
    REAL(int, close, int);
    int reader = real_open(name, O_RDONLY | O_CLOEXEC);
    if (reader < 0 || real_pread64(reader, one->data, size, offset) < 0) die("what lay there cannot be read");
    real_close(reader);
    unflushed = one;
}

void forget(uint64_t inode) {
    for (struct before **at = &unflushed; *at;) {
        struct before *one = *at;
        if (one->inode != inode) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
}

/* A flush has failed: what it should have flushed goes into a file beside the log, for whoever asks later. */
void doom(uint64_t inode) {
    REAL(int, open, const char *, int, ...);
    REAL(int, close, int);
    REAL(ssize_t, write, int, const void *, size_t);
    char name[PATH_BYTES + 8];
    snprintf(name, sizeof name, "%s.lost", state.log_name);
    int lost = real_open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (struct before *one = unflushed; one && lost >= 0; one = one->next)
        if (one->inode == inode && real_write(lost, one, sizeof *one + one->size) < 0) die(name);
    if (lost < 0) die(name);
    real_close(lost);
    forget(inode);
    state.shared->doomed = inode;
    state.shared->kept = state.action == FAIL_SYNC_KEPT;
}
