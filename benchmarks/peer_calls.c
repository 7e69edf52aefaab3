/* Calls of NVML that other programs make and that the fake driver of the tests need not have.
 *
 * Linked with tests/exporter/fake_nvml.c into one library. Every function is weak: once the fake driver has one of the
 * same name, that one is taken. A GPU that is lost or hangs does so here too, because each asks the fake driver first.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, HOPPER = 9 };

#define WEAK __attribute__((weak))

extern int nvmlDeviceGetPersistenceMode(void *handle, unsigned *mode);

static int answer(void *handle, unsigned *value, unsigned is) {
    unsigned mode;
    int result = nvmlDeviceGetPersistenceMode(handle, &mode);
    if (result == SUCCESS) *value = is;
    return result;
}

static int unsupported(void *handle) {
    unsigned unused;
    int result = answer(handle, &unused, 0);
    return result == SUCCESS ? NOT_SUPPORTED : result;
}

WEAK int nvmlDeviceGetArchitecture(void *handle, unsigned *architecture) { return answer(handle, architecture, HOPPER); }

WEAK int nvmlDeviceGetPowerManagementDefaultLimit(void *handle, unsigned *limit) { return answer(handle, limit, 700000); }

WEAK int nvmlDeviceGetComputeMode(void *handle, unsigned *mode) { return answer(handle, mode, 0); }

WEAK int nvmlDeviceGetC2cModeInfoV(void *handle, void *info) { /* no superchip */
    (void)info;
    return unsupported(handle);
}

WEAK int nvmlDeviceGetTemperatureV(void *handle, void *temperature) { /* the older call answers */
    (void)temperature;
    return unsupported(handle);
}

/* The fake driver never frees a script that it has read, because another thread may be reading it. Compiled with
 * -Dmalloc=script_place its scripts take turns in a few places instead, so that a day of faults costs no memory that
 * would be held against the program under test. */

enum { PLACES = 8, PLACE_BYTES = 1 << 17 };

void *script_place(size_t size) {
    static _Alignas(64) char places[PLACES][PLACE_BYTES];
    static _Atomic unsigned next;
    if (size > PLACE_BYTES) abort();
    return places[atomic_fetch_add(&next, 1) % PLACES];
}
