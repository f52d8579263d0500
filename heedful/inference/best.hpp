// The best of the output: logits are looked at as they are made, with the sum of their exponentials, and forgotten.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "stack.hpp"

namespace heedful::lean {
namespace {

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
