/* Runs a fuzz target over files, without a fuzzer: the corpus as an ordinary test, and a finding under a debugger. */
#include "../tests/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    CHECK(argc > 1); /* an empty corpus would be a test that cannot fail */
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        CHECK(file && fseek(file, 0, SEEK_END) == 0);
        long size = ftell(file);
        CHECK(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
        uint8_t *data = room((size_t)size);
        CHECK(fread(data, 1, (size_t)size, file) == (size_t)size);
        LLVMFuzzerTestOneInput(data, (size_t)size);
        free(data);
        fclose(file);
    }
    return 0;
}
