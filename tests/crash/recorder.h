/* What the two parts of the recorder share: its log and faults (recorder.c), and the calls it stands before
 * (recorder_calls.c). Nothing of this is visible outside of the library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(hidden)

enum { PATH_BYTES = 4096, RUN_PROCESSES = 256, DESCRIPTORS = 65536 };

/* The kinds of the log; recording.py has the same. */
enum kind { CREATE = 1, WRITE, TRUNCATE, ALLOCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, MARK, FAILED, LOST, SEEN };

struct entry {
    uint32_t kind, pid;
    uint64_t inode, offset, size; /* SYNC of a folder: offset 1, and its path */
    int64_t result;               /* 0, or the errno of a call that failed or was made to fail */
    uint32_t path_bytes, other_bytes, data_bytes, reserved;
};

enum action { NONE, KILL_BEFORE, KILL_MIDDLE, KILL_AFTER, KILL_ALL_BEFORE, KILL_ALL_AFTER, FAIL, SHORT, FAIL_SYNC,
              FAIL_SYNC_KEPT, FAIL_READ, HOLD };

/* At the beginning of BAASH_RECORDER_LOG + ".count", mapped by all processes of the run. */
struct shared {
    uint64_t changes, syncs, reads, disturbed;
    uint64_t doomed; /* inode of the file whose flush failed */
    uint32_t kept, process_count;
    int32_t processes[RUN_PROCESSES];
};

struct state {
    int on, log;
    char root[PATH_BYTES], log_name[PATH_BYTES];
    size_t root_bytes;
    enum action action;
    uint64_t number, times;
    int error;
    struct shared *shared;
};

/* What lay where this process has written since the last flush: what a flush that fails loses. */
struct before {
    struct before *next;
    uint64_t inode, offset, size;
    char data[];
};

extern struct state state;
extern unsigned char below[DESCRIPTORS]; /* descriptors of files below the root: 1 file, 2 folder */
extern char *folders[DESCRIPTORS];       /* names of the latter, for the log */

void die(const char *why);
void lock(void);
void unlock(void);
void record(enum kind kind, uint64_t inode, uint64_t offset, uint64_t size, int result, const char *path,
            const char *other, const void *data, size_t data_bytes);
int begin(uint64_t *counter, enum action fails);
void end_change(void);
void remember(int fd, uint64_t inode, size_t size, off64_t offset);
void forget(uint64_t inode);
void doom(uint64_t inode);

#pragma GCC visibility pop

/* The next one's function of a name, as `real_NAME`. */
#define REAL(result, name, ...)                       \
    static result (*real_##name)(__VA_ARGS__);        \
    if (!real_##name)                                 \
        *(void **)&real_##name = dlsym(RTLD_NEXT, #name)
