// The loops of short.py: attention with the weights written out, forth and back, one head of one text at a time. What
// belongs to a head fits into the first caches, so that all is read and written once.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

// The rows and registers of a tile whose sums stay in registers.
#if defined(__AVX512F__)
constexpr Size kRows = 6, kVectors = 4;
#elif defined(__AVX2__)
constexpr Size kRows = 4, kVectors = 2;
#else
constexpr Size kRows = 4, kVectors = 1;
#endif

typedef std::uint8_t Bytes __attribute__((vector_size(kLanes)));

// Numbers of rows of heads of texts, (batch, heads, length, width): so far from each other, those of a row side by side.
struct Rows {
  void* numbers;  // float32, or all of a call bfloat16
  Size batch, head, row;

  template <typename Number>
  Number* of(Size text, Size which) const {
    return static_cast<Number*>(numbers) + text * batch + which * head;
  }
};

// The rows of one head in float32: where they lie, or a copy of them.
struct Head {
  float* numbers;
  Size row;
};

// The left side of a product: element (i, k) stands at numbers[i * row + k * column].
struct Left {
  const float* numbers;
  Size row, column;
};

// R rows and V registers of y = [y +] left x right; right and y have rows so far from each other.
template <Size R, Size V>
[[gnu::noinline]] void tile(Left left, const float* right, Size right_row, Size inner, float* y, Size y_row, bool add) {
  Vector sums[R][V] = {};
  for (Size k = 0; k < inner; ++k) {
    Vector numbers[V];
#pragma GCC unroll 8
    for (Size v = 0; v < V; ++v) numbers[v] = at(right + k * right_row + v * kLanes);
#pragma GCC unroll 8
    for (Size i = 0; i < R; ++i) {
      const float factor = left.numbers[i * left.row + k * left.column];
#pragma GCC unroll 8
      for (Size v = 0; v < V; ++v) sums[i][v] += factor * numbers[v];
    }
  }
#pragma GCC unroll 8
  for (Size i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (Size v = 0; v < V; ++v) {
      Vector& to = at(y + i * y_row + v * kLanes);
      to = add ? to + sums[i][v] : sums[i][v];
    }
  }
}

using Tile = void (*)(Left, const float*, Size, Size, float*, Size, bool);

template <std::size_t... I>
Tile of_size(Size rows, Size vectors, std::index_sequence<I...>) {
  static constexpr Tile all[] = {tile<I / kVectors + 1, I % kVectors + 1>...};
  return all[(rows - 1) * kVectors + vectors - 1];
}

// y (rows, columns) = [y +] left (rows, inner) x right (inner, columns); columns are a multiple of kLanes.
void multiply(Left left, const float* right, Size right_row, Size rows, Size inner, Size columns, float* y, Size y_row,
              bool add = false) {
  for (Size j = 0; j < columns; j += kVectors * kLanes) {
    const Size vectors = std::min(kVectors, (columns - j) / kLanes), tiles = (rows + kRows - 1) / kRows;
    for (Size t = 0, i = 0; t < tiles; ++t) {
      const Size height = rows / tiles + (t < rows % tiles);
      const Tile run = of_size(height, vectors, std::make_index_sequence<kRows * kVectors>());
      run({left.numbers + i * left.row, left.row, left.column}, right + j, right_row, inner, y + i * y_row + j, y_row, add);
      i += height;
    }
  }
}

// One number of each in turn: of their first halves, or of their second.
template <Size First, std::size_t... I>
Vector zip(Vector a, Vector b, std::index_sequence<I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (First + Size(I) / 2 + Size(I) % 2 * kLanes)...);
#else
  return __builtin_shuffle(a, b, Integers{static_cast<std::int32_t>(First + Size(I) / 2 + Size(I) % 2 * kLanes)...});
#endif
}

// Turns a block of kLanes rows round: interleaved with those half a block away, as often as it can be halved.
[[gnu::always_inline]] inline void turn(Vector (&rows)[kLanes]) {
  constexpr auto all = std::make_index_sequence<kLanes>();
#pragma GCC unroll 4
  for (Size n = 1; n < kLanes; n *= 2) {
    Vector next[kLanes];
#pragma GCC unroll 16
    for (Size i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = zip<0>(rows[i], rows[i + kLanes / 2], all);
      next[2 * i + 1] = zip<kLanes / 2>(rows[i], rows[i + kLanes / 2], all);
    }
#pragma GCC unroll 16
    for (Size i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

// (length, width) -> (width, padded length), zeros where nothing stands; the width is a multiple of kLanes.
[[gnu::noinline]] void transpose(const float* rows, Size row, Size length, Size width, float* to) {
  const Size wide = padded(length);
  for (Size j = 0; j < length; j += kLanes)
    for (Size d = 0; d < width; d += kLanes) {
      Vector block[kLanes];
      const float* const from = rows + j * row + d;
      if (length - j >= kLanes) {
#pragma GCC unroll 16
        for (Size i = 0; i < kLanes; ++i) block[i] = at(from + i * row);
      } else {
#pragma GCC unroll 16
        for (Size i = 0; i < kLanes; ++i) block[i] = i < length - j ? at(from + i * row) : Vector{};
      }
      turn(block);
#pragma GCC unroll 16
      for (Size i = 0; i < kLanes; ++i) at(to + (d + i) * wide + j) = block[i];
    }
}

// Who may not attend: one byte for each query and padded key, rows so far from each other (0: the same for all).
struct Blocked {
  const std::uint8_t* bytes;  // or null
  Size batch, head, row;
};

// 16 random bits for each weight, in order: those below `below` fall away, the others grow. Null: no dropout.
struct Draws {
  const std::int16_t* numbers;
  std::int16_t below;
  float kept;
};

struct Call {
  Rows query, key, value;
  Size batch, heads, kv_heads, queries, keys, width, value_width;
  float scale;
  Blocked blocked;
  Draws draws;
  float* weights;  // (batch, heads, queries, padded keys), before dropout
  Size threads;
  bool bfloat16;
};

// Numbers of one thread that stay in place from call to call, handed out one part after the other.
class Scratch {
 public:
  explicit Scratch(Size count) {
    thread_local std::vector<float> numbers;
    if (static_cast<Size>(numbers.size()) < count) numbers.resize(count);
    next_ = numbers.data();
  }

  float* take(Size count) {
    float* const part = next_;
    next_ += count;
    return part;
  }

 private:
  float* next_;
};

// So many numbers of scratch are needed for rows (length, width) of a head that are to be had in float32.
template <typename Number>
Size room(Size length, Size width) {
  return std::is_same_v<Number, float> ? 0 : length * width;
}

// Where rows (length, width) of a head can be written in float32; `finish` then puts them into their place.
template <typename Number>
Head begin(const Rows& rows, Size text, Size which, Size length, Size width, Scratch& scratch) {
  if constexpr (std::is_same_v<Number, float>)
    return {rows.of<float>(text, which), rows.row};
  else
    return {scratch.take(length * width), width};
}

template <typename Number>
void finish(const Head& head, const Rows& rows, Size text, Size which, Size length, Size width) {
  if constexpr (!std::is_same_v<Number, float>)
    for (Size i = 0; i < length; ++i)
      for (Size d = 0; d < width; d += kLanes)
        write(rows.of<Number>(text, which) + i * rows.row + d, at(head.numbers + i * head.row + d));
}

// Rows (length, width) of a head, to be read in float32.
template <typename Number>
Head read(const Rows& rows, Size text, Size which, Size length, Size width, Scratch& scratch) {
  const Head head = begin<Number>(rows, text, which, length, width, scratch);
  if constexpr (!std::is_same_v<Number, float>)
    for (Size i = 0; i < length; ++i)
      for (Size d = 0; d < width; d += kLanes)
        at(head.numbers + i * head.row + d) = read(rows.of<Number>(text, which) + i * rows.row + d);
  return head;
}

void drop(const Draws& draws, Size first, const float* x, Size count, float* y) {
  const std::int16_t* const mine = draws.numbers + first;
#pragma omp simd
  for (Size j = 0; j < count; ++j) y[j] = mine[j] < draws.below ? 0.0f : x[j] * draws.kept;
}

// Turns scores into weights, in place; blocked (padded keys) may be null. A row that may see nothing has none.
[[gnu::noinline]] void softmax(float* scores, Size keys, float scale, const std::uint8_t* blocked) {
  const Size wide = padded(keys);
  const Vector lowest = std::numeric_limits<float>::lowest() - Vector{};
  Vector most = lowest;
  bool some = true;
  if (blocked != nullptr) {
    Integers any{};
    for (Size j = 0; j < wide; j += kLanes) {
      Bytes bytes;
      std::memcpy(&bytes, blocked + j, sizeof bytes);
      // By way of 16 bits: GCC would make integers of bytes one by one.
      const Integers seen = 1 - __builtin_convertvector(__builtin_convertvector(bytes, Halves), Integers);
      any |= seen;
      at(scores + j) = seen != 0 ? at(scores + j) : lowest;
      most = at(scores + j) > most ? at(scores + j) : most;
    }
    some = total(__builtin_convertvector(any, Vector)) > 0;
  } else {
    Integers lanes;
    for (Size l = 0; l < kLanes; ++l) lanes[l] = static_cast<std::int32_t>(l);
    for (Size j = 0; j < wide; j += kLanes) {
      if (j + kLanes > keys) at(scores + j) = lanes < static_cast<std::int32_t>(keys - j) ? at(scores + j) : lowest;
      most = at(scores + j) > most ? at(scores + j) : most;
    }
  }
  const float highest = largest_of(most);
  Vector sums{};
  for (Size j = 0; j < wide; j += kLanes) {
    const Vector x = scale * (at(scores + j) - highest);
    // Nothing is left of those that may not be seen; NaN stays.
    const Vector e = x < -87.0f ? Vector{} : exponential(x);
    at(scores + j) = e;
    sums += e;
  }
  const float share = some ? 1 / total(sums) : 0;
  for (Size j = 0; j < wide; j += kLanes) at(scores + j) *= share;
}

// Runs task(text, key head) for all of them. Threads take whole texts, where there are enough: the rows of a text's heads
// lie too near each other to be written by two.
template <typename Task>
void for_each_head(const Call& call, const Task& task) {
  const Size block = call.batch >= 4 * call.threads ? call.kv_heads : 1;
  share(call.batch * call.kv_heads / block, call.threads, [&](Size number) {
    for (Size i = number * block; i < (number + 1) * block; ++i) task(i / call.kv_heads, i % call.kv_heads);
  });
}

template <typename Number>
void attend(const Call& call, const Rows& out) {
  const Size wide = padded(call.keys), group = call.heads / call.kv_heads, queries = call.queries;
  const Size count = (call.width + queries) * wide + room<Number>(call.keys + queries, call.width + call.value_width);
  for_each_head(call, [&](Size text, Size kv_head) {
    Scratch scratch(count);
    float* const keys = scratch.take(call.width * wide);
    float* const dropped = scratch.take(queries * wide);
    const Head key = read<Number>(call.key, text, kv_head, call.keys, call.width, scratch);
    const Head value = read<Number>(call.value, text, kv_head, call.keys, call.value_width, scratch);
    transpose(key.numbers, key.row, call.keys, call.width, keys);
    for (Size head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      Scratch mine = scratch;
      const Head query = read<Number>(call.query, text, head, queries, call.width, mine);
      const Head attended = begin<Number>(out, text, head, queries, call.value_width, mine);
      const Size first = (text * call.heads + head) * queries;
      float* const weights = call.weights + first * wide;
      multiply({query.numbers, query.row, 1}, keys, wide, queries, call.width, wide, weights, wide);
      const float* taken = weights;
      for (Size i = 0; i < queries; ++i) {
        const Blocked& blocked = call.blocked;
        softmax(weights + i * wide, call.keys, call.scale,
                blocked.bytes ? blocked.bytes + text * blocked.batch + head * blocked.head + i * blocked.row : nullptr);
        if (call.draws.numbers) drop(call.draws, (first + i) * call.keys, weights + i * wide, call.keys, dropped + i * wide);
      }
      if (call.draws.numbers) taken = dropped;
      multiply({taken, wide, 1}, value.numbers, value.row, queries, call.keys, call.value_width, attended.numbers,
               attended.row);
      finish<Number>(attended, out, text, head, queries, call.value_width);
    }
  });
}

// With w the weights after the softmax, u those after dropout, and g the gradient of the output: du = g v^T, dv = u^T g;
// dw is du with the dropout of u, ds = scale w (dw - sum of w dw), dq = ds k, dk = ds^T q.
template <typename Number>
void differentiate(const Call& call, const Rows& upstream, const Rows& of_query, const Rows& of_key, const Rows& of_value) {
  const Size wide = padded(call.keys), group = call.heads / call.kv_heads, queries = call.queries;
  const Size both = call.width + call.value_width;
  const Size count = (call.value_width + 2 * queries) * wide + room<Number>(2 * call.keys, both) +
                     room<Number>(queries, both + call.width);
  for_each_head(call, [&](Size text, Size kv_head) {
    Scratch scratch(count);
    float* const values = scratch.take(call.value_width * wide);
    float* const slopes = scratch.take(queries * wide);
    float* const dropped = scratch.take(queries * wide);
    const Head key = read<Number>(call.key, text, kv_head, call.keys, call.width, scratch);
    const Head value = read<Number>(call.value, text, kv_head, call.keys, call.value_width, scratch);
    const Head key_slope = begin<Number>(of_key, text, kv_head, call.keys, call.width, scratch);
    const Head value_slope = begin<Number>(of_value, text, kv_head, call.keys, call.value_width, scratch);
    transpose(value.numbers, value.row, call.keys, call.value_width, values);
    for (Size head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      Scratch mine = scratch;
      const Head query = read<Number>(call.query, text, head, queries, call.width, mine);
      const Head g = read<Number>(upstream, text, head, queries, call.value_width, mine);
      const Head query_slope = begin<Number>(of_query, text, head, queries, call.width, mine);
      const bool add = head > kv_head * group;
      const Size first = (text * call.heads + head) * queries;
      const float* const weights = call.weights + first * wide;
      const float* taken = weights;
      multiply({g.numbers, g.row, 1}, values, wide, queries, call.value_width, wide, slopes, wide);
      for (Size i = 0; i < queries; ++i) {
        float* const slope = slopes + i * wide;
        const float* const weight = weights + i * wide;
        if (call.draws.numbers) {
          drop(call.draws, (first + i) * call.keys, weight, call.keys, dropped + i * wide);
          drop(call.draws, (first + i) * call.keys, slope, call.keys, slope);
        }
        Vector sums{};
        for (Size v = 0; v < wide; v += kLanes) sums += at(weight + v) * at(slope + v);
        const float sum = total(sums);
        for (Size v = 0; v < wide; v += kLanes) at(slope + v) = call.scale * at(weight + v) * (at(slope + v) - sum);
      }
      if (call.draws.numbers) taken = dropped;
      multiply({taken, 1, wide}, g.numbers, g.row, call.keys, queries, call.value_width, value_slope.numbers,
               value_slope.row, add);
      multiply({slopes, wide, 1}, key.numbers, key.row, queries, call.keys, call.width, query_slope.numbers,
               query_slope.row);
      multiply({slopes, 1, wide}, query.numbers, query.row, call.keys, queries, call.width, key_slope.numbers,
               key_slope.row, add);
      finish<Number>(query_slope, of_query, text, head, queries, call.width);
    }
    finish<Number>(key_slope, of_key, text, kv_head, call.keys, call.width);
    finish<Number>(value_slope, of_value, text, kv_head, call.keys, call.value_width);
  });
}

}  // namespace
}  // namespace heedful

extern "C" {

std::int64_t lanes() { return heedful::kLanes; }

void attend(const heedful::Call* call, const heedful::Rows* out) {
  (call->bfloat16 ? heedful::attend<heedful::BFloat16> : heedful::attend<float>)(*call, *out);
}

void differentiate(const heedful::Call* call, const heedful::Rows* upstream, const heedful::Rows* of_query,
                   const heedful::Rows* of_key, const heedful::Rows* of_value) {
  const auto run = call->bfloat16 ? heedful::differentiate<heedful::BFloat16> : heedful::differentiate<float>;
  run(*call, *upstream, *of_query, *of_key, *of_value);
}

}  // extern "C"
