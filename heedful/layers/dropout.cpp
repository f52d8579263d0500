// The loop of dropout.py: y = [x +] what dropout leaves of z, in one pass.

#include <algorithm>
#include <cstdint>

#include "threads.hpp"

namespace {

constexpr heedful::Size kBlock = 16 * 1024;

// A function of its own, so that it is compiled once, and well.
template <bool Add>
[[gnu::noinline]] void drop(const float* x, const float* z, const std::uint8_t* draws, std::int32_t dropped, float kept,
                            float* y, heedful::Size count) {
#pragma omp simd
  for (heedful::Size i = 0; i < count; ++i) {
    const float left = draws[i] < dropped ? 0.0f : z[i] * kept;
    y[i] = Add ? x[i] + left : left;
  }
}

}  // namespace

// Numbers whose random byte is below `dropped` fall away, the others grow by `kept`; x may be null.
extern "C" void drop(const float* x, const float* z, const std::uint8_t* draws, std::int32_t dropped, float kept,
                     float* y, std::int64_t count, std::int64_t threads) {
  using heedful::Size;
  heedful::share((count + kBlock - 1) / kBlock, threads, [=](Size task) {
    const Size first = task * kBlock, here = std::min(kBlock, count - first);
    if (x != nullptr)
      drop<true>(x + first, z + first, draws + first, dropped, kept, y + first, here);
    else
      drop<false>(nullptr, z + first, draws + first, dropped, kept, y + first, here);
  });
}
