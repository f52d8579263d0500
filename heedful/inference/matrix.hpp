// Products of rows with a fixed matrix, y = x W^T, on one thread. W is packed once, as trained weights stay what they
// are: panels of kPanel outputs, and in a panel the weights of one input beside each other for all its outputs.
//
// float32: a tile of rows times a panel keeps its sums in registers and goes once through all inputs (the inner kernel
// of Goto and van de Geijn, 2008, doi:10.1145/1356052.1356053, without its packing of x, which rows this short do not
// repay). Every product is a float32 product; only the order of summation differs from another library's.
//
// int8: w = s q with an s for each output and |q| <= 127; x = t (u - zero) with t and zero for each row and
// 0 <= u <= kLevels. Sums are whole numbers and exact: y = s t (sum of q u - zero x sum of q).
// Where the processor has no instruction for four such products, it sums in 16 bits first. There `pack` makes s so
// large that no sum of 16 bits overflows, whatever the inputs are; this costs less than a bit, as no sum has only
// weights that are both large and of one sign.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace heedful {

using Size = std::int64_t;

enum class Precision : Size { float32 = 0, int8 = 1 };

namespace matrix_products {

// Sums stay in registers only where the compiler sees every index; GCC does not without a word.
#define HEEDFUL_UNROLL _Pragma("GCC unroll 64")

// The width of a register, and how many of its registers may hold sums: some are left for weights and inputs.
#if defined(__AVX512F__)
constexpr Size kBytes = 64, kSums = 28;
#elif defined(__AVX2__)
constexpr Size kBytes = 32, kSums = 12;
#elif defined(__aarch64__)
constexpr Size kBytes = 16, kSums = 24;
#else
constexpr Size kBytes = 16, kSums = 12;
#endif
constexpr Size kLanes = kBytes / 4;

using Floats = float __attribute__((vector_size(kBytes)));
using Ints = std::int32_t __attribute__((vector_size(kBytes)));

}  // namespace matrix_products

// Outputs in a panel.
constexpr Size kPanel = matrix_products::kBytes == 64 ? 32 : 16;

// A view of packed bytes, aligned to 64.
struct Matrix {
  const std::byte* data;
  Size outs, ins;
  Precision precision;
};

// Rows made ready for products with matrices of one precision.
struct Input {
  const float* x;
  Size rows, stride, ins;
  const std::byte* quantised;
};

// y = [y +] relu?(x W^T + bias), with a bias (outs) for the whole matrix.
struct Epilogue {
  const float* bias = nullptr;
  bool relu = false;
  bool add = false;
};

namespace matrix_products {

// Rows that go by while the weights of a panel stay near: their inputs fit into a part of the second cache.
constexpr Size kBlockBytes = 256 * 1024;

constexpr Size kVectors = kPanel / kLanes;

// The most rows of a tile in float32 and in int8.
constexpr Size kRows = kSums / kVectors;
constexpr Size kIntRows = kBytes == 64 ? 8 : kRows < 4 ? kRows : 4;

// Inputs of one step for whole numbers, their largest u (even: with as many above zero as below, the largest of either
// sign are exact), and what weights' q of one sign may sum to where that is done in 16 bits.
constexpr Size kStep = 8;
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
constexpr Size kLevels = 190, kShortSum = 32767 / kLevels;
#else
constexpr Size kLevels = 254, kShortSum = 4 * 127;
#endif

constexpr Size round_up(Size n, Size unit) { return (n + unit - 1) / unit * unit; }

template <typename T>
inline T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
inline void store(void* to, const T& value) {
  std::memcpy(to, &value, sizeof value);
}

// sums + u q for the four u in each of a and b, and the four q in each number of v and w.
inline Ints add_products(Ints sums, std::int32_t a, Ints v, std::int32_t b, Ints w) {
#if defined(__AVX512VNNI__)
  const __m512i some = _mm512_dpbusd_epi32(__m512i(sums), _mm512_set1_epi32(a), __m512i(v));
  return Ints(_mm512_dpbusd_epi32(some, _mm512_set1_epi32(b), __m512i(w)));
#elif defined(__AVX512F__)
  const __m512i some = _mm512_maddubs_epi16(_mm512_set1_epi32(a), __m512i(v));
  const __m512i all = _mm512_add_epi16(some, _mm512_maddubs_epi16(_mm512_set1_epi32(b), __m512i(w)));
  return sums + Ints(_mm512_madd_epi16(all, _mm512_set1_epi16(1)));
#elif defined(__AVXVNNI__)
  const __m256i some = _mm256_dpbusd_avx_epi32(__m256i(sums), _mm256_set1_epi32(a), __m256i(v));
  return Ints(_mm256_dpbusd_avx_epi32(some, _mm256_set1_epi32(b), __m256i(w)));
#elif defined(__AVX2__)
  const __m256i some = _mm256_maddubs_epi16(_mm256_set1_epi32(a), __m256i(v));
  const __m256i all = _mm256_add_epi16(some, _mm256_maddubs_epi16(_mm256_set1_epi32(b), __m256i(w)));
  return sums + Ints(_mm256_madd_epi16(all, _mm256_set1_epi16(1)));
#else
  for (int bits = 0; bits < 32; bits += 8)
    sums += (a >> bits & 255) * (v << (24 - bits) >> 24) + (b >> bits & 255) * (w << (24 - bits) >> 24);
  return sums;
#endif
}

// Bytes of one panel. int8: scales, sums of q, q.
inline Size panel_bytes(Size ins, Precision precision) {
  return precision == Precision::float32 ? ins * kPanel * 4 : kPanel * 8 + round_up(ins, kStep) * kPanel;
}

// Quantises one output's weights, q (ins, rounded up to a step), and gives s; NaN where a weight is not finite.
inline float quantise_weights(const float* w, Size ins, std::int8_t* q) {
  const Size padded = round_up(ins, kStep);
  std::fill_n(q, padded, std::int8_t(0));
  float largest = 0, wrong = 0;
  for (Size k = 0; k < ins; ++k) {
    largest = std::max(largest, std::fabs(w[k]));
    wrong += w[k] * 0;
  }
  if (!(wrong == 0)) return std::numeric_limits<float>::quiet_NaN();
  for (Size highest = 127;;) {
    const float scale = std::max(largest / float(highest), std::numeric_limits<float>::min());
    for (Size k = 0; k < ins; ++k) q[k] = std::int8_t(std::nearbyint(w[k] / scale));
    // Of eight, those at 0, 1, 4, 5 are summed in one number of 16 bits, and those at 2, 3, 6, 7 in another.
    Size most = 0;
    for (Size k = 0; k < padded; k += k % 4 == 0 ? 2 : 6) {
      Size plus = 0, minus = 0;
      for (const Size at : {k, k + 1, k + 4, k + 5}) (q[at] > 0 ? plus : minus) += std::abs(q[at]);
      most = std::max({most, plus, minus});
    }
    if (most <= kShortSum) return scale;
    highest = std::min(highest - 1, highest * kShortSum / most);
  }
}

// Quantises one row and writes t, zero and u; a row that is not all finite gets t NaN.
[[gnu::noinline]] inline void quantise_row(const float* x, Size ins, std::byte* head, std::uint8_t* u) {
  // As whole numbers the bits of floats keep their order, of those above zero with a sign and of those below without;
  // infinity and NaN come after all others.
  std::int32_t above = 0;
  std::uint32_t below = 0x80000000;
  for (Size k = 0; k < ins; ++k) {
    above = std::max(above, load<std::int32_t>(x + k));
    below = std::max(below, load<std::uint32_t>(x + k));
  }
  if (above >= 0x7f800000 || below >= 0xff800000) {
    store(head, std::numeric_limits<float>::quiet_NaN());
    store(head + 4, std::int32_t(0));
    std::fill_n(u, round_up(ins, 64), std::uint8_t(0));
    return;
  }
  constexpr float levels = float(kLevels);
  const float most = load<float>(&above), least = load<float>(&below);
  const float scale = std::max(most / levels - least / levels, std::numeric_limits<float>::min());
  const float inverse = 1 / scale, zero = std::floor(0.5f - least * inverse);
#pragma omp simd
  for (Size k = 0; k < ins; ++k) {
    const float value = x[k] * inverse + (zero + 0.5f);
    u[k] = std::uint8_t(std::int32_t(value < levels ? value : levels));
  }
  std::fill_n(u + ins, round_up(ins, 64) - ins, std::uint8_t(0));
  store(head, scale);
  store(head + 4, std::int32_t(zero));
}

}  // namespace matrix_products

// Bytes of a matrix of `outs` rows and `ins` columns once packed, a multiple of 64.
inline Size packed_bytes(Size outs, Size ins, Precision precision) {
  return matrix_products::round_up(outs, kPanel) / kPanel * matrix_products::panel_bytes(ins, precision);
}

// Packs w (outs, ins), row by row.
inline void pack(const float* w, Size outs, Size ins, Precision precision, std::byte* to) {
  const Size padded = matrix_products::round_up(ins, matrix_products::kStep);
  const Size bytes = matrix_products::panel_bytes(ins, precision);
  std::memset(to, 0, std::size_t(packed_bytes(outs, ins, precision)));
  std::int8_t* const q = precision == Precision::int8 ? new std::int8_t[std::size_t(padded)] : nullptr;
  for (Size j = 0; j < outs; ++j) {
    std::byte* const panel = to + j / kPanel * bytes;
    const Size lane = j % kPanel;
    if (precision == Precision::float32) {
      for (Size k = 0; k < ins; ++k) matrix_products::store(panel + (k * kPanel + lane) * 4, w[j * ins + k]);
      continue;
    }
    matrix_products::store(panel + lane * 4, matrix_products::quantise_weights(w + j * ins, ins, q));
    std::int32_t sum = 0;
    for (Size k = 0; k < padded; ++k) {
      sum += q[k];
      panel[kPanel * 8 + (k / 4 * kPanel + lane) * 4 + k % 4] = std::byte(q[k]);
    }
    matrix_products::store(panel + (kPanel + lane) * 4, sum);
  }
  delete[] q;
}

// Bytes that `prepare` needs, a multiple of 64.
inline Size input_bytes(Size rows, Size ins, Precision precision) {
  if (precision == Precision::float32) return 0;
  return matrix_products::round_up(rows * 8, 64) + rows * matrix_products::round_up(ins, 64);
}

// Makes rows x (rows, ins), `stride` apart, ready for products with matrices of this precision, in scratch of
// input_bytes, aligned to 64. int8: row for row t and zero, then u. A row that is not all finite has t NaN, and so
// gives NaN everywhere.
inline Input prepare(const float* x, Size rows, Size stride, Size ins, Precision precision, std::byte* scratch) {
  if (precision == Precision::float32) return {x, rows, stride, ins, nullptr};
  std::byte* const bytes = scratch + matrix_products::round_up(rows * 8, 64);
  for (Size i = 0; i < rows; ++i)
    matrix_products::quantise_row(x + i * stride, ins, scratch + i * 8,
                         reinterpret_cast<std::uint8_t*>(bytes + i * matrix_products::round_up(ins, 64)));
  return {x, rows, stride, ins, scratch};
}

namespace matrix_products {

// What a tile reads, rows (float32: x; int8: u with its heads) and panels `panel` bytes apart, and what it writes.
struct Tile {
  const std::byte *rows, *heads, *w;
  Size ins, stride, panel;
  float* y;
  Size y_stride;
  const float* bias;
  bool relu, add;
};

// Does what is left to do with the sums of R rows and V registers, and writes them.
template <Size R, Size V>
[[gnu::always_inline]] inline void finish(const Tile& tile, Floats (&sums)[R][V]) {
  if (tile.bias != nullptr) {
    HEEDFUL_UNROLL
    for (Size v = 0; v < V; ++v) {
      const Floats bias = load<Floats>(tile.bias + v * kLanes);
      HEEDFUL_UNROLL
      for (Size i = 0; i < R; ++i) sums[i][v] += bias;
    }
  }
  if (tile.relu) {
    HEEDFUL_UNROLL
    for (Size i = 0; i < R; ++i) {
      HEEDFUL_UNROLL
      for (Size v = 0; v < V; ++v) sums[i][v] = sums[i][v] < 0 ? Floats{} : sums[i][v];  // NaN stays NaN
    }
  }
  if (tile.add) {
    HEEDFUL_UNROLL
    for (Size i = 0; i < R; ++i) {
      HEEDFUL_UNROLL
      for (Size v = 0; v < V; ++v) sums[i][v] += load<Floats>(tile.y + i * tile.y_stride + v * kLanes);
    }
  }
  HEEDFUL_UNROLL
  for (Size i = 0; i < R; ++i) {
    HEEDFUL_UNROLL
    for (Size v = 0; v < V; ++v) store(tile.y + i * tile.y_stride + v * kLanes, sums[i][v]);
  }
}

// Weights come in one long line, but it crosses pages, where the processor's own foresight ends.
inline void ahead(const std::byte* w) { __builtin_prefetch(w + 1024); }

// R rows times P panels.
template <Size R, Size P>
[[gnu::noinline]] void float_tile(const Tile& tile) {
  constexpr Size V = P * kVectors;
  const Size ins = tile.ins, stride = tile.stride, panel = tile.panel;
  const std::byte *x = tile.rows, *w = tile.w;
  Floats sums[R][V] = {};
  for (Size k = 0; k < ins; ++k, x += 4, w += kPanel * 4) {
    if constexpr (P == 1) ahead(w);
    Floats weights[V];
    HEEDFUL_UNROLL
    for (Size v = 0; v < V; ++v) weights[v] = load<Floats>(w + v / kVectors * panel + v % kVectors * kBytes);
    HEEDFUL_UNROLL
    for (Size i = 0; i < R; ++i) {
      HEEDFUL_UNROLL
      for (Size v = 0; v < V; ++v) sums[i][v] += load<float>(x + i * stride) * weights[v];
    }
  }
  finish<R, V>(tile, sums);
}

// The same in whole numbers.
template <Size R, Size P>
[[gnu::noinline]] void int_tile(const Tile& tile) {
  constexpr Size V = P * kVectors;
  const Size ins = tile.ins, stride = tile.stride, panel = tile.panel;
  const std::byte *u = tile.rows, *w = tile.w + kPanel * 8;
  Ints sums[R][V] = {};
  for (Size k = 0; k < ins; k += kStep, u += kStep, w += kStep * kPanel) {
    if constexpr (P == 1) ahead(w), ahead(w + kStep * kPanel / 2);
    Ints weights[2][V];
    HEEDFUL_UNROLL
    for (Size v = 0; v < V; ++v) {
      weights[0][v] = load<Ints>(w + v / kVectors * panel + v % kVectors * kBytes);
      weights[1][v] = load<Ints>(w + v / kVectors * panel + (kVectors + v % kVectors) * kBytes);
    }
    HEEDFUL_UNROLL
    for (Size i = 0; i < R; ++i) {
      const auto a = load<std::int32_t>(u + i * stride), b = load<std::int32_t>(u + i * stride + 4);
      HEEDFUL_UNROLL
      for (Size v = 0; v < V; ++v) sums[i][v] = add_products(sums[i][v], a, weights[0][v], b, weights[1][v]);
    }
  }
  Floats results[R][V];
  HEEDFUL_UNROLL
  for (Size v = 0; v < V; ++v) {
    const std::byte* const head = tile.w + v / kVectors * panel + v % kVectors * kBytes;
    const Floats scale = load<Floats>(head);
    const Ints sum = load<Ints>(head + kPanel * 4);
    HEEDFUL_UNROLL
    for (Size i = 0; i < R; ++i)
      results[i][v] = __builtin_convertvector(sums[i][v] - load<std::int32_t>(tile.heads + i * 8 + 4) * sum, Floats) *
                      (load<float>(tile.heads + i * 8) * scale);
  }
  finish<R, V>(tile, results);
}

using Kernel = void (*)(const Tile&);

// Panels that few rows take at once: one alone would leave most registers for sums empty, and the sums waiting.
constexpr Size together(Size rows) {
  const Size most = kSums / (rows * kVectors);
  return most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

// The kernel for so many rows and one panel, or as many as go together.
template <std::size_t... R>
inline Kernel float_kernel(Size rows, bool one, std::index_sequence<R...>) {
  static constexpr Kernel all[][2] = {{float_tile<R + 1, together(R + 1)>, float_tile<R + 1, 1>}...};
  return all[rows - 1][one];
}

template <std::size_t... R>
inline Kernel int_kernel(Size rows, bool one, std::index_sequence<R...>) {
  static constexpr Kernel all[][2] = {{int_tile<R + 1, together(R + 1)>, int_tile<R + 1, 1>}...};
  return all[rows - 1][one];
}

inline Kernel kernel(Precision precision, Size rows, bool one) {
  return precision == Precision::float32 ? float_kernel(rows, one, std::make_index_sequence<kRows>())
                                         : int_kernel(rows, one, std::make_index_sequence<kIntRows>());
}

// Runs a kernel where less than a panel is wanted: nothing beyond is read or written.
[[gnu::noinline]] inline void run_narrow(Kernel run, Tile tile, Size rows, Size width) {
  alignas(64) float y[kRows * kPanel] = {}, bias[kPanel] = {};
  float* const to = std::exchange(tile.y, y);
  const Size stride = std::exchange(tile.y_stride, kPanel);
  if (tile.add)
    for (Size i = 0; i < rows; ++i) std::copy_n(to + i * stride, width, y + i * kPanel);
  if (tile.bias != nullptr) {
    std::copy_n(tile.bias, width, bias);
    tile.bias = bias;
  }
  run(tile);
  for (Size i = 0; i < rows; ++i) std::copy_n(y + i * kPanel, width, to + i * stride);
}

}  // namespace matrix_products

// Writes the outputs first <= j < first + count of all rows to y[i * y_stride + (j - first)]. `first` is a multiple of
// kPanel; first + count is one too, or all outputs.
inline void multiply(const Input& input, const Matrix& matrix, Size first, Size count, float* y, Size y_stride,
                     const Epilogue& epilogue) {
  using namespace matrix_products;
  const bool floats = matrix.precision == Precision::float32;
  const Size tallest = floats ? kRows : kIntRows, panel = panel_bytes(matrix.ins, matrix.precision);
  const Size stride = floats ? input.stride * 4 : round_up(matrix.ins, 64);
  const std::byte* const rows = floats ? reinterpret_cast<const std::byte*>(input.x)
                                       : input.quantised + round_up(input.rows * 8, 64);
  const Size block = std::max(kBlockBytes / std::max(stride, Size(1)) / tallest, Size(1)) * tallest;
  for (Size start = 0; start < input.rows; start += block) {
    // Tiles of nearly the same height: a low one does not pay.
    const Size height = std::min(block, input.rows - start), tiles = (height + tallest - 1) / tallest;
    const Size low = height / tiles, higher = height % tiles;
    for (Size j = 0; j < count;) {
      const Size at_once = tiles == 1 && together(low) * kPanel <= count - j ? together(low) : 1;
      Tile tile;
      tile.rows = rows + start * stride;
      tile.heads = input.quantised + start * 8;
      tile.w = matrix.data + (first + j) / kPanel * panel;
      tile.ins = floats ? matrix.ins : round_up(matrix.ins, kStep);
      tile.stride = stride;
      tile.panel = panel;
      tile.y = y + start * y_stride + j;
      tile.y_stride = y_stride;
      tile.bias = epilogue.bias == nullptr ? nullptr : epilogue.bias + first + j;
      tile.relu = epilogue.relu;
      tile.add = epilogue.add;
      for (Size t = 0; t < tiles; ++t) {
        const Size here = low + (t < higher);
        const Kernel run = kernel(matrix.precision, here, at_once == 1);
        if (count - j < kPanel)
          run_narrow(run, tile, here, count - j);
        else
          run(tile);
        tile.rows += here * stride;
        tile.heads += here * 8;
        tile.y += here * y_stride;
      }
      j += at_once * kPanel;
    }
  }
}

}  // namespace heedful

#undef HEEDFUL_UNROLL
