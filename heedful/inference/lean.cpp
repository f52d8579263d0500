// The loops of lean.py: a Transformer's encoder, one step of its decoder, and the best of its output, on one thread.
// Weights are packed (matrix.hpp); all else is contiguous and float.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "matrix.hpp"

namespace heedful::lean {
namespace {

// What lean.py fills in, field by field.

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

enum class Activation : Size { relu, gelu, swiglu };

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

struct Model {
  Embedding source, target;
  Stack encoder, decoder;
  Projection output;
  Precision precision;
  float epsilon;
};

// Sentences of a batch: keys and values of each layer, layer_stride numbers apart. Those of sentence s begin at
// starts[s]: keys as (kv_heads, d_head, padded length), then values as (length, kv_heads, d_head).
struct Memory {
  float* numbers;
  Size layer_stride;
  const Size* starts;
  const Size* lengths;
};

// What hypotheses said. Step j wrote a block (layers, rows, 2, kv_heads, d_head) of keys and values for the hypotheses
// of its time; ancestors (rows now, stride) says in which row of block j the past of a hypothesis lies. So nothing is
// copied when hypotheses are reordered.
struct Past {
  float* const* blocks;
  const Size* block_rows;
  const std::int32_t* ancestors;
  Size stride, position;
};

// Eight numbers at once, wherever they lie; the compiler makes of them what the processor has.
constexpr Size kLanes = 8;
typedef float Vector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t Integers __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

Vector all(float x) { return x - Vector{}; }
Vector& at(float* x) { return *reinterpret_cast<Vector*>(x); }
const Vector& at(const float* x) { return *reinterpret_cast<const Vector*>(x); }

Size padded(Size length) { return (length + kLanes - 1) / kLanes * kLanes; }

typedef float Half __attribute__((vector_size(2 * kLanes), aligned(4), may_alias));

// Halves at a time: the compiler would take a vector apart number by number.
float total(Vector x) {
  Half halves[2];
  std::memcpy(halves, &x, sizeof x);
  const Half sum = halves[0] + halves[1];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

float largest_of(Vector x) {
  Half halves[2];
  std::memcpy(halves, &x, sizeof x);
  const Half most = halves[0] > halves[1] ? halves[0] : halves[1];
  return std::max(std::max(most[0], most[2]), std::max(most[1], most[3]));
}

// e^x to some units in the last place: e^x = 2^n e^r with |r| <= ln 2 / 2, and a polynomial for e^r (Cephes, expf).
Vector exponential(Vector x) {
  const Vector low = all(-87.0f), high = all(88.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding and taking away 1.5 * 2^23 rounds to an integer.
  const Vector n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector y = all(1.9875691500e-4f);
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1.0f;
  const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
  return y * reinterpret_cast<const Vector&>(power);
}

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

// GELU(x) = x / 2 (1 + erf(x / sqrt 2)), with erf of Abramowitz and Stegun 7.1.26 (to 1.5e-7).
[[gnu::noinline]] void gelu(float* x, Size count) {
  for (Size i = 0; i < count; i += kLanes) {
    float some[kLanes] = {};
    const Size here = std::min(kLanes, count - i);
    std::copy_n(x + i, here, some);
    const Vector v = at(some), z = v * 0.70710678f, size = z < 0 ? -z : z;
    const Vector t = 1 / (1 + 0.3275911f * size);
    const Vector series = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    const Vector e = 1 - series * exponential(-size * size);
    at(some) = v * 0.5f * (1 + (z < 0 ? -e : e));
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
    if (stack.activation == Activation::gelu) gelu(inner, count * width);
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

// Softmax of scores[0, length), in place; gives what they have to be divided by.
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
  return total(sum);
}

// One query (d_head) against the keys (d_head, padded length) and values (length, stride) of a sentence.
template <Size kHead>
void attend_to_sentence(const float* query, const float* keys, const float* values, Size value_stride, Size length,
                        Size d_head, const float* nearby, float* scores, float* out) {
  const Size width = kHead ? kHead : d_head, stride = padded(length);
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  Size j = 0;
  for (; j + 2 * kLanes <= stride; j += 2 * kLanes) {
    Vector first{}, second{};
    for (Size d = 0; d < width; ++d) {
      first += query[d] * at(keys + d * stride + j);
      second += query[d] * at(keys + d * stride + j + kLanes);
    }
    at(scores + j) = first * scale;
    at(scores + j + kLanes) = second * scale;
  }
  for (; j < stride; j += kLanes) {
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
                                  values + h / group * d_head, stack->kv_heads * d_head, length, d_head, nearby, scores,
                                  out + (i * stack->heads + h) * d_head);
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

void encoder(const Model& model, float* x, Size rows, const Size* offsets, Size sentences) {
  const Stack& stack = model.encoder;
  const Size query_width = stack.heads * stack.d_head, kv_width = stack.kv_heads * stack.d_head;
  const Size stride = query_width + 2 * kv_width;
  for (const Layer* layer = stack.layers; layer < stack.layers + stack.count; ++layer) {
    const float* h = before(stack, layer->self_norm, model.epsilon, x, rows);
    float* projected = buffers.projected.get(rows * stride);
    project(layer->self_in, model.precision, h, rows, projected);
    float* attended = buffers.attended.get(rows * query_width);
    for (Size s = 0; s < sentences; ++s) {
      const Size first = offsets[s], length = offsets[s + 1] - first;
      float* mine = projected + first * stride;
      if (stack.turns)
        for (Size i = 0; i < length; ++i)
          turn(stack.turns + i * stack.d_head, mine + i * stride, stack.heads + stack.kv_heads, stack.d_head);
      float* keys = buffers.keys.get(kv_width * (padded(length) + length));
      float* values = keys + kv_width * padded(length);
      lay_out(mine + query_width, stride, length, kv_width, keys, values);
      by_head<ToSentence>(stack.d_head, &stack, static_cast<const float*>(mine), stride, length,
                          static_cast<const float*>(keys), static_cast<const float*>(values), length, true,
                          buffers.scores.get(padded(length)), attended + first * query_width);
    }
    project(layer->self_out, model.precision, attended, rows, x, false, true);
    after(stack, layer->self_norm, model.epsilon, x, rows);
    feed_forward(stack, *layer, model.precision, before(stack, layer->feed_forward_norm, model.epsilon, x, rows), rows, x);
    after(stack, layer->feed_forward_norm, model.epsilon, x, rows);
  }
  if (stack.pre) normalise(stack.last, model.epsilon, x, rows, stack.d_model, x);
}

void decoder(const Model& model, float* x, Size rows, const Past& past, const std::int32_t* sentence,
             const Memory& memory) {
  const Stack& stack = model.decoder;
  const Size query_width = stack.heads * stack.d_head, kv_width = stack.kv_heads * stack.d_head;
  const Size stride = query_width + 2 * kv_width, length = past.position + 1;
  for (Size number = 0; number < stack.count; ++number) {
    const Layer& layer = stack.layers[number];
    const float* h = before(stack, layer.self_norm, model.epsilon, x, rows);
    float* projected = buffers.projected.get(rows * stride);
    project(layer.self_in, model.precision, h, rows, projected);
    float* attended = buffers.attended.get(rows * query_width);
    const float** places = buffers.past.get(length);
    float* scores = buffers.scores.get(padded(length));
    float* own = past.blocks[past.position] + number * rows * 2 * kv_width;
    for (Size i = 0; i < rows; ++i) {
      float* mine = projected + i * stride;
      if (stack.turns) turn(stack.turns + past.position * stack.d_head, mine, stack.heads + stack.kv_heads, stack.d_head);
      std::copy_n(mine + query_width, 2 * kv_width, own + i * 2 * kv_width);
      const std::int32_t* rows_then = past.ancestors + i * past.stride;
      for (Size j = 0; j < past.position; ++j)
        places[j] = past.blocks[j] + (number * past.block_rows[j] + rows_then[j]) * 2 * kv_width;
      places[past.position] = own + i * 2 * kv_width;
      by_head<ToPast>(stack.d_head, &stack, static_cast<const float*>(mine), static_cast<const float* const*>(places),
                      length, scores, attended + i * query_width);
    }
    project(layer.self_out, model.precision, attended, rows, x, false, true);
    after(stack, layer.self_norm, model.epsilon, x, rows);

    h = before(stack, layer.cross_norm, model.epsilon, x, rows);
    project(layer.cross_query, model.precision, h, rows, projected);
    const float* numbers = memory.numbers + number * memory.layer_stride;
    for (Size i = 0; i < rows; ++i) {
      const Size words = memory.lengths[sentence[i]];
      const float* keys = numbers + memory.starts[sentence[i]];
      const float* values = keys + kv_width * padded(words);
      by_head<ToSentence>(stack.d_head, &stack, static_cast<const float*>(projected + i * query_width), query_width,
                          Size{1}, keys, values, words, false, buffers.scores.get(padded(words)),
                          attended + i * query_width);
    }
    project(layer.cross_out, model.precision, attended, rows, x, false, true);
    after(stack, layer.cross_norm, model.epsilon, x, rows);

    h = before(stack, layer.feed_forward_norm, model.epsilon, x, rows);
    feed_forward(stack, layer, model.precision, h, rows, x);
    after(stack, layer.feed_forward_norm, model.epsilon, x, rows);
  }
  if (stack.pre) normalise(stack.last, model.epsilon, x, rows, stack.d_model, x);
}

void advance(const Model& model, const Size* tokens, Size rows, const Past& past, const std::int32_t* sentence,
             const Memory& memory, float* x) {
  const Size width = model.decoder.d_model;
  for (Size i = 0; i < rows; ++i) embed(model.target, tokens[i], past.position, width, x + i * width);
  decoder(model, x, rows, past, sentence, memory);
}

// How many logits are looked at together to see whether one is among the best, and how many are made at once.
constexpr Size kGlance = 32, kOutputs = 512, kOutputRows = 64;

// The best of one row of logits, and the sum of all their exponentials, as they come by.
class Best {
 public:
  Best(Size count, float* value, Size* token) : count_(count), value_(value), token_(token) {}

  // `first` is the token of logits[0].
  void see(const float* logits, Size outs, Size first, const std::uint8_t* banned) {
    float glances[kOutputs / kGlance];
    float largest = -std::numeric_limits<float>::infinity();
    for (Size j = 0, g = 0; j < outs; j += kGlance, ++g) {
      glances[g] = most(logits + j, std::min(kGlance, outs - j));
      largest = std::max(largest, glances[g]);
    }
    if (largest > largest_) {
      sum_ *= std::exp(static_cast<double>(largest_) - largest);
      largest_ = largest;
    }
    sum_ += exponentials(logits, outs, largest_);
    for (Size j = 0, g = 0; j < outs; j += kGlance, ++g)
      if (wants(glances[g]))
        for (Size i = j; i < std::min(j + kGlance, outs); i += kLanes) {
          const Size here = std::min(kLanes, outs - i);
          if (!wants(most(logits + i, here))) continue;
          for (Size k = i; k < i + here; ++k)
            if (wants(logits[k]) && !banned[first + k]) insert(logits[k], first + k);
        }
  }

  // Turns the best logits into log-probabilities; a row in which a logit is not finite has nothing but NaN.
  void finish() {
    const double normaliser = largest_ + std::log(sum_);
    const bool finite = std::isfinite(normaliser);
    for (Size k = 0; k < count_; ++k) {
      const bool there = k < found_;
      if (!there) token_[k] = 0;
      value_[k] = finite ? (there ? static_cast<float>(value_[k] - normaliser) : -std::numeric_limits<float>::infinity())
                         : std::numeric_limits<float>::quiet_NaN();
    }
  }

 private:
  bool wants(float logit) const { return found_ < count_ || logit > value_[count_ - 1]; }

  static float most(const float* x, Size count) {
    Vector largest = all(-std::numeric_limits<float>::infinity());
    Size i = 0;
    for (; i + kLanes <= count; i += kLanes) largest = at(x + i) > largest ? at(x + i) : largest;
    float one = largest_of(largest);
    for (; i < count; ++i) one = x[i] > one ? x[i] : one;
    return one;
  }

  [[gnu::noinline]] static double exponentials(const float* x, Size count, float largest) {
    Vector sum{};
    Size i = 0;
    for (; i + kLanes <= count; i += kLanes) sum += exponential(at(x + i) - largest);
    double rest = total(sum);
    for (; i < count; ++i) rest += std::exp(x[i] - largest);
    return rest;
  }

  // After those that are as large: among equals the lower token comes first.
  void insert(float logit, Size token) {
    Size place = found_ < count_ ? found_++ : count_ - 1;
    for (; place > 0 && value_[place - 1] < logit; --place) {
      value_[place] = value_[place - 1];
      token_[place] = token_[place - 1];
    }
    value_[place] = logit;
    token_[place] = token;
  }

  Size count_, found_ = 0;
  float* value_;
  Size* token_;
  float largest_ = -std::numeric_limits<float>::infinity();
  double sum_ = 0;
};

void choose(const Projection& output, Precision precision, const float* x, Size rows, Size count,
            const std::uint8_t* banned, float* value, Size* token) {
  const Matrix matrix{output.packed, output.outs, output.ins, precision};
  Epilogue epilogue;
  epilogue.bias = output.bias;
  std::vector<Best> bests;
  for (Size first = 0; first < rows; first += kOutputRows) {
    const Size here = std::min(kOutputRows, rows - first);
    bests.clear();
    for (Size i = first; i < first + here; ++i) bests.emplace_back(count, value + i * count, token + i * count);
    std::byte* scratch = buffers.input.get(input_bytes(here, output.ins, precision));
    const Input input = prepare(x + first * output.ins, here, output.ins, output.ins, precision, scratch);
    float* some = buffers.logits.get(kOutputRows * kOutputs);
    for (Size start = 0; start < output.outs; start += kOutputs) {
      const Size outs = std::min(kOutputs, output.outs - start);
      multiply(input, matrix, start, outs, some, outs, epilogue);
      for (Size i = 0; i < here; ++i) bests[i].see(some + i * outs, outs, start, banned);
    }
    for (Best& each : bests) each.finish();
  }
}

// Outputs that each sentence has for itself, of which tokens they are (ids), and which of them are banned.
struct Among {
  const Projection* outputs;
  const Size* const* ids;
  const std::uint8_t* const* banned;
};

// Rows of one sentence stand beside each other.
void choose_among(const Among& among, Precision precision, const float* x, Size rows, const std::int32_t* sentence,
                  Size count, float* value, Size* token) {
  for (Size first = 0, last = 0; first < rows; first = last) {
    const Size s = sentence[first];
    while (last < rows && sentence[last] == s) ++last;
    const Projection& output = among.outputs[s];
    choose(output, precision, x + first * output.ins, last - first, count, among.banned[s], value + first * count,
           token + first * count);
    for (Size i = first * count; i < last * count; ++i) token[i] = among.ids[s][token[i]];
  }
}

}  // namespace
}  // namespace heedful::lean

using namespace heedful::lean;
using namespace heedful;

// None of these calls another: the loader would let functions of the C library with the same names go first.
extern "C" {

Size packed_size(Size outs, Size ins, Size precision) {
  return heedful::packed_bytes(outs, ins, static_cast<Precision>(precision));
}

void pack_matrix(const float* w, Size outs, Size ins, Size precision, std::byte* to) {
  heedful::pack(w, outs, ins, static_cast<Precision>(precision), to);
}

// The rows `ids` (outs) of w.
void pack_rows(const float* w, const Size* ids, Size outs, Size ins, Size precision, std::byte* to) {
  float* rows = buffers.inner.get(outs * ins);
  for (Size i = 0; i < outs; ++i) std::copy_n(w + ids[i] * ins, ins, rows + i * ins);
  heedful::pack(rows, outs, ins, static_cast<Precision>(precision), to);
}

// tokens: of all sentences, one after the other; offsets (sentences + 1)
void encode(const Model* model, const Size* tokens, const Size* offsets, Size sentences, const Memory* memory) {
  const Stack& stack = model->decoder;
  const Size rows = offsets[sentences], width = stack.d_model, kv_width = stack.kv_heads * stack.d_head;
  float* x = buffers.x.get(rows * width);
  for (Size s = 0; s < sentences; ++s)
    for (Size i = offsets[s]; i < offsets[s + 1]; ++i) embed(model->source, tokens[i], i - offsets[s], width, x + i * width);
  encoder(*model, x, rows, offsets, sentences);
  for (Size number = 0; number < stack.count; ++number) {
    float* projected = buffers.projected.get(rows * 2 * kv_width);
    project(stack.layers[number].cross_memory, model->precision, x, rows, projected);
    for (Size s = 0; s < sentences; ++s) {
      float* keys = memory->numbers + number * memory->layer_stride + memory->starts[s];
      lay_out(projected + offsets[s] * 2 * kv_width, 2 * kv_width, memory->lengths[s], kv_width, keys,
              keys + kv_width * padded(memory->lengths[s]));
    }
  }
}

// Reads a token of each hypothesis and gives its vector (rows, d_model) before the output.
void step(const Model* model, const Size* tokens, Size rows, const Past* past, const std::int32_t* sentence,
          const Memory* memory, float* x) {
  advance(*model, tokens, rows, *past, sentence, *memory, x);
}

void logits(const Model* model, const float* x, Size rows, float* y) {
  project(model->output, model->precision, x, rows, y);
}

// The `count` most probable tokens of each row, by falling log-probability (rows, count); banned (outs) are left out.
void best(const Projection* output, Size precision, const float* x, Size rows, Size count, const std::uint8_t* banned,
          float* value, Size* token) {
  choose(*output, static_cast<Precision>(precision), x, rows, count, banned, value, token);
}

// The same where each sentence has outputs of its own.
void best_among(const Among* among, Size precision, const float* x, Size rows, const std::int32_t* sentence, Size count,
                float* value, Size* token) {
  choose_among(*among, static_cast<Precision>(precision), x, rows, sentence, count, value, token);
}

// Greedy search of all sentences, in one call, so that few sentences do not wait for an interpreter at every step:
// the most probable token of each until it is `end` or the sentence has its limit. Of each sentence the tokens and their
// log-probabilities (sentences, longest), and how many there are. `among` may be null; `early` is what is banned in its
// place before the minimum length.
void greedy(const Model* model, const Among* among, const Among* early_among, const Memory* memory, Size sentences,
            Size start, Size end, const Size* limits, Size minimum, const std::uint8_t* banned,
            const std::uint8_t* early, Size longest, Size* tokens, float* terms, Size* lengths) {
  const Stack& stack = model->decoder;
  const Size width = stack.d_model, block = stack.count * 2 * stack.kv_heads * stack.d_head;
  std::vector<std::vector<float>> blocks;
  std::vector<float*> places;
  std::vector<Size> heights, last(sentences, start), said(sentences);
  std::vector<std::int32_t> sentence(sentences), ancestors(sentences * longest), before;
  std::vector<float> x(sentences * width), value(sentences);
  for (Size s = 0; s < sentences; ++s) sentence[s] = static_cast<std::int32_t>(s);
  for (Size position = 0, rows = sentences; rows > 0; ++position) {
    blocks.emplace_back(rows * block);
    places.push_back(blocks.back().data());
    heights.push_back(rows);
    const Past past{places.data(), heights.data(), ancestors.data(), longest, position};
    advance(*model, last.data(), rows, past, sentence.data(), *memory, x.data());
    const bool too_short = position + 1 < minimum;
    if (among)
      choose_among(too_short ? *early_among : *among, Precision::float32, x.data(), rows, sentence.data(), 1,
                   value.data(), said.data());
    else
      choose(model->output, model->precision, x.data(), rows, 1, too_short ? early : banned, value.data(), said.data());
    Size kept = 0;
    before = ancestors;
    for (Size i = 0; i < rows; ++i) {
      const Size s = sentence[i];
      tokens[s * longest + position] = said[i];
      terms[s * longest + position] = value[i];
      lengths[s] = position + 1;
      if (said[i] == end || position + 1 >= limits[s] || std::isnan(value[i])) continue;
      sentence[kept] = static_cast<std::int32_t>(s);
      last[kept] = said[i];
      std::copy_n(before.data() + i * longest, position, ancestors.data() + kept * longest);
      ancestors[kept * longest + position] = static_cast<std::int32_t>(i);
      ++kept;
    }
    rows = kept;
  }
}

}  // extern "C"
