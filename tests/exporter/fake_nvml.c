/* A stand-in for libnvidia-ml.so.1 at the C boundary, for tests and benchmarks on machines without a GPU.
 *
 * It is physically consistent: each GPU draws a square wave, the energy counter is the exact integral of it over the
 * machine's own clock, cut to the last tick, and every other power value is taken from the same wave. It is stateless
 * but for NVML's own session: what was reset or frozen, and when, is said by the script, so that two processes (or one
 * that was started again) see the same counter.
 *
 * It is scripted through the file named in FAKE_NVML_CONTROL, which is mapped once: three words (generation, odd while
 * it is written; the time at which the driver was loaded, in microseconds; the number of inits so far, and then that of
 * other calls, which this file counts), then text, lines of "<switch> <integer>". The text is parsed when the
 * generation has changed, so that a switch costs a look into an array. Each switch has a value for each GPU and three
 * spellings: "<switch>" for all of them, "<switch>_mask" with one bit for each of the first 63, "<switch>_<gpu>".
 *
 *   gpus            number of GPUs, seen by the next nvmlInit, as is …
 *   gone            a GPU that was taken out: lost now, not listed after the next nvmlInit
 *   init, init_us   what nvmlInit returns, and how long that takes
 *   strict          abort when NVML is shut down while a call is inside
 *   tick_us         microseconds between two ticks of the counter
 *   reset_us        Unix time in µs at which the counter restarted at 0
 *   frozen_us       Unix time in µs at which the counter stopped (0: it goes)
 *   jump_mj         added to the counter
 *   zero_counter    the counter answers 0 for ever
 *   call_stamps     stamps are the time of the call, not of the tick
 *   stamp_offset_us added to all stamps: a driver with another clock
 *   lost, lost_code every call answers lost_code; lost_stays: until the next nvmlInit, once it was noticed
 *   hang, hang_status  energy and power calls, or the slow ones, do not return
 *   slow_us         every call takes so long
 *   module          a superchip: counter and nvmlDeviceGetPowerUsage are those of GPU and CPU, scope 1 answers;
 *                   2: scope 1 answers, and counter and nvmlDeviceGetPowerUsage are the GPU's all the same
 *   mig             number of MIG slices; not 0: MIG is on
 *   processes, first_pid, graphics  running processes, their first pid, how many of them draw too
 *   sample_us       interval of the power samples that the driver keeps
 *   odd_name        the texts about the GPU, and the driver's version, are not UTF-8
 *   odd_value       what power fields answer is 1: not a number, 2: infinite, 3: negative
 *   power_mw        what power is said to be, wherever it is said; -1 for the truth
 *   energy_mj       what the counter is said to be; 0 for the truth
 *   status_value    what the slow calls answer; -1 for something plausible
 *   same_uuid       the GPU has the uuid of the first
 *   no_…            the call answers NOT_SUPPORTED; a value above 1 is the code to answer
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    GPU_IS_LOST = 15
};
enum { MAX_GPUS = 128, MAX_SLICES = 7, CONTROL_BYTES = 1 << 16, HEADER_BYTES = 32, KEPT_SCRIPTS = 16 };
enum { LOW_MILLIWATTS = 100000, HIGH_MILLIWATTS = 300000, STEP_MILLIWATTS = 10000, HALF_US = 250000 };
enum { MODULE_MILLIWATTS = 80000, MEMORY_MILLIWATTS = 40000 };
enum { KEPT_SAMPLES = 120, PROCESS_SAMPLE_US = 166667, KEPT_PROCESS_US = 5000000 };
enum { ENERGY = 83, AVERAGE_POWER = 185, INSTANT_POWER = 186 };

#define SWITCHES(X) \
    X(gpus, 1) X(gone, 0) X(init, 0) X(init_us, 0) X(strict, 0) X(tick_us, 20000) X(reset_us, 0) X(frozen_us, 0) X(jump_mj, 0) \
    X(zero_counter, 0) X(call_stamps, 0) X(stamp_offset_us, 0) X(lost, 0) X(lost_code, GPU_IS_LOST) X(lost_stays, 0) \
    X(hang, 0) X(hang_status, 0) X(slow_us, 0) X(module, 0) X(mig, 0) X(processes, 0) X(first_pid, 0) X(graphics, 0) \
    X(sample_us, 20000) X(no_counter, 0) X(no_fields, 0) X(no_status, 0) X(no_field_energy, 0) \
    X(no_field_average, 0) X(no_field_instant, 0) X(no_total_energy, 0) X(no_power_usage, 0) X(no_limit, 0) \
    X(no_temperature, 0) X(no_clock_graphics, 0) X(no_clock_sm, 0) X(no_clock_memory, 0) X(no_clock_video, 1) \
    X(no_utilization, 0) X(no_memory, 0) X(no_event_reasons, 0) X(no_throttle_reasons, 0) X(no_samples, 0) \
    X(no_mig_mode, 0) X(no_compute_processes, 0) X(no_graphics_processes, 0) X(no_process_utilization, 0) \
    X(no_name, 0) X(no_pci, 0) X(odd_name, 0) X(odd_value, 0) X(power_mw, -1) \
    X(energy_mj, 0) X(status_value, -1) X(same_uuid, 0)

#define ENUMERATED(name, otherwise) name,
#define NAMED(name, otherwise) #name,
#define DEFAULTED(name, otherwise) otherwise,
enum { SWITCHES(ENUMERATED) SWITCH_COUNT };
static const char *const NAMES[] = {SWITCHES(NAMED)};
static const long DEFAULTS[] = {SWITCHES(DEFAULTED)};

typedef struct {
    uint64_t generation;
    long of[SWITCH_COUNT][MAX_GPUS];
} script;

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
    uint64_t stamp_us;
    union {
        uint32_t u;
        uint64_t ull;
    } value;
} sample;

typedef struct {
    uint32_t pid;
    uint64_t stamp_us;
    uint32_t sm, memory, encoder, decoder;
} process_sample;

typedef struct {
    uint32_t pid;
    uint64_t memory;
    uint32_t gpu_instance, compute_instance;
} process_info;

typedef struct {
    char legacy_bus_id[16];
    uint32_t domain, bus, device, pci_device_id, subsystem_id;
    char bus_id[32];
} pci_info;

/* The script. */

static uint8_t *mapped;
static _Atomic(script *) scripted;
static pthread_mutex_t parsing = PTHREAD_MUTEX_INITIALIZER;

static _Atomic uint64_t *word(int number) { return (_Atomic uint64_t *)mapped + number; }

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("FAKE_NVML_CONTROL");
    int file = path ? open(path, O_RDWR) : -1;
    if (file >= 0) {
        void *memory = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (memory != MAP_FAILED) mapped = memory;
        close(file);
    }
    if (!mapped) mapped = calloc(1, CONTROL_BYTES); /* nothing scripted: all as by default */
}

static int named(const char *name, size_t length) {
    for (int each = 0; each < SWITCH_COUNT; each++)
        if (strlen(NAMES[each]) == length && strncmp(NAMES[each], name, length) == 0) return each;
    return -1;
}

static void apply(script *into, const char *key, long value) {
    const char *suffix = strrchr(key, '_');
    int whole = named(key, strlen(key)), part = suffix ? named(key, (size_t)(suffix - key)) : -1;
    long gpu;
    if (whole >= 0)
        for (gpu = 0; gpu < MAX_GPUS; gpu++) into->of[whole][gpu] = value;
    else if (part >= 0 && strcmp(suffix, "_mask") == 0)
        for (gpu = 0; gpu < 63; gpu++) into->of[part][gpu] = value >> gpu & 1;
    else if (part >= 0 && sscanf(suffix, "_%ld", &gpu) == 1 && gpu >= 0 && gpu < MAX_GPUS)
        into->of[part][gpu] = value;
    else {
        fprintf(stderr, "fake_nvml: no switch is called %s\n", key);
        abort();
    }
}

static void parse(script *into, const char *text) {
    char key[64];
    long value;
    int read;
    for (int each = 0; each < SWITCH_COUNT; each++)
        for (int gpu = 0; gpu < MAX_GPUS; gpu++) into->of[each][gpu] = DEFAULTS[each];
    for (; sscanf(text, "%63s %ld%n", key, &value, &read) == 2; text += read) apply(into, key, value);
}

/* Parse the script anew. The old one stays for a while: another thread may be reading it. */
static script *parsed(void) {
    static char text[CONTROL_BYTES];
    static script kept[KEPT_SCRIPTS];
    static int next;
    pthread_mutex_lock(&parsing);
    script *fresh = &kept[next++ % KEPT_SCRIPTS];
    do {
        while ((fresh->generation = atomic_load(word(0))) & 1) sched_yield();
        memcpy(text, mapped + HEADER_BYTES, CONTROL_BYTES - HEADER_BYTES - 1);
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load(word(0)) != fresh->generation);
    parse(fresh, text);
    atomic_store(&scripted, fresh);
    pthread_mutex_unlock(&parsing);
    return fresh;
}

static long get(int which, long gpu) {
    script *now = atomic_load_explicit(&scripted, memory_order_acquire);
    if (!now || now->generation != atomic_load_explicit(word(0), memory_order_acquire)) now = parsed();
    return now->of[which][gpu];
}

/* What a switch that starts with no_ says: 0 for nothing, else the code to answer. */
static int denied(int which, long gpu) {
    long value = get(which, gpu);
    return value == 1 ? NOT_SUPPORTED : (int)value;
}

/* Physics: all of it follows from the square wave and the time. */

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static uint64_t milliwatts(long gpu, int64_t at_us, int of_module) {
    uint64_t chip = (at_us / HALF_US % 2 ? HIGH_MILLIWATTS : LOW_MILLIWATTS) + (uint64_t)gpu * STEP_MILLIWATTS;
    return chip + (of_module ? MODULE_MILLIWATTS : 0);
}

/* The mean over the last second, which is two whole periods: always the middle of high and low. */
static uint64_t average_milliwatts(long gpu, int of_module) {
    return (milliwatts(gpu, 0, of_module) + milliwatts(gpu, HALF_US, of_module)) / 2;
}

/* Integral of the power since the epoch, in milliwatts × microseconds. */
static __int128 work(long gpu, int64_t at_us, int of_module) {
    int64_t whole = at_us / HALF_US, rest = at_us % HALF_US;
    __int128 high = (__int128)(whole / 2) * HALF_US, low = (__int128)(whole - whole / 2) * HALF_US;
    return low * milliwatts(gpu, 0, of_module) + high * milliwatts(gpu, HALF_US, of_module)
        + (__int128)rest * milliwatts(gpu, at_us, of_module);
}

static int64_t tick_us_of(long gpu, int64_t at_us) {
    int64_t frozen = get(frozen_us, gpu), tick = get(tick_us, gpu);
    if (frozen && frozen < at_us) at_us = frozen;
    return at_us / tick * tick;
}

static uint64_t millijoules(long gpu, int64_t at_us) {
    int64_t since = get(reset_us, gpu), loaded = (int64_t)atomic_load(word(1));
    int of_module = get(module, gpu) == 1;
    if (get(zero_counter, gpu)) return 0;
    if (get(energy_mj, gpu)) return (uint64_t)get(energy_mj, gpu);
    if (since < loaded) since = loaded;
    since = since / get(tick_us, gpu) * get(tick_us, gpu);
    __int128 used = work(gpu, tick_us_of(gpu, at_us), of_module) - work(gpu, since, of_module);
    return (uint64_t)(used / 1000000 + get(jump_mj, gpu));
}

/* NVML's session: which GPUs it sees was settled when it was initialised. A handle is of its session. */

static pthread_mutex_t initializing = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int inside;
static int references, listed[MAX_GPUS], listed_count;
static uintptr_t session;
static _Atomic int noticed_lost[MAX_GPUS];

static void *handle_of(long gpu, long slice) {
    return (void *)(session << 32 | (uintptr_t)(gpu << 8) | (uintptr_t)(slice + 1));
}

static void pause_us(long us) {
    int64_t end = now_us() + us;
    struct timespec pause = {us / 1000000, us % 1000000 * 1000};
    if (us > 200) nanosleep(&pause, NULL);
    while (now_us() < end) continue;
}

/* Begin a call: find the GPU (and slice) of a handle, and answer what any call answers where it is lost. */
static int begin(void *handle, long *gpu) {
    uintptr_t bits = (uintptr_t)handle;
    *gpu = (long)(bits >> 8 & 0xffffff);
    if (!references) return UNINITIALIZED;
    if (bits >> 32 != session || !(bits & 0xff) || *gpu >= MAX_GPUS) return INVALID_ARGUMENT;
    atomic_fetch_add_explicit(word(3), 1, memory_order_relaxed);
    if (get(slow_us, *gpu)) pause_us(get(slow_us, *gpu));
    if (get(lost, *gpu)) atomic_store(&noticed_lost[*gpu], 1);
    if (get(gone, *gpu) || *gpu >= get(gpus, 0)) return GPU_IS_LOST;
    if (get(lost, *gpu) || (noticed_lost[*gpu] && get(lost_stays, *gpu))) return (int)get(lost_code, *gpu);
    return SUCCESS;
}

static long slice_of(void *handle) { return (long)((uintptr_t)handle & 0xff) - 2; } /* -1 for the whole GPU */

/* The same for calls that can hang, and that a switch can deny. */
static int begin_or(void *handle, long *gpu, int hangs, int denial) {
    struct timespec pause = {0, 5000000};
    int result = begin(handle, gpu);
    if (result != SUCCESS) return result;
    atomic_fetch_add(&inside, 1);
    while (get(hangs, *gpu)) nanosleep(&pause, NULL);
    atomic_fetch_sub(&inside, 1);
    return denied(denial, *gpu);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    atomic_fetch_add(word(2), 1);
    if (get(init_us, 0)) pause_us(get(init_us, 0));
    if (get(init, 0)) return (int)get(init, 0);
    pthread_mutex_lock(&initializing);
    if (!references++) {
        session++;
        listed_count = 0;
        for (int gpu = 0; gpu < MAX_GPUS && gpu < get(gpus, 0); gpu++) {
            atomic_store(&noticed_lost[gpu], 0);
            if (!get(gone, gpu)) listed[listed_count++] = gpu;
        }
    }
    pthread_mutex_unlock(&initializing);
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    pthread_mutex_lock(&initializing);
    if (references == 1 && atomic_load(&inside) && get(strict, 0)) {
        fprintf(stderr, "fake_nvml: shut down while a call was inside\n");
        abort();
    }
    if (references) references--;
    pthread_mutex_unlock(&initializing);
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    (void)code;
    return "an error of the fake driver";
}

/* Who there is. */

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    snprintf(text, size, get(odd_name, 0) ? "550\xff" : "550.54.15");
    return references ? SUCCESS : UNINITIALIZED;
}

int nvmlSystemGetNVMLVersion(char *text, unsigned size) {
    snprintf(text, size, "12.550.54.15");
    return references ? SUCCESS : UNINITIALIZED;
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    *version = 12040;
    return references ? SUCCESS : UNINITIALIZED;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)listed_count;
    return references ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    long gpu;
    if (!references) return UNINITIALIZED;
    if ((int)index >= listed_count) return INVALID_ARGUMENT;
    *handle = handle_of(listed[index], 0);
    return begin(*handle, &gpu);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    int wanted, index = 0;
    if (sscanf(uuid, "GPU-fake-%d", &wanted) != 1) return NOT_FOUND;
    while (index < listed_count && listed[index] != wanted) index++;
    return index < listed_count ? nvmlDeviceGetHandleByIndex_v2((unsigned)index, handle) : NOT_FOUND;
}

int nvmlDeviceGetIndex(void *handle, unsigned *index) {
    long gpu;
    int result = begin(handle, &gpu);
    for (*index = 0; (int)*index < listed_count && listed[*index] != gpu;) ++*index;
    return result;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    long gpu;
    int result = begin(handle, &gpu);
    if (result != SUCCESS) return result;
    if (slice_of(handle) >= 0)
        snprintf(text, size, "MIG-fake-%ld-%ld", gpu, slice_of(handle));
    else
        snprintf(text, size, "GPU-fake-%ld", get(same_uuid, gpu) ? 0 : gpu);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    long gpu;
    int result = begin(handle, &gpu);
    if (result == SUCCESS) result = denied(no_name, gpu);
    if (result == SUCCESS) snprintf(text, size, "Fake \"H100\" 80GB%s", slice_of(handle) >= 0 ? " MIG 1g.10gb" : "");
    if (result == SUCCESS && get(odd_name, gpu)) snprintf(text, size, "Fake\xae 80GB");
    return result;
}

int nvmlDeviceGetPciInfo_v3(void *handle, pci_info *info) {
    long gpu;
    int result = begin(handle, &gpu);
    memset(info, 0, sizeof *info);
    snprintf(info->bus_id, sizeof info->bus_id, get(odd_name, gpu) ? "\xff" : "00000000:%02lX:00.0", gpu + 1);
    return result == SUCCESS ? denied(no_pci, gpu) : result;
}

/* Energy and power. */

static int64_t stamp_us(long gpu, int64_t at_us) {
    return (get(call_stamps, gpu) ? at_us : tick_us_of(gpu, at_us)) + get(stamp_offset_us, gpu);
}

static int field_power(field_value *entry, long gpu, int64_t at_us) {
    int average = entry->field == AVERAGE_POWER, of_module = entry->scope == 1;
    if (entry->scope > 2 || (of_module && !get(module, gpu)) || (entry->scope == 2 && !average)) return NOT_SUPPORTED;
    entry->value_type = 1;
    entry->value.u = (uint32_t)(average ? average_milliwatts(gpu, of_module) : milliwatts(gpu, at_us, of_module));
    if (entry->scope == 2) entry->value.u = MEMORY_MILLIWATTS;
    if (get(power_mw, gpu) >= 0) entry->value.u = (uint32_t)get(power_mw, gpu);
    if (get(odd_value, gpu) == 3) {
        entry->value_type = 5;
        entry->value.u = (uint32_t)-300000;
    } else if (get(odd_value, gpu)) {
        entry->value_type = 0;
        entry->value.d = get(odd_value, gpu) == 1 ? NAN : INFINITY;
    }
    return denied(average ? no_field_average : no_field_instant, gpu);
}

static int field_energy(field_value *entry, long gpu, int64_t at_us) {
    entry->value_type = 3;
    entry->value.ull = millijoules(gpu, at_us);
    return get(no_counter, gpu) ? NOT_SUPPORTED : denied(no_field_energy, gpu);
}

int nvmlDeviceGetFieldValues(void *handle, int count, field_value *entries) {
    long gpu;
    int result = begin_or(handle, &gpu, hang, no_fields);
    if (result != SUCCESS && result != NOT_SUPPORTED) return result;
    for (int64_t at_us = now_us(), i = 0; i < count; i++) {
        field_value *entry = &entries[i];
        entry->latency_us = 0;
        entry->stamp_us = stamp_us(gpu, at_us);
        entry->result = INVALID_ARGUMENT;
        if (entry->field == ENERGY) entry->result = (uint32_t)field_energy(entry, gpu, at_us);
        if (entry->field == AVERAGE_POWER || entry->field == INSTANT_POWER)
            entry->result = (uint32_t)field_power(entry, gpu, at_us);
        if (result) entry->result = (uint32_t)result; /* as the driver does: the call works, no field does */
    }
    return SUCCESS;
}

/* Of a slice it is the board's again: the counter knows no slices. */
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *energy) {
    long gpu;
    int result = begin_or(handle, &gpu, hang, no_total_energy);
    if (result == SUCCESS && get(no_counter, gpu)) result = NOT_SUPPORTED;
    if (result == SUCCESS) *energy = millijoules(gpu, now_us());
    return result;
}

/* Where there are power fields this is the mean of a second (Ampere and newer), elsewhere the power now. */
int nvmlDeviceGetPowerUsage(void *handle, unsigned *power) {
    long gpu;
    int result = begin_or(handle, &gpu, hang, no_power_usage);
    if (result != SUCCESS) return result;
    int of_module = get(module, gpu) == 1, old = get(no_fields, gpu) || get(no_counter, gpu);
    if (get(power_mw, gpu) >= 0) {
        *power = (unsigned)get(power_mw, gpu);
        return SUCCESS;
    }
    *power = (unsigned)(old ? milliwatts(gpu, now_us(), of_module) : average_milliwatts(gpu, of_module));
    return SUCCESS;
}

int nvmlDeviceGetSamples(void *handle, int type, unsigned long long last_seen, int *value_type, unsigned *count, sample *out) {
    long gpu;
    int result = begin_or(handle, &gpu, hang, no_samples);
    if (result != SUCCESS) return result;
    if (type != 0) return NOT_SUPPORTED;
    int64_t step = get(sample_us, gpu), newest = now_us() / step * step, found = 0;
    *value_type = 1;
    for (int64_t at = newest - (KEPT_SAMPLES - 1) * step; out && at <= newest; at += step) {
        uint64_t stamp = (uint64_t)(at + get(stamp_offset_us, gpu));
        if (stamp <= last_seen || found >= *count) continue;
        out[found].stamp_us = stamp;
        out[found++].value.u = (uint32_t)(get(power_mw, gpu) >= 0 ? get(power_mw, gpu) : (long)milliwatts(gpu, at, 0));
    }
    *count = out ? (unsigned)found : KEPT_SAMPLES;
    return *count ? SUCCESS : NOT_FOUND;
}

/* The slow values. Under MIG the whole GPU has no utilisation. */

static int status(void *handle, int denial, unsigned *value, unsigned answer) {
    long gpu;
    int result = begin_or(handle, &gpu, hang_status, denial);
    if (result == SUCCESS && get(no_status, gpu)) result = NOT_SUPPORTED;
    if (result == SUCCESS) *value = get(status_value, gpu) >= 0 ? (unsigned)get(status_value, gpu) : answer;
    return result;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *limit) { return status(handle, no_limit, limit, 700000); }

int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned *limit) { return status(handle, no_limit, limit, 700000); }

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees) {
    (void)sensor;
    return status(handle, no_temperature, degrees, 41);
}

int nvmlDeviceGetClockInfo(void *handle, int domain, unsigned *megahertz) {
    static const int denials[] = {no_clock_graphics, no_clock_sm, no_clock_memory, no_clock_video};
    if (domain < 0 || domain > 3) return INVALID_ARGUMENT;
    return status(handle, denials[domain], megahertz, 1000u + 100u * (unsigned)domain);
}

int nvmlDeviceGetMaxClockInfo(void *handle, int domain, unsigned *megahertz) {
    return nvmlDeviceGetClockInfo(handle, domain, megahertz);
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned rates[2]) {
    long gpu;
    int result = status(handle, no_utilization, &rates[0], 50);
    rates[1] = 5;
    return result == SUCCESS && begin(handle, &gpu) == SUCCESS && get(mig, gpu) ? NOT_SUPPORTED : result;
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long info[3]) {
    unsigned unused;
    info[0] = 80ull << 30;
    info[1] = 79ull << 30;
    info[2] = 1ull << 30;
    return status(handle, no_memory, &unused, 0);
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, unsigned long long info[5]) {
    unsigned unused;
    info[1] = 80ull << 30;
    info[2] = 0;
    info[3] = 79ull << 30;
    info[4] = 1ull << 30;
    return status(handle, no_memory, &unused, 0);
}

static int reasons_of(void *handle, int denial, unsigned long long *reasons) {
    unsigned bits = 0;
    int result = status(handle, denial, &bits, 0x04 | 0x01); /* software power cap, and idle: that holds nothing down */
    *reasons = bits;
    return result;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons) {
    return reasons_of(handle, no_event_reasons, reasons);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *reasons) {
    return reasons_of(handle, no_throttle_reasons, reasons);
}

/* Read by other exporters only: plausible constants, so that they have work to do. */
int nvmlDeviceGetFanSpeed(void *handle, unsigned *percent) { return status(handle, no_status, percent, 30); }
int nvmlDeviceGetPersistenceMode(void *handle, unsigned *mode) { return status(handle, no_status, mode, 1); }
int nvmlDeviceGetPerformanceState(void *handle, unsigned *number) { return status(handle, no_status, number, 0); }
int nvmlDeviceGetMinorNumber(void *handle, unsigned *number) { return nvmlDeviceGetIndex(handle, number); }

int nvmlDeviceGetEncoderUtilization(void *handle, unsigned *percent, unsigned *period_us) {
    *period_us = 166667;
    return status(handle, no_status, percent, 0);
}

int nvmlDeviceGetDecoderUtilization(void *handle, unsigned *percent, unsigned *period_us) {
    return nvmlDeviceGetEncoderUtilization(handle, percent, period_us);
}

int nvmlDeviceGetPcieThroughput(void *handle, int counter, unsigned *kilobytes) {
    (void)counter;
    return status(handle, no_status, kilobytes, 1000);
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    long gpu;
    *major = 9;
    *minor = 0;
    return begin(handle, &gpu);
}

/* MIG. */

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    long gpu;
    int result = begin_or(handle, &gpu, hang_status, no_mig_mode);
    if (result == SUCCESS) *current = *pending = get(mig, gpu) != 0;
    return result;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    *count = MAX_SLICES;
    return status(handle, no_mig_mode, count, MAX_SLICES);
}

int nvmlDeviceIsMigDeviceHandle(void *handle, unsigned *is_slice) {
    long gpu;
    *is_slice = slice_of(handle) >= 0;
    return begin(handle, &gpu);
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **slice) {
    long gpu;
    int result = begin(handle, &gpu);
    if (result != SUCCESS) return result;
    if (index >= MAX_SLICES) return INVALID_ARGUMENT;
    *slice = handle_of(gpu, (long)index + 1);
    return (long)index < get(mig, gpu) ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *id) {
    long gpu;
    *id = 7 + (unsigned)slice_of(handle); /* real ones do not start at 0 either */
    return slice_of(handle) >= 0 ? begin(handle, &gpu) : NOT_SUPPORTED;
}

int nvmlDeviceGetComputeInstanceId(void *handle, unsigned *id) {
    long gpu;
    *id = 0;
    return slice_of(handle) >= 0 ? begin(handle, &gpu) : NOT_SUPPORTED;
}

/* Processes: number i holds i + 1 GiB and uses 10 × (i + 1) % of the SMs, five more and five less in turn. */

static uint32_t pid_of(long gpu, long number) {
    return (uint32_t)((get(first_pid, gpu) ? get(first_pid, gpu) : 4000 + 100 * gpu) + number);
}

static int running(void *handle, int denial, int how_many, unsigned *count, process_info *out) {
    long gpu, there;
    int result = begin_or(handle, &gpu, hang_status, denial);
    if (result != SUCCESS) return result;
    there = get(how_many, gpu);
    if (there > (long)*count) {
        *count = (unsigned)there;
        return INSUFFICIENT_SIZE;
    }
    for (long i = 0; i < there; i++)
        out[i] = (process_info){pid_of(gpu, i), (uint64_t)(i + 1) << 30, UINT32_MAX, UINT32_MAX};
    *count = (unsigned)there;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_info *out) {
    return running(handle, no_compute_processes, processes, count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, process_info *out) {
    return running(handle, no_graphics_processes, graphics, count, out);
}

int nvmlDeviceGetProcessUtilization(void *handle, process_sample *out, unsigned *count, unsigned long long last_seen) {
    long gpu;
    unsigned found = 0, room = *count;
    int result = begin_or(handle, &gpu, hang_status, no_process_utilization);
    if (result != SUCCESS) return result;
    int64_t newest = now_us() / PROCESS_SAMPLE_US;
    for (int64_t tick = newest - KEPT_PROCESS_US / PROCESS_SAMPLE_US; tick <= newest; tick++)
        for (long i = 0; i < get(processes, gpu); i++) {
            uint64_t stamp = (uint64_t)(tick * PROCESS_SAMPLE_US + get(stamp_offset_us, gpu));
            uint32_t percent = 10 * (uint32_t)(i + 1) + (tick & 1 ? 5 : -5);
            if (stamp <= last_seen) continue;
            if (out && found < room) out[found] = (process_sample){pid_of(gpu, i), stamp, percent, 1, 0, 0};
            found++;
        }
    *count = found;
    if (!found) return NOT_FOUND;
    return !out || found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
