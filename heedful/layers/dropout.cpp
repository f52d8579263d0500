// The loop of dropout.py: y = [x +] what dropout leaves of z, in one pass.

#include <algorithm>
#include <cstdint>

#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

constexpr Size kBlock = 16 * 1024;

// Numbers whose random byte is below `dropped` fall away, the others grow by `kept`.
struct Draws {
  const std::uint8_t* bytes;
  std::int32_t dropped;
  float kept;
};

// A function of its own, so that it is compiled once, and well.
template <bool Add, typename From, typename To>
[[gnu::noinline]] void drop(const To* x, const From* z, Draws draws, To* y, Size count) {
#pragma omp simd
  for (Size i = 0; i < count; ++i) {
    const float left = draws.bytes[i] < draws.dropped ? 0.0f : widen(z[i]) * draws.kept;
    y[i] = narrow<To>(Add ? widen(x[i]) + left : left);
  }
}

template <typename From, typename To>
void drop(const void* x, const void* z, Draws draws, void* y, Size count, Size threads) {
  share((count + kBlock - 1) / kBlock, threads, [=](Size task) {
    const Size first = task * kBlock, here = std::min(kBlock, count - first);
    const From* const from = static_cast<const From*>(z) + first;
    const Draws drawn{draws.bytes + first, draws.dropped, draws.kept};
    To* const to = static_cast<To*>(y) + first;
    if (x != nullptr)
      drop<true>(static_cast<const To*>(x) + first, from, drawn, to, here);
    else
      drop<false>(static_cast<const To*>(nullptr), from, drawn, to, here);
  });
}

}  // namespace
}  // namespace heedful

// z is of bfloat16 or float32, as are y and x, which may be null.
extern "C" void drop(const void* x, const void* z, bool from_bfloat16, const std::uint8_t* bytes, std::int32_t dropped,
                     float kept, void* y, bool to_bfloat16, std::int64_t count, std::int64_t threads) {
  using namespace heedful;
  const Draws draws{bytes, dropped, kept};
  const auto run = from_bfloat16 ? (to_bfloat16 ? drop<BFloat16, BFloat16> : drop<BFloat16, float>)
                                 : (to_bfloat16 ? drop<float, BFloat16> : drop<float, float>);
  run(x, z, draws, y, count, threads);
}
