// A stand-in for NVIDIA's driver library: the calls that PyCUDA and stages/engines/cuda_memory.py
// make, on host memory, for tests on machines without a GPU. It is never installed.
//
// What is queued in a stream is done as late as CUDA allows: when something waits for it. A
// forgotten wait is thus seen as wrong data, every time. Time is simulated: one engine copies to
// the GPU, one from it, one computes, each operation takes so many milliseconds, and operations
// of different streams overlap where neither an engine nor an event forbids it.
//
// Functions named standin_* are for the tests.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

enum Result {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100,
  INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_READY = 600,
  NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901
};

enum Engine { TO_GPU, COMPUTE, FROM_GPU, NONE };
const char *const ENGINE_NAMES[] = {"to_gpu", "compute", "from_gpu", "none"};
const double COPY_MS = 1.0;
const size_t CAPACITY = 1 << 28;

struct Operation {
  Engine engine;
  double ms;
  size_t bytes;
  std::function<void(double start)> work;
  double issued = 0;
};

struct Stream {
  int number;
  std::deque<Operation> queue;
  double free_at = 0;
  bool capturing = false, invalidated = false;
  std::vector<Operation> captured;
};

struct Event {
  unsigned flags = 0;
  Stream *stream = nullptr;
  bool done = true;
  double time = 0;
};
const unsigned BLOCKING_SYNC = 1;

struct Graph { std::vector<Operation> operations; };
struct Context { int device = 0; };
struct Failure { int after, times; Result code; };

bool initialized = false;
Context primary;
thread_local std::vector<Context *> current;
int retained = 0, streams_made = 0;
std::map<uintptr_t, size_t> device_memory, host_memory;
std::set<Stream *> streams;
std::set<Event *> events;
std::set<Graph *> graphs, executables;
std::map<std::string, Failure> failures;
Stream default_stream{0};
double engine_free_at[4], host_time = 0;
std::string trace;

Result asked(const char *call) {
  auto found = failures.find(call);
  if (found == failures.end() || --found->second.after > 0) return SUCCESS;
  Result code = found->second.code;
  if (--found->second.times == 0) failures.erase(found);
  return code;
}

// Every call begins so: an error on request, and CUDA's own order of things.
#define ENTER(call) if (Result code = asked(#call)) return code
#define ENTER_IN_CONTEXT(call) \
  if (!initialized) return NOT_INITIALIZED; \
  if (current.empty()) return INVALID_CONTEXT; \
  ENTER(call)

bool within(const std::map<uintptr_t, size_t> &memory, uintptr_t address, size_t bytes) {
  auto next = memory.upper_bound(address);
  if (next == memory.begin()) return false;
  --next;
  return address + bytes <= next->first + next->second;
}

size_t used() {
  size_t sum = 0;
  for (auto &each : device_memory) sum += each.second;
  return sum;
}

void perform(Stream &stream) {
  Operation next = std::move(stream.queue.front());
  stream.queue.pop_front();
  double start = std::max(stream.free_at, next.issued);
  if (next.engine != NONE) start = std::max(start, engine_free_at[next.engine]);
  stream.free_at = start + next.ms;
  engine_free_at[next.engine] = stream.free_at;
  if (next.engine != NONE) {
    trace += std::to_string(stream.number) + " " + ENGINE_NAMES[next.engine] + " " +
             std::to_string(next.bytes) + " " + std::to_string(start) + " " +
             std::to_string(stream.free_at) + "\n";
  }
  if (next.work) next.work(stream.free_at);
}

void finish(Stream &stream) {
  while (!stream.queue.empty()) perform(stream);
  host_time = std::max(host_time, stream.free_at);
}

void finish(Event &event) {
  while (!event.done && event.stream) perform(*event.stream);
}

void finish_everything() {
  finish(default_stream);
  for (Stream *stream : streams) if (!stream->capturing) finish(*stream);
}

Stream &known(void *handle) { return handle ? *static_cast<Stream *>(handle) : default_stream; }

Result queue(void *handle, Operation operation) {
  Stream &stream = known(handle);
  if (stream.capturing) {
    stream.captured.push_back(std::move(operation));
  } else {
    operation.issued = host_time;
    stream.queue.push_back(std::move(operation));
  }
  return SUCCESS;
}

Result copy(void *stream, Engine engine, void *to, const void *from, size_t bytes) {
  uintptr_t device = reinterpret_cast<uintptr_t>(engine == TO_GPU ? to : from);
  if (!within(device_memory, device, bytes)) return INVALID_VALUE;
  return queue(stream, {engine, COPY_MS, bytes, [=](double) { std::memcpy(to, from, bytes); }});
}

// Waiting is not allowed in a stream that is being captured, and ends the capture.
bool is_capturing() {
  bool found = false;
  for (Stream *stream : streams) {
    if (stream->capturing) found = stream->invalidated = true;
  }
  return found;
}

Result take(std::map<uintptr_t, size_t> &memory, size_t bytes, void **address) {
  if (!bytes) return INVALID_VALUE;
  if (is_capturing()) return CAPTURE_UNSUPPORTED;
  if (&memory == &device_memory && used() + bytes > CAPACITY) return OUT_OF_MEMORY;
  *address = std::malloc(bytes);
  std::memset(*address, 0xA5, bytes);
  memory[reinterpret_cast<uintptr_t>(*address)] = bytes;
  return SUCCESS;
}

Result release(std::map<uintptr_t, size_t> &memory, void *address) {
  if (!memory.erase(reinterpret_cast<uintptr_t>(address))) return INVALID_VALUE;
  finish_everything();
  std::free(address);
  return SUCCESS;
}

void *pointer(uint64_t address) { return reinterpret_cast<void *>(address); }

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// ------------------------------------------------------------------ device and context

EXPORT int cuInit(unsigned) { ENTER(cuInit); initialized = true; return SUCCESS; }
EXPORT int cuDriverGetVersion(int *version) { *version = 12090; return SUCCESS; }
EXPORT int cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
EXPORT int cuDeviceGet(int *device, int ordinal) {
  *device = 0;
  return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}
EXPORT int cuDeviceGetName(char *name, int length, int) {
  std::strncpy(name, "Stand-in", length);
  return SUCCESS;
}
EXPORT int cuDeviceGetPCIBusId(char *id, int length, int) {
  std::strncpy(id, "0000:18:00.0", length);
  return SUCCESS;
}
EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = CAPACITY; return SUCCESS; }
EXPORT int cuDeviceComputeCapability(int *major, int *minor, int) {
  *major = 8, *minor = 9;
  return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int *value, int which, int) {
  *value = which == 75 ? 8 : which == 76 ? 9 : 0;  // compute capability, major and minor
  return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRetain(Context **context, int) {
  ENTER(cuDevicePrimaryCtxRetain);
  *context = &primary, ++retained;
  return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
  if (!retained) return INVALID_CONTEXT;
  --retained;
  return SUCCESS;
}
EXPORT int cuCtxPushCurrent_v2(Context *context) { current.push_back(context); return SUCCESS; }
EXPORT int cuCtxPopCurrent_v2(Context **context) {
  if (current.empty()) return INVALID_CONTEXT;
  *context = current.back();
  current.pop_back();
  return SUCCESS;
}
EXPORT int cuCtxGetDevice(int *device) { *device = 0; return current.empty() ? INVALID_CONTEXT : SUCCESS; }
EXPORT int cuCtxSynchronize() {
  ENTER_IN_CONTEXT(cuCtxSynchronize);
  if (is_capturing()) return CAPTURE_UNSUPPORTED;
  finish_everything();
  return SUCCESS;
}
EXPORT int cuGetErrorString(int code, const char **text) {
  static const std::map<int, const char *> texts = {
      {SUCCESS, "no error"}, {INVALID_VALUE, "invalid argument"}, {OUT_OF_MEMORY, "out of memory"},
      {NOT_INITIALIZED, "initialization error"}, {46, "CUDA-capable device(s) is/are busy or unavailable"},
      {NO_DEVICE, "no CUDA-capable device is detected"}, {INVALID_CONTEXT, "invalid device context"},
      {NOT_READY, "device not ready"}, {700, "an illegal memory access was encountered"},
      {NOT_SUPPORTED, "operation not supported"},
      {CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"},
      {CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"}};
  auto found = texts.find(code);
  *text = found == texts.end() ? "error" : found->second;
  return SUCCESS;
}

// ------------------------------------------------------------------ memory

EXPORT int cuMemAlloc_v2(void **address, size_t bytes) {
  ENTER_IN_CONTEXT(cuMemAlloc);
  return take(device_memory, bytes, address);
}
EXPORT int cuMemFree_v2(uint64_t address) {
  ENTER_IN_CONTEXT(cuMemFree);
  return release(device_memory, pointer(address));
}
EXPORT int cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  ENTER_IN_CONTEXT(cuMemHostAlloc);
  return take(host_memory, bytes, address);
}
EXPORT int cuMemFreeHost(void *address) {
  ENTER_IN_CONTEXT(cuMemFreeHost);
  return release(host_memory, address);
}
EXPORT int cuMemHostGetDevicePointer_v2(void **device, void *host, unsigned) {
  ENTER_IN_CONTEXT(cuMemHostGetDevicePointer);
  *device = host;
  return host_memory.count(reinterpret_cast<uintptr_t>(host)) ? SUCCESS : INVALID_VALUE;
}
EXPORT int cuMemGetInfo_v2(size_t *free, size_t *total) {
  ENTER_IN_CONTEXT(cuMemGetInfo);
  *free = CAPACITY - used(), *total = CAPACITY;
  return SUCCESS;
}
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  ENTER_IN_CONTEXT(cuMemcpyHtoDAsync);
  return copy(stream, TO_GPU, pointer(to), from, bytes);
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  ENTER_IN_CONTEXT(cuMemcpyDtoHAsync);
  return copy(stream, FROM_GPU, to, pointer(from), bytes);
}
EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  ENTER_IN_CONTEXT(cuMemcpyDtoDAsync);
  if (!within(device_memory, to, bytes)) return INVALID_VALUE;
  return copy(stream, COMPUTE, pointer(to), pointer(from), bytes);
}

// ------------------------------------------------------------------ streams and events

EXPORT int cuStreamCreate(Stream **stream, unsigned) {
  ENTER_IN_CONTEXT(cuStreamCreate);
  *stream = *streams.insert(new Stream{++streams_made}).first;
  return SUCCESS;
}
EXPORT int cuStreamDestroy_v2(Stream *stream) {
  if (!streams.erase(stream)) return INVALID_HANDLE;
  finish(*stream);
  delete stream;
  return SUCCESS;
}
EXPORT int cuStreamSynchronize(void *stream) {
  ENTER_IN_CONTEXT(cuStreamSynchronize);
  if (is_capturing()) return CAPTURE_UNSUPPORTED;
  finish(known(stream));
  return SUCCESS;
}
EXPORT int cuStreamQuery(void *stream) { return known(stream).queue.empty() ? SUCCESS : NOT_READY; }
EXPORT int cuStreamWaitEvent(void *stream, Event *event, unsigned) {
  ENTER_IN_CONTEXT(cuStreamWaitEvent);
  Stream *waiting = &known(stream);
  return queue(stream, {NONE, 0, 0, [=](double) {
    finish(*event);
    waiting->free_at = std::max(waiting->free_at, event->time);
  }});
}
EXPORT int cuEventCreate(Event **event, unsigned flags) {
  ENTER_IN_CONTEXT(cuEventCreate);
  *event = *events.insert(new Event{flags}).first;
  return SUCCESS;
}
EXPORT int cuEventDestroy_v2(Event *event) {
  if (!events.erase(event)) return INVALID_HANDLE;
  delete event;
  return SUCCESS;
}
EXPORT int cuEventRecord(Event *event, void *stream) {
  ENTER_IN_CONTEXT(cuEventRecord);
  event->stream = &known(stream), event->done = false;
  return queue(stream, {NONE, 0, 0, [=](double now) { event->done = true, event->time = now; }});
}
EXPORT int cuEventQuery(Event *event) { return event->done ? SUCCESS : NOT_READY; }
EXPORT int cuEventSynchronize(Event *event) {
  ENTER_IN_CONTEXT(cuEventSynchronize);
  trace += event->flags & BLOCKING_SYNC ? "blocked\n" : "spun\n";
  finish(*event);
  host_time = std::max(host_time, event->time);
  return SUCCESS;
}
EXPORT int cuEventElapsedTime(float *ms, Event *from, Event *to) {
  if (!from->done || !to->done) return NOT_READY;
  *ms = static_cast<float>(to->time - from->time);
  return SUCCESS;
}

// ------------------------------------------------------------------ graphs

EXPORT int cuStreamBeginCapture_v2(Stream *stream, int) {
  ENTER_IN_CONTEXT(cuStreamBeginCapture);
  if (!streams.count(stream) || stream->capturing) return INVALID_VALUE;
  stream->capturing = true, stream->invalidated = false;
  stream->captured.clear();
  return SUCCESS;
}
EXPORT int cuStreamEndCapture(Stream *stream, Graph **graph) {
  if (!stream->capturing) return INVALID_VALUE;
  stream->capturing = false;
  *graph = nullptr;
  if (stream->invalidated) return CAPTURE_INVALIDATED;
  ENTER(cuStreamEndCapture);
  *graph = *graphs.insert(new Graph{stream->captured}).first;
  return SUCCESS;
}
EXPORT int cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long) {
  ENTER_IN_CONTEXT(cuGraphInstantiateWithFlags);
  if (!graphs.count(graph)) return INVALID_VALUE;
  *executable = *executables.insert(new Graph(*graph)).first;
  return SUCCESS;
}
EXPORT int cuGraphLaunch(Graph *executable, void *stream) {
  ENTER_IN_CONTEXT(cuGraphLaunch);
  if (!executables.count(executable)) return INVALID_VALUE;
  trace += "launch of a graph of " + std::to_string(executable->operations.size()) + "\n";
  for (Operation operation : executable->operations) queue(stream, operation);
  return SUCCESS;
}
EXPORT int cuGraphDestroy(Graph *graph) {
  if (!graphs.erase(graph)) return INVALID_VALUE;
  delete graph;
  return SUCCESS;
}
EXPORT int cuGraphExecDestroy(Graph *executable) {
  if (!executables.erase(executable)) return INVALID_VALUE;
  delete executable;
  return SUCCESS;
}

// ------------------------------------------------------------------ for the tests

// Queue the computation to[i] = from[i] + 1 on so many floats, taking so many milliseconds.
EXPORT int standin_compute(void *stream, uint64_t to, uint64_t from, size_t floats, double ms) {
  return queue(stream, {COMPUTE, ms, floats * sizeof(float), [=](double) {
    auto *target = static_cast<float *>(pointer(to));
    auto *source = static_cast<float *>(pointer(from));
    for (size_t index = 0; index < floats; ++index) target[index] = source[index] + 1;
  }});
}

// Let the so-many-th call of this name from now on fail, and those after it, so many times.
EXPORT void standin_fail(const char *call, int after, int times, int code) {
  failures[call] = {after, times, static_cast<Result>(code)};
}

EXPORT int standin_live(const char *kind) {
  const std::map<std::string, size_t> counts = {
      {"device_memory", device_memory.size()}, {"host_memory", host_memory.size()},
      {"streams", streams.size()}, {"events", events.size()},
      {"graphs", graphs.size() + executables.size()}, {"contexts", retained}};
  return static_cast<int>(counts.at(kind));
}

// What was done, a line each: number of the stream, engine, bytes, start and end in ms.
EXPORT const char *standin_trace() { return trace.c_str(); }
EXPORT void standin_clear() { trace.clear(); failures.clear(); }

// ------------------------------------------------------------------ what PyCUDA also links to

#define UNSUPPORTED(call) EXPORT int call() { return NOT_SUPPORTED; }
UNSUPPORTED(cuArray3DCreate_v2) UNSUPPORTED(cuArray3DGetDescriptor_v2)
UNSUPPORTED(cuArrayCreate_v2) UNSUPPORTED(cuArrayDestroy) UNSUPPORTED(cuArrayGetDescriptor_v2)
UNSUPPORTED(cuCtxAttach) UNSUPPORTED(cuCtxCreate_v2) UNSUPPORTED(cuCtxDetach)
UNSUPPORTED(cuCtxDisablePeerAccess) UNSUPPORTED(cuCtxEnablePeerAccess)
UNSUPPORTED(cuCtxGetApiVersion) UNSUPPORTED(cuCtxGetCacheConfig) UNSUPPORTED(cuCtxGetLimit)
UNSUPPORTED(cuCtxGetSharedMemConfig) UNSUPPORTED(cuCtxSetCacheConfig) UNSUPPORTED(cuCtxSetLimit)
UNSUPPORTED(cuCtxSetSharedMemConfig) UNSUPPORTED(cuDeviceCanAccessPeer)
UNSUPPORTED(cuDeviceGetByPCIBusId) UNSUPPORTED(cuFuncGetAttribute)
UNSUPPORTED(cuFuncSetAttribute) UNSUPPORTED(cuFuncSetBlockShape) UNSUPPORTED(cuFuncSetCacheConfig)
UNSUPPORTED(cuFuncSetSharedSize) UNSUPPORTED(cuIpcCloseMemHandle) UNSUPPORTED(cuIpcGetEventHandle)
UNSUPPORTED(cuIpcGetMemHandle) UNSUPPORTED(cuIpcOpenEventHandle) UNSUPPORTED(cuIpcOpenMemHandle_v2)
UNSUPPORTED(cuLaunch) UNSUPPORTED(cuLaunchGrid) UNSUPPORTED(cuLaunchGridAsync)
UNSUPPORTED(cuLaunchKernel) UNSUPPORTED(cuLinkAddData_v2) UNSUPPORTED(cuLinkAddFile_v2)
UNSUPPORTED(cuLinkComplete) UNSUPPORTED(cuLinkCreate_v2) UNSUPPORTED(cuLinkDestroy)
UNSUPPORTED(cuMemAllocManaged) UNSUPPORTED(cuMemAllocPitch_v2) UNSUPPORTED(cuMemGetAddressRange_v2)
UNSUPPORTED(cuMemHostGetFlags)
UNSUPPORTED(cuMemHostRegister_v2) UNSUPPORTED(cuMemHostUnregister) UNSUPPORTED(cuMemcpy2DAsync_v2)
UNSUPPORTED(cuMemcpy2DUnaligned_v2) UNSUPPORTED(cuMemcpy2D_v2) UNSUPPORTED(cuMemcpy3DAsync_v2)
UNSUPPORTED(cuMemcpy3DPeer) UNSUPPORTED(cuMemcpy3DPeerAsync) UNSUPPORTED(cuMemcpy3D_v2)
UNSUPPORTED(cuMemcpyAtoA_v2) UNSUPPORTED(cuMemcpyAtoD_v2) UNSUPPORTED(cuMemcpyAtoH_v2)
UNSUPPORTED(cuMemcpyDtoA_v2) UNSUPPORTED(cuMemcpyDtoD_v2)
UNSUPPORTED(cuMemcpyDtoH_v2) UNSUPPORTED(cuMemcpyHtoA_v2) UNSUPPORTED(cuMemcpyHtoD_v2)
UNSUPPORTED(cuMemcpyPeer) UNSUPPORTED(cuMemcpyPeerAsync) UNSUPPORTED(cuMemsetD16Async)
UNSUPPORTED(cuMemsetD16_v2) UNSUPPORTED(cuMemsetD2D16Async) UNSUPPORTED(cuMemsetD2D16_v2)
UNSUPPORTED(cuMemsetD2D32Async) UNSUPPORTED(cuMemsetD2D32_v2) UNSUPPORTED(cuMemsetD2D8Async)
UNSUPPORTED(cuMemsetD2D8_v2) UNSUPPORTED(cuMemsetD32Async) UNSUPPORTED(cuMemsetD32_v2)
UNSUPPORTED(cuMemsetD8Async) UNSUPPORTED(cuMemsetD8_v2) UNSUPPORTED(cuModuleGetFunction)
UNSUPPORTED(cuModuleGetGlobal_v2) UNSUPPORTED(cuModuleGetSurfRef) UNSUPPORTED(cuModuleGetTexRef)
UNSUPPORTED(cuModuleLoad) UNSUPPORTED(cuModuleLoadData) UNSUPPORTED(cuModuleLoadDataEx)
UNSUPPORTED(cuModuleUnload) UNSUPPORTED(cuParamSetSize) UNSUPPORTED(cuParamSetTexRef)
UNSUPPORTED(cuParamSetf) UNSUPPORTED(cuParamSeti) UNSUPPORTED(cuParamSetv)
UNSUPPORTED(cuProfilerInitialize) UNSUPPORTED(cuProfilerStart) UNSUPPORTED(cuProfilerStop)
UNSUPPORTED(cuStreamAttachMemAsync) UNSUPPORTED(cuSurfRefGetArray) UNSUPPORTED(cuSurfRefSetArray)
UNSUPPORTED(cuTexRefCreate) UNSUPPORTED(cuTexRefDestroy) UNSUPPORTED(cuTexRefGetAddressMode)
UNSUPPORTED(cuTexRefGetAddress_v2) UNSUPPORTED(cuTexRefGetArray) UNSUPPORTED(cuTexRefGetFilterMode)
UNSUPPORTED(cuTexRefGetFlags) UNSUPPORTED(cuTexRefGetFormat) UNSUPPORTED(cuTexRefSetAddress2D_v3)
UNSUPPORTED(cuTexRefSetAddressMode) UNSUPPORTED(cuTexRefSetAddress_v2)
UNSUPPORTED(cuTexRefSetArray) UNSUPPORTED(cuTexRefSetFilterMode) UNSUPPORTED(cuTexRefSetFlags)
UNSUPPORTED(cuTexRefSetFormat)
