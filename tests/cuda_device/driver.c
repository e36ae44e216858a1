/* A CUDA driver whose device is this machine's processor, as far as libgpuarray 0.7.6 asks for one: memory is the host's,
   kernels run instruction by instruction (ptx/), calls are counted. Tests only.

   TEST_DEVICE_DRIVER (13000), TEST_DEVICE_CAPABILITY (90), TEST_DEVICE_DEVICES (1), TEST_DEVICE_STATUS (0): its answers.
   TEST_DEVICE_PTX: a folder to which the PTX of every kernel goes. */
#include "counters.h"
#include "graphs.h"
#include "launches.h"
#include "memory.h"
#include "pinned.h"
#include "ptx/machine.h"
#include "streams.h"

typedef unsigned long long pointer;
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, NOT_READY = 600 };

static int setting(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags) { return setting("TEST_DEVICE_STATUS", 0); }
int cuDriverGetVersion(int *version) { *version = setting("TEST_DEVICE_DRIVER", 13000); return 0; }
int cuGetErrorName(int status, const char **text) { *text = "CUDA_ERROR_TEST_DEVICE"; return 0; }
int cuGetErrorString(int status, const char **text) { *text = "no CUDA-capable device is detected"; return 0; }

int cuDeviceGetCount(int *count) { *count = setting("TEST_DEVICE_DEVICES", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "test device %d", device); return 0; }
int cuDeviceGetPCIBusId(char *text, int size, int device) { snprintf(text, size, "0000:00:%02x.0", device); return 0; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  int capability = setting("TEST_DEVICE_CAPABILITY", 90);
  switch (attribute) {
  case 1: case 2: case 3: *value = 1024; break;          /* threads a block, and along x and y */
  case 4: *value = 64; break;                            /* along z */
  case 5: *value = 2147483647; break;                    /* blocks along x */
  case 6: case 7: *value = 65535; break;                 /* along y and z */
  case 8: *value = 49152; break;                         /* bytes of shared memory */
  case 10: *value = 32; break;                           /* warp */
  case 13: *value = 1980000; break;                      /* kHz */
  case 16: *value = 132; break;                          /* multiprocessors */
  case 41: *value = 1; break;                            /* unified addressing */
  case 75: *value = capability / 10; break;
  case 76: *value = capability % 10; break;
  default: fprintf(stderr, "test device: attribute %d is not known\n", attribute); abort();
  }
  return 0;
}

static char primary[1]; /* the context */
static int current;     /* its device */

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
int cuDevicePrimaryCtxSetFlags(int device, unsigned flags) { return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = primary; current = device; return 0; }
int cuDevicePrimaryCtxRelease(int device) { return 0; }
int cuCtxGetDevice(int *device) { *device = current; return 0; }
int cuCtxPushCurrent_v2(void *context) { return 0; }
int cuCtxPopCurrent_v2(void **context) { if (context) *context = primary; return 0; }

int cuMemGetInfo_v2(size_t *unused, size_t *total) {
  COUNT();
  *unused = 140ull << 30;
  *total = 143ull << 30;
  return 0;
}

int cuMemAlloc_v2(pointer *memory, size_t size) {
  COUNT();
  int refused = graphs_admit_unsafe();
  if (refused) return refused;
  device_lock();
  *memory = memory_new(size, DEVICE_MEMORY);
  device_unlock();
  return *memory ? 0 : OUT_OF_MEMORY;
}

/* Work that is under way may still need the memory. */
static int freed(pointer memory) {
  device_lock();
  device_finish();
  int known = !memory || memory_free(memory);
  device_unlock();
  if (!known) device_finding("free: %#llx is no allocation", memory);
  return known ? 0 : INVALID_VALUE;
}

int cuMemFree_v2(pointer memory) { COUNT(); return freed(memory); }

int cuMemAllocHost_v2(void **memory, size_t size) {
  COUNT();
  device_lock();
  *memory = (void *)memory_new(size, PINNED_MEMORY);
  device_unlock();
  return *memory ? 0 : OUT_OF_MEMORY;
}

int cuMemFreeHost(void *memory) { return freed((pointer)memory); }

int cuMemcpyHtoD_v2(pointer to, const void *from, size_t size) {
  COUNT();
  int refused = graphs_admit(NULL);
  if (refused) return refused;
  device_enqueue(NULL, device_copy_now("copy to device", (void *)to, from, size));
  device_synchronize(NULL);
  return 0;
}

/* Pageable memory is read at once, pinned memory when the copy's turn comes. */
int cuMemcpyHtoDAsync_v2(pointer to, const void *from, size_t size, void *stream) {
  COUNT();
  int refused = graphs_admit(stream);
  if (refused) return refused;
  device_enqueue(stream, (is_pinned(from) || graphs_capture(stream) ? device_copy : device_copy_now)("copy to device", (void *)to, from, size));
  return 0;
}

/* Returns with the bytes in pageable memory, and before in pinned memory. */
int cuMemcpyDtoHAsync_v2(void *to, pointer from, size_t size, void *stream) {
  COUNT();
  int refused = graphs_admit(stream);
  if (refused) return refused;
  device_enqueue(stream, device_copy("copy to host", to, (void *)from, size));
  if (!is_pinned(to) && !graphs_capture(stream)) device_synchronize(stream);
  return 0;
}

int cuMemcpyDtoDAsync_v2(pointer to, pointer from, size_t size, void *stream) {
  COUNT();
  int refused = graphs_admit(stream);
  if (refused) return refused;
  device_enqueue(stream, device_copy("copy", (void *)to, (void *)from, size));
  return 0;
}

int cuMemsetD8Async(pointer to, unsigned char value, size_t size, void *stream) {
  COUNT();
  int refused = graphs_admit(stream);
  if (refused) return refused;
  device_enqueue(stream, device_fill("fill", (void *)to, value, 1, size));
  return 0;
}

int cuEventCreate(struct event **event, unsigned flags) { *event = event_new(); return 0; }
int cuEventRecord(struct event *event, void *stream) { COUNT(); event_record(event, stream); return 0; }
int cuEventSynchronize(struct event *event) { COUNT(); event_wait(event); return 0; }
int cuEventQuery(struct event *event) { return event_is_done(event) ? 0 : NOT_READY; }
int cuEventDestroy_v2(struct event *event) { event_end(event); return 0; }

int cuEventElapsedTime(float *milliseconds, struct event *from, struct event *to) {
  if (!event_is_done(from) || !event_is_done(to)) return NOT_READY;
  *milliseconds = event_time(to) - event_time(from);
  return 0;
}

int cuStreamCreate(struct stream **stream, unsigned flags) { *stream = stream_new(!(flags & 1)); return 0; }
int cuStreamWaitEvent(void *stream, struct event *event, unsigned flags) { stream_wait_event(stream, event); return 0; }

int cuStreamSynchronize(void *stream) {
  COUNT();
  int refused = graphs_admit_wait(stream);
  if (!refused) device_synchronize(stream);
  return refused;
}

int cuStreamQuery(void *stream) {
  int refused = graphs_admit_wait(stream);
  return refused ? refused : stream_is_done(stream) ? 0 : NOT_READY;
}

int cuStreamDestroy_v2(void *stream) { stream_end(stream); return 0; }

int cuCtxSynchronize(void) {
  COUNT();
  int refused = graphs_admit_wait(NULL);
  if (!refused) device_finish();
  return refused;
}

/* The linker hands the PTX through; a module is its PTX. */
int cuLinkCreate(unsigned n, int *options, void **values, char **state) {
  return (*state = calloc(1, sizeof(char *))) ? 0 : OUT_OF_MEMORY;
}

int cuLinkAddData(char **state, int type, void *ptx, size_t size, const char *name, unsigned n, int *options,
                  void **values) {
  return (*state = strndup(ptx, size)) ? 0 : OUT_OF_MEMORY;
}

int cuLinkComplete(char **state, void **binary, size_t *size) {
  *binary = *state;
  *size = strlen(*state) + 1;
  return 0;
}

int cuLinkDestroy(char **state) { free(*state); free(state); return 0; }

int cuModuleLoadData(void **module, const void *image) {
  static int written;
  const char *folder = getenv("TEST_DEVICE_PTX");
  COUNT();
  if (folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%04d.ptx", folder, written++);
    FILE *file = fopen(path, "w");
    if (!file || fputs(image, file) < 0 || fclose(file)) { perror(path); abort(); }
  }
  return (*module = module_of(image)) ? 0 : OUT_OF_MEMORY;
}

int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values) {
  return cuModuleLoadData(module, image);
}

int cuModuleUnload(void *module) { module_release(module); return 0; }

int cuModuleGetFunction(void **function, void *module, const char *name) {
  return (*function = function_new(module, name)) ? 0 : NOT_FOUND;
}

int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = attribute == 0 ? 1024 : 0; return 0; }

/* Whether a device takes a launch of this size. */
static int admissible(const unsigned grid[3], const unsigned block[3], unsigned shared) {
  for (int i = 0; i < 3; i++)
    if (!grid[i] || !block[i]) return 0;
  return grid[0] <= 2147483647 && grid[1] <= 65535 && grid[2] <= 65535 && block[2] <= 64 && shared <= 49152 &&
         (unsigned long long)block[0] * block[1] * block[2] <= 1024;
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
  static int shown = -1;
  COUNT();
  if (shown < 0) shown = setting("TEST_DEVICE_TRACE", 0);
  if (shown)
    fprintf(stderr, "%s (%u %u %u) (%u %u %u)\n", ((struct function *)function)->name, gx, gy, gz, bx, by, bz);
  int refused = graphs_admit(stream);
  if (refused) return refused;
  if (extra || !admissible(grid, block, shared)) return INVALID_VALUE;
  device_lock(); /* its first launch decodes it */
  device_enqueue(stream, device_launch(function, grid, block, shared, arguments));
  device_unlock();
  return 0;
}

/* nvrtc asks for a table of the driver's own and finds it empty: its first word is its size in bytes. */
int cuGetExportTable(const void **table, const void *id) {
  static const size_t empty[] = {sizeof(size_t)};
  *table = empty;
  return 0;
}

/* libgpuarray wants these to be there. Whoever calls one needs more than this driver knows. */
#define UNKNOWN(name) \
  int name(void) { fprintf(stderr, "test device: the driver does not know " #name "\n"); abort(); }
UNKNOWN(cuMemcpyPeerAsync)
UNKNOWN(cuIpcGetMemHandle)
UNKNOWN(cuIpcOpenMemHandle)
UNKNOWN(cuIpcCloseMemHandle)
UNKNOWN(cuGetProcAddress)
UNKNOWN(cuGetProcAddress_v2)
