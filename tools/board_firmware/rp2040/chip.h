/* What `rig.h` leaves to the chip: interrupts off and on again as they were. */
#include <stdint.h>

static inline uint32_t lock(void) {
    uint32_t was;
    __asm__ volatile("mrs %0, primask\n cpsid i" : "=r"(was)::"memory");
    return was;
}

static inline void unlock(uint32_t was) {
    __asm__ volatile("msr primask, %0" ::"r"(was) : "memory");
}

#define RIG_LOCK() { uint32_t was_ = lock()
#define RIG_UNLOCK() unlock(was_); }
