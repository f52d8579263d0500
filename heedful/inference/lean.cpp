// The loops of lean.py and lean_text.py: a Transformer's encoder, one step of its decoder, the reading of texts without
// a source, and the best of the output, on one thread.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "best.hpp"
#include "gelu.hpp"
#include "matrix.hpp"
#include "stack.hpp"
#include "vectors.hpp"

namespace heedful::lean {
namespace {

// A Transformer of two stacks.
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

// A Transformer of one stack, which reads texts without a source.
struct TextModel {
  Embedding embedding;
  Stack stack;
  Projection output;
  Precision precision;
  float epsilon;
};

// What was read of texts, as much of each: of each, for each layer, keys (kv_heads, d_head, capacity) and then values
// (capacity, kv_heads, d_head), those of tokens that are still seen being `first` to `kept`; `position` is where the next
// token stands.
struct Texts {
  float* const* numbers;
  Size capacity, first, kept, position;
};

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

// Reads `count` tokens more of each text, (texts, count), and gives the vectors of their last, (texts, d_model).
void read(const TextModel& model, const Size* tokens, Size texts, Size count, const Texts& past, float* last) {
  const Stack& stack = model.stack;
  const Size query_width = stack.heads * stack.d_head, kv_width = stack.kv_heads * stack.d_head;
  const Size stride = query_width + 2 * kv_width, rows = texts * count, width = stack.d_model;
  float* x = buffers.x.get(rows * width);
  for (Size i = 0; i < rows; ++i) embed(model.embedding, tokens[i], past.position + i % count, width, x + i * width);
  float* scores = buffers.scores.get(padded(past.capacity));
  for (Size number = 0; number < stack.count; ++number) {
    const Layer& layer = stack.layers[number];
    float* projected = buffers.projected.get(rows * stride);
    project(layer.self_in, model.precision, before(stack, layer.self_norm, model.epsilon, x, rows), rows, projected);
    float* attended = buffers.attended.get(rows * query_width);
    for (Size t = 0; t < texts; ++t) {
      float* mine = projected + t * count * stride;
      float* keys = past.numbers[t] + number * 2 * kv_width * past.capacity;
      float* values = keys + kv_width * past.capacity;
      for (Size i = 0; i < count; ++i) {
        float* row = mine + i * stride;
        if (stack.turns)
          turn(stack.turns + (past.position + i) * stack.d_head, row, stack.heads + stack.kv_heads, stack.d_head);
        for (Size d = 0; d < kv_width; ++d) keys[d * past.capacity + past.kept + i] = row[query_width + d];
        std::copy_n(row + query_width + kv_width, kv_width, values + (past.kept + i) * kv_width);
      }
      by_head<ToText>(stack.d_head, &stack, static_cast<const float*>(mine), stride, count,
                      static_cast<const float*>(keys), past.capacity, static_cast<const float*>(values), past.first,
                      past.kept + count, scores, attended + t * count * query_width);
    }
    project(layer.self_out, model.precision, attended, rows, x, false, true);
    after(stack, layer.self_norm, model.epsilon, x, rows);
    feed_forward(stack, layer, model.precision, before(stack, layer.feed_forward_norm, model.epsilon, x, rows), rows, x);
    after(stack, layer.feed_forward_norm, model.epsilon, x, rows);
  }
  for (Size t = 0; t < texts; ++t) std::copy_n(x + (t * count + count - 1) * width, width, last + t * width);
  if (stack.pre) normalise(stack.last, model.epsilon, last, texts, width, last);
}

void advance(const Model& model, const Size* tokens, Size rows, const Past& past, const std::int32_t* sentence,
             const Memory& memory, float* x) {
  const Size width = model.decoder.d_model;
  for (Size i = 0; i < rows; ++i) embed(model.target, tokens[i], past.position, width, x + i * width);
  decoder(model, x, rows, past, sentence, memory);
}

}  // namespace
}  // namespace heedful::lean

using namespace heedful::lean;
using namespace heedful;

// None of these calls another: the loader would let functions of the C library with the same names go first.
extern "C" {

// Keys of a sentence are padded to a multiple of these.
Size lanes() { return kLanes; }

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

// See `read` above.
void read_texts(const TextModel* model, const Size* tokens, Size texts, Size count, const Texts* past, float* last) {
  read(*model, tokens, texts, count, *past, last);
}

// All logits (rows, outs) of vectors (rows, ins).
void outputs(const Projection* output, Size precision, const float* x, Size rows, float* y) {
  project(*output, static_cast<Precision>(precision), x, rows, y);
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
