// A bare CUDA-graph replay: launch, wait, and a clock, with nothing else around them.
//
//     g++ -O2 -shared -fPIC -o replay.so gpu_replay.cpp    (nvcc: -Xcompiler -fPIC)
//
// The two calls of the driver come in as addresses, so that neither CUDA's headers nor its
// libraries are needed. Writes the milliseconds of every call; returns the first error of CUDA.

#include <chrono>

extern "C" int replay(int (*launch)(void *, void *), int (*wait)(void *), void *graph,
                      void *stream, int calls, double *ms) {
  using clock = std::chrono::steady_clock;
  for (int call = 0; call < calls; ++call) {
    const auto start = clock::now();
    if (const int code = launch(graph, stream)) return code;
    if (const int code = wait(stream)) return code;
    ms[call] = std::chrono::duration<double, std::milli>(clock::now() - start).count();
  }
  return 0;
}
