/* Threads within a rank: a batch, already checked, in shares of about equal work, by OpenMP where it is built in.
 *
 * More shares than threads, so that who drew many short messages does not wait for who drew one long; but none so small
 * that handing it over costs more than doing it, or that a kernel's lanes stay empty. What is wrong with a batch was
 * found before it is shared out, so errors are those of one thread.
 *
 * Theory of the fork. libgomp's threads do not survive a fork, and a child that calls them waits for ever. They may have
 * been started by anybody in the process, so it does not help to remember whether it was us: a process that is not the
 * one which loaded the library runs everything in one thread. */
#include "sha256.h"

#if defined(_OPENMP)
#include <stdatomic.h>
#include <unistd.h>
#endif

enum { SHARES_MAX = 256, SHARES_A_THREAD = 4, SHARE_BLOCKS = 4096 }; /* of 64 bytes: about 0.1 ms of a fast kernel */
enum { OFFSETS_CHUNK = 4096 }; /* many, so that a long message among short ones does not end up alone in each */

static uint64_t length_of(const baash_sha256_messages *m, size_t i) {
    return m->lengths ? m->lengths[i] : m->starts[i + 1] - m->starts[i];
}

static void hash_share(uint8_t *out, const baash_sha256_messages *m, size_t first, size_t end, int kernel) {
    uint64_t lengths[OFFSETS_CHUNK];
    if (m->lengths) {
        baash_sha256_hash(out + 32 * first, m->data, m->starts + first, m->lengths + first, end - first, kernel);
        return;
    }
    for (size_t n; first < end; first += n) {
        n = end - first < OFFSETS_CHUNK ? end - first : OFFSETS_CHUNK;
        for (size_t i = 0; i < n; i++) {
            lengths[i] = length_of(m, first + i);
        }
        baash_sha256_hash(out + 32 * first, m->data, m->starts + first, lengths, n, kernel);
    }
}

#if defined(_OPENMP)

static _Atomic long home = 0; /* the process that loaded the library */

void baash_sha256_settle(void) {
    long nobody = 0;
    atomic_compare_exchange_strong(&home, &nobody, (long)getpid());
}

int baash_openmp(void) { return 1; }

/* cuts[s] … cuts[s + 1) are the messages of share s: none has more than its part of the blocks and one message. The
 * number of shares. */
static int cut(size_t cuts[SHARES_MAX + 1], const baash_sha256_messages *m, int threads) {
    uint64_t blocks = 0, most = SHARES_MAX;
    int shares = 0;
    if (threads < SHARES_MAX / SHARES_A_THREAD) {
        most = (uint64_t)threads * SHARES_A_THREAD;
    }
    for (size_t i = 0; i < m->count; i++) {
        blocks += (length_of(m, i) + 8) / 64 + 1;
    }
    if (most > blocks / SHARE_BLOCKS) {
        most = blocks / SHARE_BLOCKS;
    }
    if (most < 2) {
        return 1;
    }
    cuts[0] = 0;
    const uint64_t goal = (blocks + most - 1) / most;
    for (uint64_t i = 0, sum = 0; i < m->count; i++) {
        sum += (length_of(m, i) + 8) / 64 + 1;
        if (sum >= goal || i + 1 == m->count) {
            cuts[++shares] = i + 1;
            sum = 0;
        }
    }
    return shares;
}

void baash_sha256_share_out(uint8_t *out, const baash_sha256_messages *m, int kernel, int threads) {
    size_t cuts[SHARES_MAX + 1];
    baash_sha256_settle();
    int shares = threads > 1 && atomic_load(&home) == (long)getpid() ? cut(cuts, m, threads) : 1;
    if (shares < 2) {
        hash_share(out, m, 0, m->count, kernel);
        return;
    }
    threads = threads < shares ? threads : shares;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int s = 0; s < shares; s++) {
        hash_share(out, m, cuts[s], cuts[s + 1], kernel);
    }
}

#else

void baash_sha256_settle(void) {}

int baash_openmp(void) { return 0; }

void baash_sha256_share_out(uint8_t *out, const baash_sha256_messages *m, int kernel, int threads) {
    (void)threads;
    hash_share(out, m, 0, m->count, kernel);
}

#endif
