/* SHA-256 in plain C (FIPS 180-4), one message after the other. The reference for all other kernels. */
#include "sha256.h"

const uint32_t baash_sha256_initial[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

const uint32_t baash_sha256_constants[64] __attribute__((aligned(64))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

/* One round; the caller turns the names instead of moving the values. `w` is a ring of the last 16 schedule words. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                          \
    do {                                                                                          \
        uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) +  \
                      baash_sha256_constants[i] + w[(i) & 15];                                    \
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b))); \
        d += t1;                                                                                  \
        h = t1 + t2;                                                                              \
    } while (0)

#define EIGHT_ROUNDS(i)                         \
    do {                                        \
        ROUND(a, b, c, d, e, f, g, h, (i) + 0); \
        ROUND(h, a, b, c, d, e, f, g, (i) + 1); \
        ROUND(g, h, a, b, c, d, e, f, (i) + 2); \
        ROUND(f, g, h, a, b, c, d, e, (i) + 3); \
        ROUND(e, f, g, h, a, b, c, d, (i) + 4); \
        ROUND(d, e, f, g, h, a, b, c, (i) + 5); \
        ROUND(c, d, e, f, g, h, a, b, (i) + 6); \
        ROUND(b, c, d, e, f, g, h, a, (i) + 7); \
    } while (0)

static void compress(uint32_t state[8], const uint8_t *p, uint64_t blocks) {
    for (; blocks; blocks--, p += 64) {
        uint32_t w[16];
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int i = 0; i < 16; i++) {
            w[i] = load32_be(p + 4 * i);
        }
        EIGHT_ROUNDS(0);
        EIGHT_ROUNDS(8);
        for (int i = 16; i < 64; i += 16) {
            for (int j = 0; j < 16; j++) {
                uint32_t x = w[(j + 1) & 15], y = w[(j + 14) & 15];
                w[j] += (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[(j + 9) & 15] +
                        (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
            }
            EIGHT_ROUNDS(i);
            EIGHT_ROUNDS(i + 8);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

void baash_sha256_finish_portable(const baash_sha256_begun *begun, size_t count) {
    for (size_t i = 0; i < count; i++) {
        baash_sha256_begun b = begun[i];
        uint8_t tail[128];
        uint64_t whole = b.left > 0 ? (uint64_t)b.left >> 6 : 0;
        compress(b.state, b.next, whole);
        compress(b.state, tail, baash_sha256_tail(tail, b.next + 64 * whole, b.left - 64 * (int64_t)whole, b.length));
        for (int j = 0; j < 8; j++) {
            store32_be(b.out + 4 * j, b.state[j]);
        }
    }
}

size_t baash_sha256_portable(uint8_t *out, baash_sha256_begun *begun, const uint8_t *data, const uint64_t *starts,
                             const uint64_t *lengths, size_t count) {
    (void)begun;
    for (size_t i = 0; i < count; i++) {
        baash_sha256_begun b = baash_sha256_begin(out, data, starts, lengths, i);
        baash_sha256_finish_portable(&b, 1);
    }
    return 0;
}
