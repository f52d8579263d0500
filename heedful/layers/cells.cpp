// The loops of cells.py: what one step of a recurrent cell does beside its products, forth and back.
//
// x is W x + b and u is U h, each (rows, blocks * width); the state before and after are (rows, width). Numbers that came
// of products are float32 or bfloat16, states either too; all is computed in float32. The width is a multiple of kLanes.

#include <algorithm>
#include <cstdint>

#include "threads.hpp"
#include "vectors.hpp"

namespace heedful {
namespace {

inline Vector sigmoid(Vector x) { return 1 / (1 + exponential(-x)); }

// Columns that a thread takes at once.
constexpr Size kColumns = 4 * kLanes;

template <typename Columns>
void over(Size width, Size threads, const Columns& columns) {
  share((width + kColumns - 1) / kColumns, threads, [&](Size task) {
    const Size first = task * kColumns, end = std::min(first + kColumns, width);
    for (Size column = first; column < end; column += kLanes) columns(column);
  });
}

struct Gates {
  Vector r, z, inner, candidate;
};

template <typename Number>
inline Gates gates(const Number* x, const Number* u, const float* bias, Size width) {
  const Vector r = sigmoid(read(x) + read(u)), z = sigmoid(read(x + width) + read(u + width));
  const Vector inner = read(u + 2 * width) + read(bias);
  return {r, z, inner, hyperbolic_tangent(read(x + 2 * width) + r * inner)};
}

// Functions of their own, so that they are compiled once, and well.
template <typename Number, typename State>
[[gnu::noinline]] void gru_column(const Number* x, const Number* u, const float* bias, const State* h, State* next,
                                  Size rows, Size width) {
  for (Size row = 0; row < rows; ++row, x += 3 * width, u += 3 * width, h += width, next += width) {
    const Gates now = gates(x, u, bias, width);
    write(next, now.candidate + now.z * (read(h) - now.candidate));
  }
}

template <typename Number, typename State>
[[gnu::noinline]] void gru_column_back(const Number* x, const Number* u, const float* bias, const State* h,
                                       const State* upstream, Number* of_x, Number* of_u, State* of_h, float* of_bias,
                                       Size rows, Size width) {
  Vector sum = {};
  for (Size row = 0; row < rows; ++row) {
    const Gates now = gates(x, u, bias, width);
    const Vector given = read(upstream);
    const Vector of_candidate = given * (1 - now.z) * (1 - now.candidate * now.candidate);
    const Vector of_z = given * (read(h) - now.candidate) * now.z * (1 - now.z);
    const Vector of_r = of_candidate * now.inner * now.r * (1 - now.r), of_inner = of_candidate * now.r;
    write(of_x, of_r), write(of_u, of_r);
    write(of_x + width, of_z), write(of_u + width, of_z);
    write(of_x + 2 * width, of_candidate), write(of_u + 2 * width, of_inner);
    write(of_h, given * now.z);
    sum += of_inner;
    x += 3 * width, u += 3 * width, of_x += 3 * width, of_u += 3 * width;
    h += width, upstream += width, of_h += width;
  }
  write(of_bias, sum);
}

template <typename Number, typename State>
[[gnu::noinline]] void lstm_column(const Number* x, const Number* u, const State* c, State* h, State* next, Size rows,
                                   Size width) {
  for (Size row = 0; row < rows; ++row, x += 4 * width, u += 4 * width, c += width, h += width, next += width) {
    const auto sum = [=](Size block) { return read(x + block * width) + read(u + block * width); };
    const Vector kept = sigmoid(sum(1)) * read(c) + sigmoid(sum(0)) * hyperbolic_tangent(sum(2));
    write(next, kept);
    write(h, sigmoid(sum(3)) * hyperbolic_tangent(kept));
  }
}

// What x and u add up to has one gradient.
template <typename Number, typename State>
[[gnu::noinline]] void lstm_column_back(const Number* x, const Number* u, const State* c, const State* of_output,
                                        const State* of_next, Number* of_sum, State* of_c, Size rows, Size width) {
  for (Size row = 0; row < rows; ++row) {
    const auto sum = [=](Size block) { return read(x + block * width) + read(u + block * width); };
    const Vector i = sigmoid(sum(0)), f = sigmoid(sum(1)), g = hyperbolic_tangent(sum(2)), o = sigmoid(sum(3));
    const Vector before = read(c), shown = hyperbolic_tangent(f * before + i * g);
    const Vector given = read(of_output), of_kept = read(of_next) + given * o * (1 - shown * shown);
    write(of_sum, of_kept * g * i * (1 - i));
    write(of_sum + width, of_kept * before * f * (1 - f));
    write(of_sum + 2 * width, of_kept * i * (1 - g * g));
    write(of_sum + 3 * width, given * shown * o * (1 - o));
    write(of_c, of_kept * f);
    x += 4 * width, u += 4 * width, of_sum += 4 * width;
    c += width, of_output += width, of_next += width, of_c += width;
  }
}

// Calls with a null pointer of the type of products and one of that of states.
template <typename Call>
void typed(bool narrow_products, bool narrow_states, const Call& call) {
  const auto with = [&](auto* product) {
    narrow_states ? call(product, static_cast<BFloat16*>(nullptr)) : call(product, static_cast<float*>(nullptr));
  };
  narrow_products ? with(static_cast<BFloat16*>(nullptr)) : with(static_cast<float*>(nullptr));
}

}  // namespace
}  // namespace heedful

// The names by which ctypes finds them. narrow_...: these are bfloat16.
using heedful::Size;

extern "C" void gru(const void* x, const void* u, const float* bias, const void* h, void* next, bool narrow_products,
                    bool narrow_states, Size rows, Size width, Size threads) {
  heedful::typed(narrow_products, narrow_states, [=](auto* product, auto* state) {
    using Products = decltype(product);
    using States = decltype(state);
    heedful::over(width, threads, [=](Size i) {
      heedful::gru_column(Products(x) + i, Products(u) + i, bias + i, States(h) + i, States(next) + i, rows, width);
    });
  });
}

extern "C" void gru_back(const void* x, const void* u, const float* bias, const void* h, const void* upstream, void* of_x,
                         void* of_u, void* of_h, float* of_bias, bool narrow_products, bool narrow_states, Size rows,
                         Size width, Size threads) {
  heedful::typed(narrow_products, narrow_states, [=](auto* product, auto* state) {
    using Products = decltype(product);
    using States = decltype(state);
    heedful::over(width, threads, [=](Size i) {
      heedful::gru_column_back(Products(x) + i, Products(u) + i, bias + i, States(h) + i, States(upstream) + i,
                               Products(of_x) + i, Products(of_u) + i, States(of_h) + i, of_bias + i, rows, width);
    });
  });
}

extern "C" void lstm(const void* x, const void* u, const void* c, void* h, void* next, bool narrow_products,
                     bool narrow_states, Size rows, Size width, Size threads) {
  heedful::typed(narrow_products, narrow_states, [=](auto* product, auto* state) {
    using Products = decltype(product);
    using States = decltype(state);
    heedful::over(width, threads, [=](Size i) {
      heedful::lstm_column(Products(x) + i, Products(u) + i, States(c) + i, States(h) + i, States(next) + i, rows, width);
    });
  });
}

extern "C" void lstm_back(const void* x, const void* u, const void* c, const void* of_output, const void* of_next,
                          void* of_sum, void* of_c, bool narrow_products, bool narrow_states, Size rows, Size width,
                          Size threads) {
  heedful::typed(narrow_products, narrow_states, [=](auto* product, auto* state) {
    using Products = decltype(product);
    using States = decltype(state);
    heedful::over(width, threads, [=](Size i) {
      heedful::lstm_column_back(Products(x) + i, Products(u) + i, States(c) + i, States(of_output) + i,
                                States(of_next) + i, Products(of_sum) + i, States(of_c) + i, rows, width);
    });
  });
}
