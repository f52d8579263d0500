// The loop of softmax.py: rows of logits become probabilities where they stand.

#include <cmath>
#include <cstdint>

#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

// Rows that a thread takes at once.
constexpr Size kRows = 8;

// Gives the logarithm of the sum of exponentials. A row has at least one number.
[[gnu::noinline]] float soften(float* x, Size width) {
  const Size whole = width / kLanes * kLanes;
  float most = x[0];
  if (whole > 0) {
    Vector some[2] = {at(x), at(x)};
    for (Size j = 0; j < whole; j += kLanes) {
      Vector& one = some[j / kLanes % 2];
      one = at(x + j) > one ? at(x + j) : one;
    }
    most = largest_of(some[0] > some[1] ? some[0] : some[1]);
  }
  for (Size j = whole; j < width; ++j) most = x[j] > most ? x[j] : most;
  // Short sums of few numbers each, so that a wide row loses nothing.
  double sum = 0;
  for (Size j = 0; j < whole;) {
    Vector sums{};
    for (const Size end = std::min(whole, j + 32 * kLanes); j < end; j += kLanes) {
      at(x + j) = exponential(at(x + j) - most);
      sums += at(x + j);
    }
    sum += total(sums);
  }
  for (Size j = whole; j < width; ++j) sum += x[j] = std::exp(x[j] - most);
  const float share = static_cast<float>(1 / sum);
  for (Size j = 0; j < whole; j += kLanes) at(x + j) *= share;
  for (Size j = whole; j < width; ++j) x[j] *= share;
  return most + static_cast<float>(std::log(sum));
}

}  // namespace
}  // namespace heedful

// rows (count, width), one after the other; normaliser (count,)
extern "C" void soften(float* rows, float* normaliser, std::int64_t count, std::int64_t width, std::int64_t threads) {
  using namespace heedful;
  share((count + kRows - 1) / kRows, threads, [=](Size task) {
    for (Size i = task * kRows; i < std::min(count, (task + 1) * kRows); ++i)
      normaliser[i] = soften(rows + i * width, width);
  });
}
