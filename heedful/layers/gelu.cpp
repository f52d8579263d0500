// The loops of gelu.py: y = GELU(x) by its approximation, or a gradient times the slope of that.

#include <algorithm>
#include <cstdint>

#include "gelu.hpp"
#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

constexpr Size kBlock = 16 * 1024;

// A function of its own, so that it is compiled once, and well.
template <bool Slope, typename Number>
[[gnu::noinline]] void run(const Number* x, const Number* upstream, Number* y, Size count) {
  const auto one = [](const Number* x, const Number* upstream, Number* y) {
    write(y, Slope ? read(upstream) * gelu_tanh_slope(read(x)) : gelu_tanh(read(x)));
  };
  const Size whole = count / kLanes * kLanes;
  for (Size i = 0; i < whole; i += kLanes) one(x + i, upstream + i, y + i);
  if (whole < count) {
    Number some[3][kLanes] = {};
    std::copy(x + whole, x + count, some[0]);
    if (Slope) std::copy(upstream + whole, upstream + count, some[1]);
    one(some[0], some[1], some[2]);
    std::copy_n(some[2], count - whole, y + whole);
  }
}

template <bool Slope, typename Number>
void run_all(const void* x, const void* upstream, void* y, Size count, Size threads) {
  share((count + kBlock - 1) / kBlock, threads, [=](Size task) {
    const Size first = task * kBlock;
    const Number* const from = static_cast<const Number*>(x) + first;
    run<Slope>(from, Slope ? static_cast<const Number*>(upstream) + first : from, static_cast<Number*>(y) + first,
               std::min(kBlock, count - first));
  });
}

}  // namespace
}  // namespace heedful

// y = GELU(x), or upstream times its slope at x where that is not null; all of bfloat16 or float32.
extern "C" void gelu(const void* x, const void* upstream, void* y, std::int64_t count, bool bfloat16,
                     std::int64_t threads) {
  using namespace heedful;
  const auto of = upstream ? (bfloat16 ? run_all<true, BFloat16> : run_all<true, float>)
                           : (bfloat16 ? run_all<false, BFloat16> : run_all<false, float>);
  of(x, upstream, y, count, threads);
}
