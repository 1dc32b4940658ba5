// What is allocated, by whoever: the counts of AddressSanitizer, which sees each malloc() and free(). Without it there are none.
#pragma once

#include <algorithm>
#include <cstddef>

extern "C" {
__attribute__((weak)) int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, size_t),
                                                                    void (*on_free)(const volatile void*));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void* block);
}

namespace test {

struct Heap {
    static inline size_t blocks = 0, bytes = 0, peak = 0;   // since watch(); the peak since anybody set it

    // False: cannot be had. Once per program, before anything that is freed later matters.
    static bool watch() {
        static const bool watched = __sanitizer_install_malloc_and_free_hooks != nullptr &&
                                    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
        return watched;
    }

private:
    static void on_malloc(const volatile void*, size_t size) {
        ++blocks;
        bytes += size;
        peak = std::max(peak, bytes);
    }
    static void on_free(const volatile void* block) {
        if (block == nullptr) return;
        --blocks;
        bytes -= __sanitizer_get_allocated_size(block);
    }
};

}  // namespace test
