// GELU of numbers side by side, and the slope of its approximation.

#pragma once

#include "vectors.hpp"

namespace heedful {

// x Phi(x) = x / 2 (1 + erf(x / sqrt 2)), with erf of Abramowitz and Stegun 7.1.26 (to 1.5e-7).
inline Vector gelu(Vector x) {
  const Vector z = x * 0.70710678f, size = z < 0 ? -z : z;
  const Vector t = 1 / (1 + 0.3275911f * size);
  const Vector series = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  const Vector e = 1 - series * exponential(-size * size);
  return x * 0.5f * (1 + (z < 0 ? -e : e));
}

// Of its approximation x / 2 (1 + tanh u) = x / (1 + e^-2u): e^-2u, with u = sqrt(2 / pi) (x + 0.044715 x^3).
inline Vector gelu_tanh_power(Vector x) { return exponential(-1.59576912f * (x + 0.044715f * x * x * x)); }

inline Vector gelu_tanh(Vector x) { return x / (1 + gelu_tanh_power(x)); }

inline Vector gelu_tanh_slope(Vector x) {
  const Vector power = gelu_tanh_power(x), share = 1 / (1 + power);
  // Beyond these the slope is 0 or 1, and the cube might be too large for a number.
  const Vector low = -20.0f - Vector{}, high = 20.0f - Vector{};
  x = x < low ? low : x;
  x = x > high ? high : x;
  return share + share * (share * power) * 1.59576912f * (x + 0.134145f * x * x * x);
}

}  // namespace heedful
