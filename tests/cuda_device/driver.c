/* A CUDA driver without a device, as far as libgpuarray 0.7.6 asks for one: memory is the host's, copies copy, kernels
   are compiled, loaded, counted and not run. Tests only.

   TEST_DEVICE_DRIVER (13000), TEST_DEVICE_CAPABILITY (90), TEST_DEVICE_DEVICES (1), TEST_DEVICE_STATUS (0): its answers.
   TEST_DEVICE_PTX: a folder to which the PTX of every kernel goes. */
#include "counters.h"
#include "device.h"

typedef unsigned long long pointer;
enum { OUT_OF_MEMORY = 2, NOT_FOUND = 500 };

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
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "dry-run device %d", device); return 0; }
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
  default: fprintf(stderr, "dry run: device attribute %d is not known\n", attribute); abort();
  }
  return 0;
}

static char primary[1]; /* the context */

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
int cuDevicePrimaryCtxSetFlags(int device, unsigned flags) { return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = primary; return 0; }
int cuDevicePrimaryCtxRelease(int device) { return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
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
  void *block = aligned_alloc(512, (size + 511) / 512 * 512);
  if (!block) return OUT_OF_MEMORY;
  if (size < 1 << 26) memset(block, 0, size); /* pages of a large block are fresh, and cost nothing untouched */
  *memory = (pointer)block;
  return 0;
}

int cuMemFree_v2(pointer memory) { COUNT(); free((void *)memory); return 0; }
int cuMemAllocHost_v2(void **memory, size_t size) { COUNT(); return (*memory = calloc(1, size)) ? 0 : OUT_OF_MEMORY; }
int cuMemFreeHost(void *memory) { free(memory); return 0; }

int cuMemcpyHtoD_v2(pointer to, const void *from, size_t size) {
  COUNT();
  memcpy((void *)to, from, size);
  return 0;
}

int cuMemcpyHtoDAsync_v2(pointer to, const void *from, size_t size, void *stream) {
  COUNT();
  memcpy((void *)to, from, size);
  return 0;
}

int cuMemcpyDtoHAsync_v2(void *to, pointer from, size_t size, void *stream) {
  COUNT();
  memcpy(to, (void *)from, size);
  return 0;
}

int cuMemcpyDtoDAsync_v2(pointer to, pointer from, size_t size, void *stream) {
  COUNT();
  memmove((void *)to, (void *)from, size);
  return 0;
}

int cuMemsetD8Async(pointer to, unsigned char value, size_t size, void *stream) {
  COUNT();
  memset((void *)to, value, size);
  return 0;
}

int cuEventCreate(void **event, unsigned flags) { return (*event = malloc(1)) ? 0 : OUT_OF_MEMORY; }
int cuEventRecord(void *event, void *stream) { COUNT(); return 0; }
int cuEventSynchronize(void *event) { COUNT(); return 0; }
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuStreamCreate(void **stream, unsigned flags) { return (*stream = malloc(1)) ? 0 : OUT_OF_MEMORY; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return 0; }
int cuStreamSynchronize(void *stream) { COUNT(); return 0; }
int cuStreamDestroy_v2(void *stream) { free(stream); return 0; }

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
  return (*module = strdup(image)) ? 0 : OUT_OF_MEMORY;
}

int cuModuleLoadDataEx(void **module, const void *image, unsigned n, int *options, void **values) {
  return cuModuleLoadData(module, image);
}

int cuModuleUnload(void *module) { free(module); return 0; }

/* A function is its name, kept for good. */
int cuModuleGetFunction(void **function, void *module, const char *name) {
  char entry[512];
  snprintf(entry, sizeof entry, ".entry %s(", name);
  if (!strstr(module, entry)) return NOT_FOUND;
  return (*function = strdup(name)) ? 0 : OUT_OF_MEMORY;
}

int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = attribute == 0 ? 1024 : 0; return 0; }

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  static int shown = -1;
  COUNT();
  if (shown < 0) shown = setting("TEST_DEVICE_TRACE", 0);
  if (shown) fprintf(stderr, "%s (%u %u %u) (%u %u %u)\n", (char *)function, gx, gy, gz, bx, by, bz);
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
  int name(void) { fprintf(stderr, "dry run: the stub driver does not know " #name "\n"); abort(); }
UNKNOWN(cuMemcpyPeerAsync)
UNKNOWN(cuIpcGetMemHandle)
UNKNOWN(cuIpcOpenMemHandle)
UNKNOWN(cuIpcCloseMemHandle)
UNKNOWN(cuGetProcAddress)
UNKNOWN(cuGetProcAddress_v2)
