// The loops of additive_steps.py: scores = sum of v tanh(query + key) for few rows of queries, and the gradients.
//
// query (batch, rows, width), key (batch, keys, width), each float32 or bfloat16, v (width,); all is computed in float32.
// The width is a multiple of kLanes.

#include <algorithm>
#include <cstdint>

#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

// Functions of their own, so that they are compiled once, and well.
template <typename Query, typename Key>
[[gnu::noinline]] float score(const Query* query, const Key* key, const float* v, Size width) {
  Vector sum = {};
  for (Size d = 0; d < width; d += kLanes) sum += read(v + d) * hyperbolic_tangent(read(query + d) + read(key + d));
  return total(sum);
}

// Some dimensions of all pairs of an item, for g (rows, keys), the gradient of its scores.
template <typename Query, typename Key>
[[gnu::noinline]] void column(const Query* query, const Key* key, const float* v, const float* g, Query* of_query,
                              Key* of_key, float* of_v, Size rows, Size keys, Size width) {
  const Vector weight = read(v);
  Vector to_v = {};
  for (Size j = 0; j < keys; ++j) {
    const Vector k = read(key + j * width);
    Vector to_key = {};
    for (Size i = 0; i < rows; ++i) {
      const Vector t = hyperbolic_tangent(read(query + i * width) + k), scaled = g[i * keys + j] * t;
      to_v += scaled;
      to_key += g[i * keys + j] - scaled * t;
    }
    write(of_key + j * width, weight * to_key);
  }
  write(of_v, to_v);
  for (Size i = 0; i < rows; ++i) {
    const Vector q = read(query + i * width);
    Vector to_query = {};
    for (Size j = 0; j < keys; ++j) {
      const Vector t = hyperbolic_tangent(q + read(key + j * width));
      to_query += g[i * keys + j] * (1 - t * t);
    }
    write(of_query + i * width, weight * to_query);
  }
}

// The same for one row: each tanh is computed once.
template <typename Query, typename Key>
[[gnu::noinline]] void column_of_one(const Query* query, const Key* key, const float* v, const float* g, Query* of_query,
                                     Key* of_key, float* of_v, Size keys, Size width) {
  const Vector weight = read(v), q = read(query);
  Vector to_v = {}, to_query = {};
  for (Size j = 0; j < keys; ++j) {
    const Vector t = hyperbolic_tangent(q + read(key + j * width)), scaled = g[j] * t, slope = g[j] - scaled * t;
    to_v += scaled;
    to_query += slope;
    write(of_key + j * width, weight * slope);
  }
  write(of_v, to_v);
  write(of_query, weight * to_query);
}

template <typename Query, typename Key>
void forward(const Query* query, const Key* key, const float* v, float* scores, Size batch, Size rows, Size keys,
             Size width, Size threads) {
  share(batch, threads, [=](Size item) {
    for (Size i = 0; i < rows; ++i)
      for (Size j = 0; j < keys; ++j)
        scores[(item * rows + i) * keys + j] =
            score(query + (item * rows + i) * width, key + (item * keys + j) * width, v, width);
  });
}

// of_v (batch, width): what each item has to add.
template <typename Query, typename Key>
void backward(const Query* query, const Key* key, const float* v, const float* g, Query* of_query, Key* of_key,
              float* of_v, Size batch, Size rows, Size keys, Size width, Size threads) {
  share(batch, threads, [=](Size item) {
    const Size row = item * rows * width, place = item * keys * width;
    const float* const weights = g + item * rows * keys;
    for (Size d = 0; d < width; d += kLanes) {
      if (rows == 1)
        column_of_one(query + row + d, key + place + d, v + d, weights, of_query + row + d, of_key + place + d,
                      of_v + item * width + d, keys, width);
      else
        column(query + row + d, key + place + d, v + d, weights, of_query + row + d, of_key + place + d,
               of_v + item * width + d, rows, keys, width);
    }
  });
}

}  // namespace
}  // namespace heedful

// The names by which ctypes finds them: forward_, backward_, and the types of queries and keys.
using heedful::BFloat16;
using heedful::Size;

#define HEEDFUL_STEPS(NAME, QUERY, KEY)                                                                               \
  extern "C" void forward_##NAME(const QUERY* query, const KEY* key, const float* v, float* scores, Size batch,       \
                                 Size rows, Size keys, Size width, Size threads) {                                    \
    heedful::forward(query, key, v, scores, batch, rows, keys, width, threads);                                       \
  }                                                                                                                   \
  extern "C" void backward_##NAME(const QUERY* query, const KEY* key, const float* v, const float* g, QUERY* of_query, \
                                  KEY* of_key, float* of_v, Size batch, Size rows, Size keys, Size width,             \
                                  Size threads) {                                                                     \
    heedful::backward(query, key, v, g, of_query, of_key, of_v, batch, rows, keys, width, threads);                   \
  }

HEEDFUL_STEPS(float_float, float, float)
HEEDFUL_STEPS(float_bfloat16, float, BFloat16)
HEEDFUL_STEPS(bfloat16_float, BFloat16, float)
HEEDFUL_STEPS(bfloat16_bfloat16, BFloat16, BFloat16)
