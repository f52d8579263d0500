// The parts of a Transformer's layers, on one thread: products with packed weights (matrix.hpp), norms, activations,
// embeddings, and attention of one query to keys that lie beside each other, or anywhere. All else is contiguous floats.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>

#include "gelu.hpp"
#include "matrix.hpp"
#include "vectors.hpp"

namespace heedful::lean {
namespace {

// What layout.py fills in, field by field.

struct Projection {
  const std::byte* packed;
  const float* bias;  // (outs,) or null
  Size outs, ins;
};

struct Norm {
  const float* weight;
  const float* bias;  // null for RMSNorm
};

struct Layer {
  Projection self_in, self_out, cross_query, cross_memory, cross_out, inner, outer;
  Norm self_norm, cross_norm, feed_forward_norm;
};

enum class Activation : Size { relu, gelu, swiglu, gelu_tanh };

struct Stack {
  const Layer* layers;
  Size count, d_model, heads, kv_heads, d_head, d_ff, pre;
  Activation activation;
  Norm last;            // of pre-norm
  const float* nearby;  // relative positions: (heads, 2 reach - 1), at key - query + reach - 1; or null
  Size reach;
  const float* turns;   // rotary positions: (length, d_head), cosine and sine of each pair; or null
};

struct Embedding {
  const float* table;      // (vocabulary, d_model)
  const float* positions;  // (length, d_model) or null
  float scale;
};

Vector all(float x) { return x - Vector{}; }

// Numbers that stay in place from call to call, one set for each thread.
template <typename T>
class Buffer {
 public:
  T* get(Size count) {
    if (count > size_) {
      release();
      numbers_ = static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t{64}));
      size_ = count;
    }
    return numbers_;
  }
  ~Buffer() { release(); }

 private:
  void release() {
    if (numbers_) ::operator delete(numbers_, std::align_val_t{64});
    numbers_ = nullptr;
    size_ = 0;
  }
  T* numbers_ = nullptr;
  Size size_ = 0;
};

struct Buffers {
  Buffer<float> x, normed, projected, attended, inner, keys, scores, logits;
  Buffer<std::byte> input;
  Buffer<const float*> past;
};
thread_local Buffers buffers;

// Rows that are multiplied at once: what is written between two products then stays in the second cache.
constexpr Size kRows = 128;

// y = [y +] x W^T + b
void project(const Projection& p, Precision precision, const float* x, Size rows, float* y, bool relu = false,
             bool add = false) {
  const Matrix matrix{p.packed, p.outs, p.ins, precision};
  for (Size first = 0; first < rows; first += kRows) {
    const Size count = std::min(kRows, rows - first);
    std::byte* scratch = buffers.input.get(input_bytes(count, p.ins, precision));
    const Input input = prepare(x + first * p.ins, count, p.ins, p.ins, precision, scratch);
    Epilogue epilogue;
    epilogue.bias = p.bias;
    epilogue.relu = relu;
    epilogue.add = add;
    multiply(input, matrix, 0, p.outs, y + first * p.outs, p.outs, epilogue);
  }
}

// Layer normalisation, or RMSNorm where there is no bias; x and y may be the same.
[[gnu::noinline]] void normalise(const Norm& norm, float epsilon, const float* x, Size rows, Size width, float* y) {
  for (Size i = 0; i < rows; ++i, x += width, y += width) {
    float mean = 0, square = 0;
    if (norm.bias) {
#pragma omp simd reduction(+ : mean)
      for (Size d = 0; d < width; ++d) mean += x[d];
      mean /= width;
    }
#pragma omp simd reduction(+ : square)
    for (Size d = 0; d < width; ++d) square += (x[d] - mean) * (x[d] - mean);
    const float scale = 1 / std::sqrt(square / width + epsilon);
    if (norm.bias) {
#pragma omp simd
      for (Size d = 0; d < width; ++d) y[d] = (x[d] - mean) * scale * norm.weight[d] + norm.bias[d];
    } else {
#pragma omp simd
      for (Size d = 0; d < width; ++d) y[d] = x[d] * scale * norm.weight[d];
    }
  }
}

// x = GELU(x), by either formula.
template <Vector (*Of)(Vector)>
[[gnu::noinline]] void activate(float* x, Size count) {
  for (Size i = 0; i < count; i += kLanes) {
    float some[kLanes] = {};
    const Size here = std::min(kLanes, count - i);
    std::copy_n(x + i, here, some);
    at(some) = Of(at(some));
    std::copy_n(some, here, x + i);
  }
}

// x = SiLU(gate) up for rows of gate and up beside each other, written close together from the beginning of x.
[[gnu::noinline]] void gate(float* x, Size rows, Size width) {
  for (Size i = 0; i < rows; ++i)
    for (Size d = 0; d < width; d += kLanes) {
      float gates[kLanes] = {}, ups[kLanes] = {};
      const Size here = std::min(kLanes, width - d);
      std::copy_n(x + 2 * i * width + d, here, gates);
      std::copy_n(x + (2 * i + 1) * width + d, here, ups);
      at(ups) = at(gates) / (1 + exponential(-at(gates))) * at(ups);
      std::copy_n(ups, here, x + i * width + d);
    }
}

void feed_forward(const Stack& stack, const Layer& layer, Precision precision, const float* h, Size rows, float* x) {
  const Size width = layer.inner.outs;
  for (Size first = 0; first < rows; first += kRows) {
    const Size count = std::min(kRows, rows - first);
    float* inner = buffers.inner.get(count * width);
    project(layer.inner, precision, h + first * stack.d_model, count, inner, stack.activation == Activation::relu);
    if (stack.activation == Activation::gelu) activate<gelu>(inner, count * width);
    if (stack.activation == Activation::gelu_tanh) activate<gelu_tanh>(inner, count * width);
    if (stack.activation == Activation::swiglu) gate(inner, count, stack.d_ff);
    project(layer.outer, precision, inner, count, x + first * stack.d_model, false, true);
  }
}

// Turns each pair of coordinates of all heads.
void turn(const float* turns, float* x, Size heads, Size d_head) {
  for (Size h = 0; h < heads; ++h, x += d_head)
    for (Size d = 0; d < d_head; d += 2) {
      const float a = x[d], b = x[d + 1], cosine = turns[d], sine = turns[d + 1];
      x[d] = a * cosine - b * sine;
      x[d + 1] = a * sine + b * cosine;
    }
}

// Softmax of scores[0, length), in place; gives what they have to be divided by: 1 if there are none, so that a query
// that sees nothing gets zeros.
float softmax(float* scores, Size length) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (Size j = 0; j < length; ++j) largest = std::max(largest, scores[j]);
  for (Size j = length; j < padded(length); ++j) scores[j] = -std::numeric_limits<float>::infinity();
  Vector sum{};
  for (Size j = 0; j < length; j += kLanes) {
    at(scores + j) = exponential(at(scores + j) - largest);
    sum += at(scores + j);
  }
  // The padding has e^-87 each, which is nothing beside the largest, 1.
  return length ? total(sum) : 1.0f;
}

// One query (d_head) against the keys (d_head, stride) and values (length, value_stride) of a sentence. Keys are read
// beyond the length up to a multiple of kLanes, whatever stands there.
template <Size kHead>
void attend_to_sentence(const float* query, const float* keys, Size stride, const float* values, Size value_stride,
                        Size length, Size d_head, const float* nearby, float* scores, float* out) {
  const Size width = kHead ? kHead : d_head, end = padded(length);
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  Size j = 0;
  for (; j + 2 * kLanes <= end; j += 2 * kLanes) {
    Vector first{}, second{};
    for (Size d = 0; d < width; ++d) {
      first += query[d] * at(keys + d * stride + j);
      second += query[d] * at(keys + d * stride + j + kLanes);
    }
    at(scores + j) = first * scale;
    at(scores + j + kLanes) = second * scale;
  }
  for (; j < end; j += kLanes) {
    Vector sum{};
    for (Size d = 0; d < width; ++d) sum += query[d] * at(keys + d * stride + j);
    at(scores + j) = sum * scale;
  }
  if (nearby)
    for (j = 0; j < length; ++j) scores[j] += nearby[j];
  const float share = 1 / softmax(scores, length);
  if constexpr (kHead != 0) {
    Vector sums[kHead / kLanes] = {};
    for (j = 0; j < length; ++j)
      for (Size v = 0; v < kHead / kLanes; ++v) sums[v] += scores[j] * at(values + j * value_stride + v * kLanes);
    for (Size v = 0; v < kHead / kLanes; ++v) at(out + v * kLanes) = sums[v] * share;
  } else {
    std::fill_n(out, width, 0.0f);
    for (j = 0; j < length; ++j) {
      const float weight = scores[j] * share;
#pragma omp simd
      for (Size d = 0; d < width; ++d) out[d] += weight * values[j * value_stride + d];
    }
  }
}

// One query (d_head) against keys and values that lie wherever `past` points to, `value` numbers apart.
template <Size kHead>
void attend_to_past(const float* query, const float* const* past, Size length, Size offset, Size value, Size d_head,
                    const float* nearby, float* scores, float* out) {
  const Size width = kHead ? kHead : d_head;
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  for (Size j = 0; j < length; ++j) {
    const float* key = past[j] + offset;
    float sum = 0;
    if constexpr (kHead != 0) {
      Vector sums{};
      for (Size v = 0; v < kHead; v += kLanes) sums += at(query + v) * at(key + v);
      sum = total(sums);
    } else {
#pragma omp simd reduction(+ : sum)
      for (Size d = 0; d < width; ++d) sum += query[d] * key[d];
    }
    scores[j] = sum * scale;
  }
  if (nearby)
    for (Size j = 0; j < length; ++j) scores[j] += nearby[j];
  const float share = 1 / softmax(scores, length);
  if constexpr (kHead != 0) {
    Vector sums[kHead / kLanes] = {};
    for (Size j = 0; j < length; ++j)
      for (Size v = 0; v < kHead / kLanes; ++v) sums[v] += scores[j] * at(past[j] + offset + value + v * kLanes);
    for (Size v = 0; v < kHead / kLanes; ++v) at(out + v * kLanes) = sums[v] * share;
  } else {
    std::fill_n(out, width, 0.0f);
    for (Size j = 0; j < length; ++j) {
      const float weight = scores[j] * share;
#pragma omp simd
      for (Size d = 0; d < width; ++d) out[d] += weight * past[j][offset + value + d];
    }
  }
}

// Heads of 16, 32 and 64 have loops of their own, whose sums stay in registers.
template <template <Size> class Function, typename... Arguments>
void by_head(Size d_head, Arguments... arguments) {
  switch (d_head) {
    case 16: return Function<16>::run(arguments...);
    case 32: return Function<32>::run(arguments...);
    case 64: return Function<64>::run(arguments...);
    default: return Function<0>::run(arguments...);
  }
}

// keys (kv_heads, d_head, padded length) and values (length, kv_heads, d_head) out of rows that hold both.
void lay_out(const float* rows, Size stride, Size length, Size kv_width, float* keys, float* values) {
  const Size wide = padded(length);
  for (Size j = 0; j < length; ++j) {
    for (Size d = 0; d < kv_width; ++d) keys[d * wide + j] = rows[j * stride + d];
    std::copy_n(rows + j * stride + kv_width, kv_width, values + j * kv_width);
  }
  for (Size d = 0; d < kv_width; ++d)
    for (Size j = length; j < wide; ++j) keys[d * wide + j] = 0;
}

// All heads of `rows` queries, one below the other, to one sentence.
template <Size kHead>
struct ToSentence {
  [[gnu::noinline]] static void run(const Stack* stack, const float* query, Size query_stride, Size rows,
                                    const float* keys, const float* values, Size length, bool relative, float* scores,
                                    float* out) {
    const Size d_head = stack->d_head, group = stack->heads / stack->kv_heads;
    for (Size i = 0; i < rows; ++i)
      for (Size h = 0; h < stack->heads; ++h) {
        const float* nearby =
            relative && stack->nearby ? stack->nearby + h * (2 * stack->reach - 1) + stack->reach - 1 - i : nullptr;
        attend_to_sentence<kHead>(query + i * query_stride + h * d_head, keys + h / group * d_head * padded(length),
                                  padded(length), values + h / group * d_head, stack->kv_heads * d_head, length, d_head,
                                  nearby, scores, out + (i * stack->heads + h) * d_head);
      }
  }
};

// All heads of one query to its past, itself included.
template <Size kHead>
struct ToPast {
  [[gnu::noinline]] static void run(const Stack* stack, const float* query, const float* const* past, Size length,
                                    float* scores, float* out) {
    const Size d_head = stack->d_head, group = stack->heads / stack->kv_heads;
    for (Size h = 0; h < stack->heads; ++h) {
      const float* nearby =
          stack->nearby ? stack->nearby + h * (2 * stack->reach - 1) + stack->reach - length : nullptr;
      attend_to_past<kHead>(query + h * d_head, past, length, h / group * d_head, stack->kv_heads * d_head, d_head,
                            nearby, scores, out + h * d_head);
    }
  }
};

// All heads of the last `rows` tokens of a text of `length`, each to itself and to those before it from `first` on. Keys
// are (kv_heads, d_head, stride), values (length, kv_heads, d_head).
template <Size kHead>
struct ToText {
  [[gnu::noinline]] static void run(const Stack* stack, const float* query, Size query_stride, Size rows,
                                    const float* keys, Size stride, const float* values, Size first, Size length,
                                    float* scores, float* out) {
    const Size d_head = stack->d_head, group = stack->heads / stack->kv_heads, value_stride = stack->kv_heads * d_head;
    for (Size i = 0; i < rows; ++i) {
      const Size end = length - rows + i + 1;
      for (Size h = 0; h < stack->heads; ++h) {
        const float* nearby =
            stack->nearby ? stack->nearby + h * (2 * stack->reach - 1) + stack->reach - (end - first) : nullptr;
        attend_to_sentence<kHead>(query + i * query_stride + h * d_head, keys + h / group * d_head * stride + first,
                                  stride, values + first * value_stride + h / group * d_head, value_stride, end - first,
                                  d_head, nearby, scores, out + (i * stack->heads + h) * d_head);
      }
    }
  }
};

void embed(const Embedding& embedding, Size token, Size position, Size width, float* x) {
  const float* row = embedding.table + token * width;
  const float* place = embedding.positions ? embedding.positions + position * width : nullptr;
  for (Size d = 0; d < width; ++d) x[d] = row[d] * embedding.scale + (place ? place[d] : 0.0f);
}

// What a sublayer reads: x itself, or x normalised.
const float* before(const Stack& stack, const Norm& norm, float epsilon, const float* x, Size rows) {
  if (!stack.pre) return x;
  float* normed = buffers.normed.get(rows * stack.d_model);
  normalise(norm, epsilon, x, rows, stack.d_model, normed);
  return normed;
}

void after(const Stack& stack, const Norm& norm, float epsilon, float* x, Size rows) {
  if (!stack.pre) normalise(norm, epsilon, x, rows, stack.d_model, x);
}

}  // namespace
}  // namespace heedful::lean
