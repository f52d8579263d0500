// Numbers side by side, as many as a register holds, and what is done with them.

#pragma once

#include <cstdint>
#include <cstring>
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
};

// e^x to some units in the last place, for x from -87 to 88 and as at these ends beyond; NaN stays NaN:
// e^x = 2^n e^r with |r| <= ln 2 / 2, and a polynomial for e^r (Cephes, expf).
template <Size N>
inline typename Numbers<N>::Vector exponential(typename Numbers<N>::Vector x) {
  using Vector = typename Numbers<N>::Vector;
  using Integers = typename Numbers<N>::Integers;
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

// Sum and largest of a vector, half by half; the compiler would take it apart number by number.
template <Size N>
inline float total(typename Numbers<N>::Vector x) {
  if constexpr (N == 1) {
    return x[0];
  } else {
    typename Numbers<N / 2>::Vector halves[2];
    std::memcpy(halves, &x, sizeof x);
    return total<N / 2>(halves[0] + halves[1]);
  }
}

template <Size N>
inline float largest(typename Numbers<N>::Vector x) {
  if constexpr (N == 1) {
    return x[0];
  } else {
    typename Numbers<N / 2>::Vector halves[2];
    std::memcpy(halves, &x, sizeof x);
    return largest<N / 2>(halves[0] > halves[1] ? halves[0] : halves[1]);
  }
}

#if defined(__AVX512F__)
template <>
inline float total<16>(Numbers<16>::Vector x) {
  return _mm512_reduce_add_ps(__m512(x));
}

template <>
inline float largest<16>(Numbers<16>::Vector x) {
  return _mm512_reduce_max_ps(__m512(x));
}
#endif

}  // namespace heedful
