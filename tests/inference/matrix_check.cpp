// The products of heedful/inference/matrix.hpp by names that ctypes finds, for test_matrix.py.

#include "../../heedful/inference/matrix.hpp"

#include <memory>
#include <new>

namespace {

struct Free {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(64)); }
};

std::unique_ptr<std::byte[], Free> bytes(heedful::Size n) {
  return std::unique_ptr<std::byte[], Free>(new (std::align_val_t(64)) std::byte[std::size_t(n + 1)]);
}

}  // namespace

extern "C" heedful::Size panel() { return heedful::kPanel; }

extern "C" heedful::Size packed(heedful::Size outs, heedful::Size ins, heedful::Precision precision) {
  return heedful::packed_bytes(outs, ins, precision);
}

extern "C" void product(const float* x, heedful::Size rows, heedful::Size stride, const float* w, heedful::Size outs,
                        heedful::Size ins, heedful::Precision precision, heedful::Size first, heedful::Size count,
                        const float* bias, bool relu, bool add, float* y, heedful::Size y_stride) {
  const auto weights = bytes(heedful::packed_bytes(outs, ins, precision));
  const auto scratch = bytes(heedful::input_bytes(rows, ins, precision));
  heedful::pack(w, outs, ins, precision, weights.get());
  const auto input = heedful::prepare(x, rows, stride, ins, precision, scratch.get());
  heedful::multiply(input, {weights.get(), outs, ins, precision}, first, count, y, y_stride, {bias, relu, add});
}
