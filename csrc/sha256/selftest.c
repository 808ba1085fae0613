/* A kernel must give the right hashes before it may be chosen.
 *
 * 261 messages of 0 … 260 bytes: block counts 0 … 4, every padding edge (55/56, 63/64, 119/120, …), starting at all
 * offsets modulo 16, with a pattern of prime period so that swapped blocks show. Once in ascending order and once
 * scattered, so that lanes meet equal and unequal neighbours. The hash over all hashes is compared with a constant,
 * which tests/unit/test_kernels_sha256.py derives again from hashlib. */
#include "sha256.h"

enum { MESSAGES = 261, PATTERN = 251, STEP = 71 /* has no factor in common with MESSAGES */ };

static const uint8_t expected[32] = {
    0x34, 0x6f, 0xc9, 0x74, 0x78, 0xd3, 0x43, 0xc0, 0xcd, 0x50, 0xc2, 0x67, 0x14, 0xb9, 0xb1, 0x7b,
    0x67, 0xbb, 0xdb, 0x52, 0x12, 0xfb, 0x39, 0xc5, 0x13, 0x1c, 0x56, 0xbc, 0xde, 0x16, 0xae, 0x86,
};

static void hash_all(uint8_t *out, const uint8_t *data, const uint64_t *starts, const uint64_t *lengths, size_t count,
                     baash_sha256_fn *hash, baash_sha256_finish_fn *finish) {
    baash_sha256_begun begun[SHA256_LANES_MAX];
    if (finish) {
        finish(begun, hash(out, begun, data, starts, lengths, count));
    } else {
        hash(out, NULL, data, starts, lengths, count);
    }
}

/* Nodes over the hashes themselves are hashed as such and as messages. */
static int nodes_agree(const uint8_t *pairs, size_t count, baash_sha256_fn *hash, baash_sha256_nodes_fn *nodes) {
    uint8_t message[65], one[32], made[MESSAGES / 2][32], *to[MESSAGES / 2];
    const uint8_t *from[MESSAGES / 2];
    const uint64_t start = 0, length = sizeof message;
    for (size_t i = 0; i < count; i++) {
        to[i] = made[i], from[i] = pairs + 64 * i;
    }
    nodes(to, from, count);
    for (size_t i = 0; i < count; i++) {
        message[0] = 0x01;
        memcpy(message + 1, from[i], 64);
        hash(one, NULL, message, &start, &length, 1);
        if (memcmp(made[i], one, 32) != 0) {
            return 0;
        }
    }
    return 1;
}

int baash_sha256_selftest(baash_sha256_fn *hash, baash_sha256_finish_fn *finish, baash_sha256_nodes_fn *nodes) {
    uint8_t data[MESSAGES + 16], hashes[MESSAGES * 32], scattered[MESSAGES * 32], all[32];
    uint64_t starts[MESSAGES], lengths[MESSAGES], from = 0, size = sizeof hashes;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i % PATTERN);
    }
    for (size_t i = 0; i < MESSAGES; i++) {
        lengths[i] = i, starts[i] = i * 5 % 16;
    }
    hash_all(hashes, data, starts, lengths, MESSAGES, hash, NULL);
    for (size_t i = 0; i < MESSAGES; i++) {
        lengths[i] = i * STEP % MESSAGES, starts[i] = lengths[i] * 5 % 16;
    }
    hash_all(scattered, data, starts, lengths, MESSAGES, hash, finish);
    for (size_t i = 0; i < MESSAGES; i++) {
        if (memcmp(scattered + 32 * i, hashes + 32 * lengths[i], 32) != 0) {
            return 0;
        }
    }
    hash_all(all, hashes, &from, &size, 1, hash, finish);
    return memcmp(all, expected, 32) == 0 && (!nodes || nodes_agree(hashes, MESSAGES / 2, hash, nodes));
}
