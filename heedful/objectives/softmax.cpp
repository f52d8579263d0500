// The loop of softmax.py: rows of logits become probabilities where they stand, less what belongs to the reference.

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

// Rows that a thread takes at once.
constexpr Size kRows = 8;

// Exponentials stand in `room` until their sum is known, which may be x itself where nothing is rounded. Gives the logarithm
// of the sum of exponentials. A row has at least one number.
template <typename Number>
[[gnu::noinline]] float soften(Number* x, float* room, Size width, Size reference, float each) {
  const Size whole = width / kLanes * kLanes;
  float most = widen(x[0]);
  if (whole > 0) {
    Vector some[2] = {read(x), read(x)};
    for (Size j = 0; j < whole; j += kLanes) {
      Vector& one = some[j / kLanes % 2];
      const Vector here = read(x + j);
      one = here > one ? here : one;
    }
    most = largest_of(some[0] > some[1] ? some[0] : some[1]);
  }
  for (Size j = whole; j < width; ++j) most = widen(x[j]) > most ? widen(x[j]) : most;
  // Short sums of few numbers each, so that a wide row loses nothing.
  double sum = 0;
  for (Size j = 0; j < whole;) {
    Vector sums{};
    for (const Size end = std::min(whole, j + 32 * kLanes); j < end; j += kLanes) {
      const Vector power = exponential(read(x + j) - most);
      at(room + j) = power;
      sums += power;
    }
    sum += total(sums);
  }
  for (Size j = whole; j < width; ++j) sum += room[j] = std::exp(widen(x[j]) - most);
  const float share = static_cast<float>(1 / sum), left = room[reference] * share - each;
  for (Size j = 0; j < whole; j += kLanes) write(x + j, at(room + j) * share);
  for (Size j = whole; j < width; ++j) x[j] = narrow<Number>(room[j] * share);
  x[reference] = narrow<Number>(left);
  return most + static_cast<float>(std::log(sum));
}

template <typename Number>
void soften(Number* rows, const Size* references, float each, float* normaliser, Size count, Size width, Size threads) {
  share((count + kRows - 1) / kRows, threads, [=](Size task) {
    thread_local std::vector<float> room;
    if constexpr (!std::is_same_v<Number, float>) room.resize(width);
    for (Size i = task * kRows; i < std::min(count, (task + 1) * kRows); ++i) {
      Number* const row = rows + i * width;
      if constexpr (std::is_same_v<Number, float>)
        normaliser[i] = soften(row, row, width, references[i], each);
      else
        normaliser[i] = soften(row, room.data(), width, references[i], each);
    }
  });
}

}  // namespace
}  // namespace heedful

// rows (count, width), one after the other, in bfloat16 or float32; references and normaliser (count,)
extern "C" void soften(void* rows, bool bfloat16, const std::int64_t* references, float each, float* normaliser,
                       std::int64_t count, std::int64_t width, std::int64_t threads) {
  using namespace heedful;
  if (bfloat16)
    soften(static_cast<BFloat16*>(rows), references, each, normaliser, count, width, threads);
  else
    soften(static_cast<float*>(rows), references, each, normaliser, count, width, threads);
}
