/* libbaash from C: hashes many messages with two threads, then the Merkle root (RFC 9162) over the hashes.
 *
 *   cc roots.c $(pkg-config --cflags --libs libbaash) -o roots && ./roots a bc def
 *
 * Prints the kernel that ran, each argument's SHA-256, and the root. */
#include <baash.h>

#include <stdio.h>
#include <string.h>

enum { MOST = 64 };

static void print_hash(const char *name, const uint8_t *hash) {
    for (int i = 0; i < 32; i++) {
        printf("%02x", hash[i]);
    }
    printf("  %s\n", name);
}

int main(int argc, char **argv) {
    static char data[1 << 16];
    uint8_t hashes[MOST * 32], root[32];
    uint64_t offsets[MOST + 1] = {0}, sizes[1];
    size_t at = 0, count = (size_t)argc - 1;
    baash_kernel_info kernel;
    if (argc - 1 > MOST || baash_sha256_init(UINT32_MAX) != BAASH_OK ||
        baash_sha256_info(&kernel, baash_sha256_chosen()) != BAASH_OK) {
        return 2;
    }
    printf("%s\n", kernel.name);
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(argv[i + 1]);
        if (bytes > sizeof data - offsets[i]) {
            return 2;
        }
        memcpy(data + offsets[i], argv[i + 1], bytes);
        offsets[i + 1] = offsets[i] + bytes;
    }
    int status = baash_sha256_batch(hashes, &at, (const uint8_t *)data, sizeof data, offsets, count, BAASH_CHOSEN, 2);
    if (status != BAASH_OK) {
        fprintf(stderr, "message %zu: status %d\n", at, status);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        print_hash(argv[i + 1], hashes + 32 * i);
    }
    /* one tree over all of them; the hashes are overwritten */
    const uint64_t trees[2] = {0, count};
    if (baash_merkle_roots(root, &at, hashes, count, sizes, trees, 1, BAASH_CHOSEN) != BAASH_OK) {
        return 1;
    }
    print_hash("root", root);
    return 0;
}
