/* Reading from a file that the caller keeps open. Not public. */
#ifndef BAASH_FILE_H
#define BAASH_FILE_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

/* How many bytes there were up to the end of the file, or -1 and an errno. */
static inline ssize_t read_up_to(int file, uint8_t *to, size_t size, uint64_t offset) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file, to + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

#endif
