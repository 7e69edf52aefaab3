/* A stand-in for ROCm's libamd_smi.so at the C boundary, as the amdsmi package of version 7 calls it.
 *
 * It is physically consistent: each GPU draws a square wave, and the energy accumulator is the exact integral of it over
 * the machine's own clock (or the script's), cut to the last tick, in steps of 15.259 µJ. It is scripted by a text file named in
 * FAKE_AMDSMI_CONTROL, which is read again at every call: lines of "<switch> <integer>". Switches that end in _mask hold
 * one bit for each GPU. What the package wants at import and nobody asks for is made up by the test (stubs).
 *
 *   gpus              number of GPUs                       init              what amdsmi_init returns
 *   tick_us           microseconds between two ticks       wrap_us           Unix time at which the accumulator wraps
 *   frozen_mask       the accumulator stands still         no_counter_mask   no energy at all
 *   resolution_nj     what a step is said to be            no_power_mask     0xFFFF in every power field
 *   zero_power_mask   0 W                                  power_field       0 current, 1 average, 2 neither but "socket"
 *   lost_mask         every call answers lost_code         no_status_mask    no limit, clocks, memory, …
 *   one_slot          all are functions of one board       same_uuid, no_uuid
 *   call_stamps       stamps are the time of the call      stamp_offset_us   added to all stamps
 *   cap_in_watts, activity, garbled, handles               now_us, boottime_us  the clocks, where they are not the machine's
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVAL = 1, NOT_SUPPORTED = 2, NOT_FOUND = 31 };
enum { LOW_WATTS = 100, HIGH_WATTS = 300, STEP_WATTS = 10, HALF_US = 250000, STEP_NANOJOULES = 15259 };

static long long control(const char *name, long long otherwise) {
    const char *path = getenv("FAKE_AMDSMI_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    char key[64];
    long long value, found = otherwise;
    if (!file) return otherwise;
    while (fscanf(file, "%63s %lld", key, &value) == 2)
        if (strcmp(key, name) == 0) found = value;
    fclose(file);
    return found;
}

static int bit(const char *name, long gpu) { return (int)((control(name, 0) >> gpu) & 1); }

static int64_t now_us(void) {
    struct timespec now;
    int64_t scripted = control("now_us", 0);
    if (scripted) return scripted;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The time since boot of a Unix time. The two clocks are compared once: a stamp of one tick is always the same. */
static int64_t boottime_ns(int64_t at_us) {
    static int64_t offset_us;
    struct timespec now;
    int64_t scripted = control("boottime_us", 0);
    if (scripted) return (scripted + at_us - now_us()) * 1000;
    if (!offset_us) {
        clock_gettime(CLOCK_BOOTTIME, &now);
        offset_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - now_us();
    }
    return (at_us + offset_us) * 1000;
}

static int64_t watts(long gpu, int64_t at_us) { return (at_us / HALF_US % 2 ? HIGH_WATTS : LOW_WATTS) + gpu * STEP_WATTS; }

/* Integral of the power since the epoch, in microjoules. */
static __int128 work(long gpu, int64_t at_us) {
    int64_t whole = at_us / HALF_US, rest = at_us % HALF_US;
    __int128 high_halves = whole / 2, low_halves = whole - whole / 2;
    return (low_halves * watts(gpu, 0) + high_halves * watts(gpu, HALF_US)) * HALF_US + (__int128)rest * watts(gpu, at_us);
}

static int state(void *handle, long *gpu) {
    *gpu = (long)(intptr_t)handle - 1;
    if (*gpu < 0 || *gpu >= 64) return INVAL;
    return bit("lost_mask", *gpu) ? (int)control("lost_code", NOT_FOUND) : SUCCESS;
}

int amdsmi_init(uint64_t flags) {
    (void)flags;
    return (int)control("init", SUCCESS);
}

int amdsmi_shut_down(void) { return SUCCESS; }

/* One socket for each GPU. */
int amdsmi_get_socket_handles(uint32_t *count, void **sockets) {
    uint32_t there = (uint32_t)control("gpus", 1);
    if (sockets)
        for (uint32_t i = 0; i < *count && i < there; i++) sockets[i] = (void *)(intptr_t)(i + 1);
    *count = there;
    return (int)control("handles", SUCCESS);
}

int amdsmi_get_processor_handles(void *socket, uint32_t *count, void **processors) {
    if (processors) processors[0] = socket;
    *count = 1;
    return SUCCESS;
}

int amdsmi_get_gpu_device_uuid(void *handle, uint32_t *size, char *text) {
    long gpu;
    int result = state(handle, &gpu);
    if (control("no_uuid", 0)) return NOT_SUPPORTED;
    if (result == SUCCESS) snprintf(text, *size, "fake%04ld-0000-1000-8000-00000000fake", control("same_uuid", 0) ? 0 : gpu);
    return result;
}

int amdsmi_get_gpu_device_bdf(void *handle, uint64_t *bdf) {
    long gpu;
    int result = state(handle, &gpu);
    /* function: 3 bits, device: 5, bus: 8, domain: 48 */
    *bdf = control("one_slot", 0) ? (uint64_t)gpu | 1 << 8 : (uint64_t)(gpu + 1) << 8;
    return result;
}

typedef struct {
    char market_name[256];
    uint32_t vendor_id;
    char vendor_name[256];
    uint32_t subvendor_id;
    uint64_t device_id;
    uint32_t rev_id;
    char asic_serial[256];
    uint32_t oam_id, num_of_compute_units;
    uint64_t target_graphics_version;
    uint32_t subsystem_id, reserved[21];
} asic_info;

int amdsmi_get_gpu_asic_info(void *handle, asic_info *info) {
    long gpu;
    int result = state(handle, &gpu);
    memset(info, 0, sizeof *info);
    snprintf(info->market_name, sizeof info->market_name, "Fake Instinct MI300X");
    if (control("garbled", 0)) snprintf(info->market_name, sizeof info->market_name, "\xff\xfe");
    return result;
}

int amdsmi_get_gpu_driver_info(void *handle, char info[3][256]) {
    long gpu;
    int result = state(handle, &gpu);
    memset(info, 0, 3 * 256);
    snprintf(info[0], 256, "6.12.12");
    return result;
}

int amdsmi_get_energy_count(void *handle, uint64_t *steps, float *resolution, uint64_t *stamp) {
    long gpu;
    int result = state(handle, &gpu);
    if (result != SUCCESS) return result;
    if (bit("no_counter_mask", gpu)) return NOT_SUPPORTED;
    int64_t at_us = now_us(), tick = control("tick_us", 1000), ticked_us = at_us / tick * tick;
    __int128 microjoules = work(gpu, ticked_us);
    int64_t wrap_us = control("wrap_us", 0);
    if (wrap_us) microjoules -= work(gpu, wrap_us);
    __int128 count = microjoules * 1000 / STEP_NANOJOULES;
    *steps = bit("frozen_mask", gpu) ? 8152136 : (uint64_t)count - (wrap_us && microjoules < 0);
    *resolution = (float)(control("resolution_nj", STEP_NANOJOULES) / 1e3);
    int64_t stamped_us = control("call_stamps", 0) ? at_us : ticked_us;
    *stamp = (uint64_t)(boottime_ns(stamped_us) + control("stamp_offset_us", 0) * 1000);
    return SUCCESS;
}

typedef struct {
    uint64_t socket_power;
    uint32_t current_socket_power, average_socket_power;
    uint64_t gfx_voltage, soc_voltage, mem_voltage;
    uint32_t power_limit, padding;
    uint64_t reserved[18];
} power_info;

int amdsmi_get_power_info(void *handle, power_info *info) {
    long gpu;
    int result = state(handle, &gpu);
    if (result != SUCCESS) return result;
    memset(info, 0, sizeof *info);
    info->socket_power = info->current_socket_power = info->average_socket_power = 0xFFFF;
    if (bit("no_power_mask", gpu)) return SUCCESS;
    uint32_t now = bit("zero_power_mask", gpu) ? 0 : (uint32_t)watts(gpu, now_us());
    info->socket_power = now;
    if (control("power_field", 0) == 0) info->current_socket_power = now;
    if (control("power_field", 0) == 1) info->average_socket_power = now;
    return SUCCESS;
}

/* The slow values. */
static int slow(void *handle) {
    long gpu;
    int result = state(handle, &gpu);
    return result == SUCCESS && bit("no_status_mask", gpu) ? NOT_SUPPORTED : result;
}

int amdsmi_get_power_cap_info(void *handle, uint32_t sensor, uint64_t info[8]) {
    (void)sensor;
    info[0] = control("cap_in_watts", 0) ? 750 : 750000000;
    return slow(handle);
}

int amdsmi_get_gpu_activity(void *handle, uint32_t info[16]) {
    info[0] = (uint32_t)control("activity", 50);
    return slow(handle);
}

int amdsmi_get_gpu_memory_total(void *handle, int kind, uint64_t *bytes) {
    *bytes = kind == 0 ? 192ull << 30 : 1;
    return slow(handle);
}

int amdsmi_get_gpu_memory_usage(void *handle, int kind, uint64_t *bytes) {
    *bytes = kind == 0 ? 1ull << 30 : 1;
    return slow(handle);
}

int amdsmi_get_temp_metric(void *handle, int sensor, int metric, int64_t *celsius) {
    if (sensor == 1 && control("no_hotspot", 0)) return (int)control("no_hotspot", 0);
    *celsius = metric == 0 ? (sensor == 1 ? 51 : 41) : 0;
    return slow(handle);
}

typedef struct {
    uint32_t clk, min_clk, max_clk;
    uint8_t locked, deep_sleep, padding[2];
    uint32_t reserved[4];
} clock_info;

int amdsmi_get_clock_info(void *handle, int kind, clock_info *info) {
    memset(info, 0, sizeof *info);
    info->clk = kind == 0 ? 2100 : kind == 4 ? 1300 : 0xFFFFFFFF; /* no video clock now */
    return slow(handle);
}
