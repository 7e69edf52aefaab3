/* A stand-in for libnvidia-ml.so.1 at the C boundary, for tests on machines without a GPU.
 *
 * It is physically consistent: each GPU draws a square wave, the energy counter is the exact integral of it over the
 * machine's own clock, cut to the last tick. It is scripted by a text file named in FAKE_NVML_CONTROL, which is read
 * again at every call: lines of "<switch> <integer>". Switches that end in _mask hold one bit for each GPU.
 *
 *   gpus            number of GPUs                      init           what nvmlInit returns
 *   tick_us         microseconds between ticks          reset          counters restart at 0 when this number changes
 *   no_counter_mask no energy counter at all            no_fields_mask field values are not supported
 *   no_status_mask  no limit, clocks, memory, …         lost_mask      every call answers lost_code
 *   hang_mask       energy calls do not return          call_stamps    stamps are the time of the call, not the tick
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
enum { MAX_GPUS = 128, LOW_MILLIWATTS = 100000, HIGH_MILLIWATTS = 300000, STEP_MILLIWATTS = 10000, HALF_US = 250000 };

typedef struct {
    uint32_t field, scope;
    int64_t stamp_us, latency_us;
    uint32_t value_type, result;
    union {
        double d;
        uint32_t u;
        uint64_t ull;
    } value;
} field_value;

typedef struct {
    char legacy_bus_id[16];
    uint32_t domain, bus, device, pci_device_id, subsystem_id;
    char bus_id[32];
} pci_info;

static int64_t loaded_us, reset_us;
static long resets_seen;

static long control(const char *name, long otherwise) {
    const char *path = getenv("FAKE_NVML_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    char key[64];
    long value, found = otherwise;
    if (!file) return otherwise;
    while (fscanf(file, "%63s %ld", key, &value) == 2)
        if (strcmp(key, name) == 0) found = value;
    fclose(file);
    return found;
}

static int bit(const char *name, long gpu) { return (int)((control(name, 0) >> gpu) & 1); }

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64_t milliwatts(long gpu, int64_t at_us) {
    return (at_us / HALF_US % 2 ? HIGH_MILLIWATTS : LOW_MILLIWATTS) + (uint64_t)gpu * STEP_MILLIWATTS;
}

/* Integral of the power since the epoch, in milliwatts × microseconds. */
static __int128 work(long gpu, int64_t at_us) {
    int64_t whole = at_us / HALF_US, rest = at_us % HALF_US;
    __int128 high_halves = whole / 2, low_halves = whole - whole / 2;
    return low_halves * HALF_US * (__int128)milliwatts(gpu, 0) + high_halves * HALF_US * (__int128)milliwatts(gpu, HALF_US)
        + (__int128)rest * milliwatts(gpu, at_us);
}

static int64_t tick_us(int64_t at_us) {
    int64_t tick = control("tick_us", 20000);
    return at_us / tick * tick;
}

static uint64_t millijoules(long gpu, int64_t at_us) {
    long resets = control("reset", 0);
    if (resets != resets_seen) {
        resets_seen = resets;
        reset_us = tick_us(at_us);
    }
    return (uint64_t)((work(gpu, tick_us(at_us)) - work(gpu, reset_us)) / 1000000);
}

static int state(void *handle, long *gpu) {
    *gpu = (long)(intptr_t)handle - 1;
    if (*gpu < 0 || *gpu >= MAX_GPUS) return INVALID_ARGUMENT;
    return bit("lost_mask", *gpu) ? (int)control("lost_code", GPU_IS_LOST) : SUCCESS;
}

static void hang_if_told(long gpu) {
    struct timespec pause = {0, 5000000};
    while (bit("hang_mask", gpu)) nanosleep(&pause, NULL);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    loaded_us = now_us() - 3600 * (int64_t)1000000; /* the driver has counted for an hour */
    reset_us = tick_us(loaded_us);
    resets_seen = control("reset", 0);
    return (int)control("init", SUCCESS);
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    (void)code;
    return "an error of the fake driver";
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    snprintf(text, size, "550.54.15");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)control("gpus", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    long gpu;
    *handle = (void *)(intptr_t)(index + 1);
    return state(*handle, &gpu);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    unsigned index;
    if (sscanf(uuid, "GPU-fake-%u", &index) != 1) return NOT_FOUND;
    return nvmlDeviceGetHandleByIndex_v2(index, handle);
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    long gpu;
    int result = state(handle, &gpu);
    if (result == SUCCESS) snprintf(text, size, "GPU-fake-%ld", gpu);
    return result;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    long gpu;
    int result = state(handle, &gpu);
    if (result == SUCCESS) snprintf(text, size, "Fake \"H100\" 80GB");
    return result;
}

int nvmlDeviceGetPciInfo_v3(void *handle, pci_info *info) {
    long gpu;
    int result = state(handle, &gpu);
    memset(info, 0, sizeof *info);
    snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02lX:00.0", gpu + 1);
    return result;
}

static void fill(field_value *entry, long gpu, int64_t at_us) {
    int is_energy = entry->field == 83, is_power = entry->field == 185 || entry->field == 186;
    entry->latency_us = 0;
    entry->stamp_us = control("call_stamps", 0) ? at_us : tick_us(at_us);
    entry->result = SUCCESS;
    if (bit("no_fields_mask", gpu) || (is_energy && bit("no_counter_mask", gpu)))
        entry->result = NOT_SUPPORTED;
    else if (is_energy) {
        entry->value_type = 3;
        entry->value.ull = millijoules(gpu, at_us);
    } else if (is_power) {
        entry->value_type = 1;
        entry->value.u = (uint32_t)(entry->field == 186 ? milliwatts(gpu, at_us) : milliwatts(gpu, 0) + 100000);
    } else
        entry->result = INVALID_ARGUMENT;
}

int nvmlDeviceGetFieldValues(void *handle, int count, field_value *entries) {
    long gpu;
    int result = state(handle, &gpu);
    if (result != SUCCESS) return result;
    hang_if_told(gpu);
    for (int64_t at_us = now_us(), i = 0; i < count; i++) fill(&entries[i], gpu, at_us);
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *energy) {
    long gpu;
    int result = state(handle, &gpu);
    if (result != SUCCESS) return result;
    hang_if_told(gpu);
    if (bit("no_counter_mask", gpu)) return NOT_SUPPORTED;
    *energy = millijoules(gpu, now_us());
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *power) {
    long gpu;
    int result = state(handle, &gpu);
    if (result == SUCCESS) *power = (unsigned)milliwatts(gpu, now_us());
    return result;
}

/* The slow values: one answer for all of them is enough. */
static int status(void *handle, unsigned *value, unsigned answer) {
    long gpu;
    int result = state(handle, &gpu);
    if (result != SUCCESS) return result;
    if (bit("no_status_mask", gpu)) return NOT_SUPPORTED;
    *value = answer;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *limit) { return status(handle, limit, 700000); }

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees) {
    (void)sensor;
    return status(handle, degrees, 41);
}

int nvmlDeviceGetClockInfo(void *handle, int domain, unsigned *megahertz) {
    if (domain == 3) return NOT_SUPPORTED; /* no video clock */
    return status(handle, megahertz, 1000u + 100u * (unsigned)domain);
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned rates[2]) {
    rates[1] = 5;
    return status(handle, &rates[0], 50);
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long info[3]) {
    unsigned unused;
    info[0] = 80ull << 30;
    info[1] = 79ull << 30;
    info[2] = 1ull << 30;
    return status(handle, &unused, 0);
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons) {
    unsigned bits;
    int result = status(handle, &bits, 0x04 | 0x01); /* software power cap, and idle, which holds nothing down */
    *reasons = result == SUCCESS ? bits : 0;
    return result;
}
