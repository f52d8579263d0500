// The loops of additive attention (additive.py says what they are for), with t = 1 - 2 / (1 + a b), a tanh, for every
// row, key and dimension: a (batch, rows, width) and b (batch, keys, width) are exponentials. All is contiguous.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "threads.hpp"

namespace {

using heedful::share;
using heedful::Size;

// Rows and keys of a tile of scores: its keys stay in the second cache while its rows come by.
constexpr Size kRows = 32, kKeys = 64;
// Dimensions that are done together going back: their sums fit into registers.
constexpr Size kLanes = 16;

// Functions of their own, so that they are compiled once, and well: within the task of a thread GCC gives up on vectors.

// Sum of v / (1 + x y) over the dimensions.
template <typename T>
[[gnu::noinline]] T quotients(const T* x, const T* y, const T* v, Size width) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Size d = 0; d < width; ++d) sum += v[d] / (1 + x[d] * y[d]);
  return sum;
}

// The same with one division for two dimensions, v / p + w / q = (v q + w p) / (p q), where no p q overflows.
template <typename T>
[[gnu::noinline]] T paired_quotients(const T* x, const T* y, const T* v, Size width) {
  const Size half = width / 2;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Size d = 0; d < half; ++d) {
    const T p = 1 + x[d] * y[d], q = 1 + x[half + d] * y[half + d];
    sum += (v[d] * q + v[half + d] * p) / (p * q);
  }
  return width % 2 ? sum + v[width - 1] / (1 + x[width - 1] * y[width - 1]) : sum;
}

// scores (batch, rows, keys) = sum of v t over the dimensions
template <typename T>
void forward(const T* a, const T* b, const T* v, T* scores, Size batch, Size rows, Size keys,
             Size width, Size threads) {
  const Size blocks = (rows + kRows - 1) / kRows;
  T whole = 0, largest_row = 0, largest_key = 0;
  for (Size d = 0; d < width; ++d) whole += v[d];
  for (Size i = 0; i < batch * rows * width; ++i) largest_row = std::max(largest_row, a[i]);
  for (Size i = 0; i < batch * keys * width; ++i) largest_key = std::max(largest_key, b[i]);
  const bool narrow = largest_row * largest_key < std::sqrt(std::numeric_limits<T>::max()) / 2;
  const auto sum = narrow ? paired_quotients<T> : quotients<T>;
  share(batch * blocks, threads, [=](Size task) {
    const Size item = task / blocks, first = task % blocks * kRows, last = std::min(first + kRows, rows);
    for (Size start = 0; start < keys; start += kKeys)
      for (Size i = first; i < last; ++i)
        for (Size j = start; j < std::min(start + kKeys, keys); ++j)
          scores[(item * rows + i) * keys + j] =
              whole - 2 * sum(a + (item * rows + i) * width, b + (item * keys + j) * width, v, width);
  });
}

// With g (batch, rows, keys), the gradient of the scores:
// of_rows (batch, rows, width) = sum of g (1 - t^2) over the keys, of_keys (batch, keys, width) over the rows,
// of_v (batch, width) = sum of g t over both. Here the width comes in blocks: (batch, width / 16, length, 16).
template <typename T>
void backward(const T* a, const T* b, const T* g, T* of_rows, T* of_keys, T* of_v, Size batch, Size rows,
              Size keys, Size blocks, Size threads) {
  // Blocks of dimensions share no sum: threads need neither locks nor copies, and their number changes no bit.
  share(batch * blocks, threads, [=](Size task) {
    const T* const weight = g + task / blocks * rows * keys;
    const T* const y = b + task * keys * kLanes;
    T* const to_keys = of_keys + task * keys * kLanes;
    std::fill(to_keys, to_keys + keys * kLanes, T(0));
    double total[kLanes] = {};
    for (Size i = 0; i < rows; ++i) {
      T x[kLanes], to_row[kLanes] = {}, to_v[kLanes] = {};
      std::copy_n(a + (task * rows + i) * kLanes, kLanes, x);
      for (Size j = 0; j < keys; ++j) {
        const T scale = weight[i * keys + j];
#pragma omp simd
        for (Size l = 0; l < kLanes; ++l) {
          const T t = 1 - 2 / (1 + x[l] * y[j * kLanes + l]);
          const T scaled = scale * t, slope = scale - scaled * t;
          to_v[l] += scaled;
          to_row[l] += slope;
          to_keys[j * kLanes + l] += slope;
        }
      }
      std::copy_n(to_row, kLanes, of_rows + (task * rows + i) * kLanes);
      // There are rows x keys terms, too many for one sum in single precision.
      for (Size l = 0; l < kLanes; ++l) total[l] += to_v[l];
    }
    std::copy_n(total, kLanes, of_v + task * kLanes);
  });
}

}  // namespace

// The names by which ctypes finds them.
#define HEEDFUL_ADDITIVE(T)                                                                               \
  extern "C" void forward_##T(const T* a, const T* b, const T* v, T* scores, Size batch, Size rows,       \
                              Size keys, Size width, Size threads) {                                      \
    forward(a, b, v, scores, batch, rows, keys, width, threads);                                          \
  }                                                                                                       \
  extern "C" void backward_##T(const T* a, const T* b, const T* g, T* of_rows, T* of_keys, T* of_v,       \
                               Size batch, Size rows, Size keys, Size blocks, Size threads) {             \
    backward(a, b, g, of_rows, of_keys, of_v, batch, rows, keys, blocks, threads);                        \
  }

HEEDFUL_ADDITIVE(float)
HEEDFUL_ADDITIVE(double)
