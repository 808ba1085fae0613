/* What the C tests share: a check that ends the test, seeded numbers, lines of a vector file. */
#ifndef BAASH_TEST_H
#define BAASH_TEST_H

#include "../baash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

/* SplitMix64 */
static inline uint64_t draw(uint64_t *seed) {
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Exactly so many bytes on the heap: one more or less is what the address sanitizer sees. */
static inline void *room(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    CHECK(p);
    return p;
}

static inline size_t from_hex(uint8_t *out, const char *hex) {
    size_t n = 0;
    unsigned value;
    for (; hex[0] != '-' && sscanf(hex, "%2x", &value) == 1; hex += 2) {
        out[n++] = (uint8_t)value;
    }
    return n;
}

/* The next line "hex hex" that is no comment; 0 at the end. */
static inline int next_vector(FILE *file, uint8_t *first, size_t *first_bytes, uint8_t second[32]) {
    char line[1024], a[800], b[80];
    while (fgets(line, sizeof line, file)) {
        if (line[0] != '#' && sscanf(line, "%799s %79s", a, b) == 2) {
            *first_bytes = from_hex(first, a);
            CHECK(from_hex(second, b) == 32);
            return 1;
        }
    }
    return 0;
}

static inline FILE *open_vectors(int argc, char **argv, const char *name) {
    char path[1024];
    CHECK(argc == 2);
    snprintf(path, sizeof path, "%s/%s", argv[1], name);
    FILE *file = fopen(path, "r");
    CHECK(file);
    return file;
}

#endif
