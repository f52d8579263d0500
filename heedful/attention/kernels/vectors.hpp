// Numbers side by side, as many as a register holds, and what is done with them.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace heedful {

using Size = std::int64_t;

// N numbers at once, wherever they lie; the compiler makes of them what the processor has.
template <Size N>
struct Numbers {
  typedef float Vector __attribute__((vector_size(4 * N), aligned(4), may_alias));
  typedef std::int32_t Integers __attribute__((vector_size(4 * N), aligned(4), may_alias));
  typedef std::uint16_t Halves __attribute__((vector_size(2 * N), aligned(2), may_alias));
};

// As many as fit into a register, or into two of the oldest.
#if defined(__AVX512F__)
constexpr Size kLanes = 16;
#else
constexpr Size kLanes = 8;
#endif

using Vector = Numbers<kLanes>::Vector;
using Integers = Numbers<kLanes>::Integers;
using Halves = Numbers<kLanes>::Halves;

inline Vector& at(float* x) { return *reinterpret_cast<Vector*>(x); }
inline const Vector& at(const float* x) { return *reinterpret_cast<const Vector*>(x); }

inline Size padded(Size length) { return (length + kLanes - 1) / kLanes * kLanes; }

// The upper half of a float, as bfloat16 lies in memory.
enum class BFloat16 : std::uint16_t {};

inline float widen(float x) { return x; }

inline float widen(BFloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// To the nearest, of two as near to the even one; NaN stays NaN.
template <typename To>
inline To narrow(float x) {
  if constexpr (std::is_same_v<To, float>) {
    return x;
  } else {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const std::uint32_t nearest = bits + 0x7fff + (bits >> 16 & 1);
    return static_cast<To>((x == x ? nearest : bits | 0x400000) >> 16);
  }
}

inline Vector read(const float* x) { return at(x); }

inline Vector read(const BFloat16* x) {
  const auto bits = *reinterpret_cast<const Halves*>(x);
  const auto wide = __builtin_convertvector(bits, Integers) << 16;
  return reinterpret_cast<const Vector&>(wide);
}

inline void write(float* to, Vector x) { at(to) = x; }

inline void write(BFloat16* to, Vector x) {
#if defined(__AVX512BF16__)
  const auto nearest = _mm512_cvtneps_pbh(__m512(x));  // and zero for the least of numbers
  std::memcpy(to, &nearest, sizeof nearest);
#else
  const Integers bits = reinterpret_cast<const Integers&>(x);
  const Integers nearest = bits + 0x7fff + (bits >> 16 & 1);
  *reinterpret_cast<Halves*>(to) = __builtin_convertvector((x == x ? nearest : bits | 0x400000) >> 16, Halves);
#endif
}

// e^x to some units in the last place, for x from -87 to 88 and as at these ends beyond; NaN stays NaN:
// e^x = 2^n e^r with |r| <= ln 2 / 2, and a polynomial for e^r (Cephes, expf).
inline Vector exponential(Vector x) {
  const Vector low = -87.0f - Vector{}, high = 88.0f - Vector{};
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding and taking away 1.5 * 2^23 rounds to an integer.
  const Vector n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector y = 1.9875691500e-4f - Vector{};
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
  Vector two;
  std::memcpy(&two, &power, sizeof two);
  return y * two;
}

// To some 1e-7, near zero too: what is tiny is not exact to its own last places.
inline Vector hyperbolic_tangent(Vector x) { return 1 - 2 / (1 + exponential(2 * x)); }

// What is made of a vector half by half; the compiler would take it apart number by number.
template <Size N, typename Together>
inline float halved(typename Numbers<N>::Vector x, const Together& together) {
  if constexpr (N == 1) {
    return x[0];
  } else {
    typename Numbers<N / 2>::Vector halves[2];
    std::memcpy(halves, &x, sizeof x);
    return halved<N / 2>(together(halves[0], halves[1]), together);
  }
}

inline float total(Vector x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(__m512(x));
#else
  return halved<kLanes>(x, [](auto a, auto b) { return a + b; });
#endif
}

inline float largest_of(Vector x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(__m512(x));
#else
  return halved<kLanes>(x, [](auto a, auto b) { return a > b ? a : b; });
#endif
}

}  // namespace heedful
