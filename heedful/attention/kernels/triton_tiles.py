"""The programs that the triton kernel runs: softmax(score(query, key)) value, tile by tile, and its gradients.

The scheme is FlashAttention-2 (Dao 2023, algorithms 1 and 2): `forward` walks over the keys of one block of queries
with a running maximum and sum, and keeps of each row only the log-sum-exp; the backward pass computes each tile of
weights again from it. `backward_keys` walks over the queries of one block of keys, `backward_queries` the other way.

Tensors are contiguous: query (batch * heads, queries, width), key (batch * kv_heads, keys, width), value (batch *
kv_heads, keys, value_width), lse and delta (batch * heads, queries). For additive scores, which are summed one
dimension at a time, query and key have the length last. Masks and biases are read through strides, 0 where they
broadcast. Everything is accumulated in float32.

This module needs triton and is imported on first use, by `heedful.attention.kernels.triton`.
"""

# Triton compiles this text by rules that are not quite Python's; and it need not be installed.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportPossiblyUnboundVariable=false

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Hyperbolic tangent, from an exponential that cannot overflow."""
    small = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - small) / (1.0 + small)
    return tl.where(x < 0, -size, size)


@triton.jit
def additive_pairs(
    query, key, vector, rows, columns, queries, keys, width: tl.constexpr, shape: tl.constexpr
):
    """v . tanh(q_i + k_j) of a tile, summed dimension by dimension: rows x keys x width never exists."""
    scores = tl.zeros(shape, tl.float32)
    for d in range(width):
        q = tl.load(query + d * queries + rows, mask=rows < queries, other=0.0).to(tl.float32)
        k = tl.load(key + d * keys + columns, mask=columns < keys, other=0.0).to(tl.float32)
        scores += tl.load(vector + d).to(tl.float32) * tanh(q[:, None] + k[None, :])
    return scores


@triton.jit
def modified(scores, bias, places, inside, cap, cap_first: tl.constexpr):
    """Apply soft cap and bias, in their order; also give the slope of the cap."""
    slope = tl.full(scores.shape, 1.0, tl.float32)
    if cap is not None and cap_first:
        bent = tanh(scores / cap)
        scores = cap * bent
        slope = 1.0 - bent * bent
    if bias is not None:
        scores += tl.load(bias + places, mask=inside, other=0.0).to(tl.float32)
    if cap is not None and not cap_first:
        bent = tanh(scores / cap)
        scores = cap * bent
        slope = 1.0 - bent * bent
    return scores, slope


@triton.jit
def places_of(rows, columns, row_stride, key_stride):
    """Where the pairs of a tile stand in a tensor of one head."""
    return rows[:, None].to(tl.int64) * row_stride + columns[None, :].to(tl.int64) * key_stride


@triton.jit
def seen_pairs(rows, columns, queries, keys, length, low, high, allowed, allowed_row, allowed_key):
    """Which pairs of a tile exist and may be seen: low <= position of the key - position of the query <= high."""
    distance = columns[None, :] - (rows + (keys - queries))[:, None]
    seen = (rows < queries)[:, None] & (columns < length)[None, :] & (distance >= low) & (distance <= high)
    if allowed is not None:
        seen &= tl.load(allowed + places_of(rows, columns, allowed_row, allowed_key), mask=seen, other=0) != 0
    return seen


@triton.jit
def kept_pairs(rows, columns, keys, head, seed, dropout):
    """Which pairs of a tile dropout leaves: the same for the same seed, whatever the tile."""
    place = rows[:, None].to(tl.int64) * keys + columns[None, :].to(tl.int64)
    return tl.rand(seed + head, place) >= dropout


@triton.jit
def load_rows(start, rows, columns, length, width: tl.constexpr):
    """Load some rows of a (length, width) matrix; zeros outside it."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    return tl.load(start + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def store_rows(start, numbers, rows, columns, length, width: tl.constexpr):
    """Store some rows of a (length, width) matrix."""
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    tl.store(
        start + rows[:, None] * width + columns[None, :], numbers.to(start.dtype.element_ty), mask=inside
    )


@triton.jit
def forward(
    query, key, value, vector, allowed, lengths, bias, attended, lse,
    allowed_batch, allowed_head, allowed_row, allowed_key,
    bias_batch, bias_head, bias_row, bias_key,
    queries, keys, low, high, cap, dropout, seed,
    heads: tl.constexpr, group: tl.constexpr, width: tl.constexpr, value_width: tl.constexpr, cap_first: tl.constexpr,
    tile_rows: tl.constexpr, tile_keys: tl.constexpr, tile_width: tl.constexpr, tile_value: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head: its attended vectors and log-sum-exp."""
    blocks = tl.cdiv(queries, tile_rows)
    block, head = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    batch = head // heads
    query += head * queries * width
    key += head // group * keys * width
    value += head // group * keys * value_width
    if vector is not None:
        vector += head * width
    if allowed is not None:
        allowed += batch * allowed_batch + head % heads * allowed_head
    if bias is not None:
        bias += batch * bias_batch + head % heads * bias_head
    length = keys
    if lengths is not None:
        length = tl.minimum(keys, tl.load(lengths + batch))

    rows = block * tile_rows + tl.arange(0, tile_rows)
    widths, value_widths = tl.arange(0, tile_width), tl.arange(0, tile_value)
    if vector is None:
        q = load_rows(query, rows, widths, queries, width)
    top = tl.full((tile_rows,), float("-inf"), tl.float32)
    total = tl.zeros((tile_rows,), tl.float32)
    summed = tl.zeros((tile_rows, tile_value), tl.float32)

    first = block * tile_rows + (keys - queries)
    last = tl.minimum(first + tile_rows, keys) - 1
    start_key = tl.maximum(first + low, 0) // tile_keys * tile_keys
    end_key = tl.minimum(length, last + high + 1)
    for start in range(start_key, end_key, tile_keys):
        columns = start + tl.arange(0, tile_keys)
        if vector is None:
            k = load_rows(key, columns, widths, length, width)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        else:
            scores = additive_pairs(
                query, key, vector, rows, columns, queries, keys, width, (tile_rows, tile_keys)
            )
        seen = seen_pairs(rows, columns, queries, keys, length, low, high, allowed, allowed_row, allowed_key)
        scores, _ = modified(scores, bias, places_of(rows, columns, bias_row, bias_key), seen, cap, cap_first)
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # of rows that have seen nothing yet
        weights = tl.exp(scores - base[:, None])
        shrink = tl.exp(top - base)
        total = total * shrink + tl.sum(weights, 1)
        if dropout is not None:
            kept = kept_pairs(rows, columns, keys, head, seed, dropout)
            weights = tl.where(kept, weights / (1.0 - dropout), 0.0)
        v = load_rows(value, columns, value_widths, length, value_width)
        summed = summed * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        top = higher

    some = total > 0
    total = tl.where(some, total, 1.0)
    store_rows(
        attended + head * queries * value_width,
        summed / total[:, None],
        rows,
        value_widths,
        queries,
        value_width,
    )
    tl.store(lse + head * queries + rows, tl.where(some, top + tl.log(total), top), mask=rows < queries)


@triton.jit
def gradient_of_tile(
    scores, seen, upstream, v, row_lse, row_delta, bias, places, rows, columns, keys, head,
    cap, dropout, seed, cap_first: tl.constexpr,
):  # fmt: skip
    """Weights of a tile after dropout, gradient of its modified scores, slope of the soft cap."""
    scores, slope = modified(scores, bias, places, seen, cap, cap_first)
    weights = tl.exp(tl.where(seen, scores - row_lse[:, None], float("-inf")))
    change = tl.dot(upstream, tl.trans(v), input_precision="ieee")
    left = weights
    if dropout is not None:
        kept = kept_pairs(rows, columns, keys, head, seed, dropout)
        left = tl.where(kept, weights / (1.0 - dropout), 0.0)
        change = tl.where(kept, change / (1.0 - dropout), 0.0)
    return left, weights * (change - row_delta[:, None]), slope


@triton.jit
def add_bias_gradient(
    bias_gradient, gradient, rows, columns, queries, keys, bias_row, bias_key,
    one_row: tl.constexpr, one_key: tl.constexpr,
):  # fmt: skip
    """Add the gradient of a tile to that of the bias, summed first over what shares one number."""
    if one_row and one_key:
        tl.atomic_add(bias_gradient, tl.sum(tl.sum(gradient, 1), 0), sem="relaxed")
    elif one_row:
        tl.atomic_add(
            bias_gradient + columns * bias_key, tl.sum(gradient, 0), mask=columns < keys, sem="relaxed"
        )
    elif one_key:
        tl.atomic_add(
            bias_gradient + rows * bias_row, tl.sum(gradient, 1), mask=rows < queries, sem="relaxed"
        )
    else:
        places = places_of(rows, columns, bias_row, bias_key)
        inside = (rows < queries)[:, None] & (columns < keys)[None, :]
        tl.atomic_add(bias_gradient + places, gradient, mask=inside, sem="relaxed")


@triton.jit
def add_additive_gradients(
    gradient, query, key, vector, query_gradient, key_gradient, vector_gradient, rows, columns, queries, keys,
    width: tl.constexpr,
):  # fmt: skip
    """Add the gradients of v . tanh(q_i + k_j), dimension by dimension; tanh is computed again."""
    for d in range(width):
        q = tl.load(query + d * queries + rows, mask=rows < queries, other=0.0).to(tl.float32)
        k = tl.load(key + d * keys + columns, mask=columns < keys, other=0.0).to(tl.float32)
        bent = tanh(q[:, None] + k[None, :])
        tl.atomic_add(vector_gradient + d, tl.sum(tl.sum(gradient * bent, 1), 0), sem="relaxed")
        inner = gradient * (1.0 - bent * bent) * tl.load(vector + d).to(tl.float32)
        tl.atomic_add(
            query_gradient + d * queries + rows, tl.sum(inner, 1), mask=rows < queries, sem="relaxed"
        )
        tl.atomic_add(key_gradient + d * keys + columns, tl.sum(inner, 0), mask=columns < keys, sem="relaxed")


@triton.jit
def backward_keys(
    query, key, value, vector, allowed, lengths, bias, upstream, lse, delta,
    query_gradient, key_gradient, value_gradient, vector_gradient, bias_gradient,
    allowed_batch, allowed_head, allowed_row, allowed_key,
    bias_batch, bias_head, bias_row, bias_key,
    queries, keys, low, high, cap, dropout, seed,
    heads: tl.constexpr, group: tl.constexpr, width: tl.constexpr, value_width: tl.constexpr, cap_first: tl.constexpr,
    one_row: tl.constexpr, one_key: tl.constexpr,
    tile_rows: tl.constexpr, tile_keys: tl.constexpr, tile_width: tl.constexpr, tile_value: tl.constexpr,
):  # fmt: skip
    """One block of keys of one kv_head: gradients of keys, values, bias, and of queries where scores are additive."""
    blocks = tl.cdiv(keys, tile_keys)
    block, kv_head = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    batch = kv_head * group // heads
    key += kv_head * keys * width
    key_gradient += kv_head * keys * width
    length = keys
    if lengths is not None:
        length = tl.minimum(keys, tl.load(lengths + batch))

    columns = block * tile_keys + tl.arange(0, tile_keys)
    widths, value_widths = tl.arange(0, tile_width), tl.arange(0, tile_value)
    v = load_rows(value + kv_head * keys * value_width, columns, value_widths, length, value_width)
    dv = tl.zeros((tile_keys, tile_value), tl.float32)
    if vector is None:
        k = load_rows(key, columns, widths, length, width)
        dk = tl.zeros((tile_keys, tile_width), tl.float32)

    # Row i stands at i + before: those between the first key - high and the last key - low see something of the block.
    before = keys - queries
    first = block * tile_keys
    last = tl.minimum(first + tile_keys, keys) - 1
    start_row = tl.maximum(first - high - before, 0) // tile_rows * tile_rows
    end_row = tl.where(first < length, tl.minimum(queries, last - low - before + 1), 0)
    for member in range(group):
        head = kv_head * group + member
        q_start = query + head * queries * width
        upstream_start = upstream + head * queries * value_width
        allowed_start, bias_start = allowed, bias
        if allowed is not None:
            allowed_start = allowed + batch * allowed_batch + head % heads * allowed_head
        if bias is not None:
            bias_start = bias + batch * bias_batch + head % heads * bias_head
        for start in range(start_row, end_row, tile_rows):
            rows = start + tl.arange(0, tile_rows)
            here = rows < queries
            given = load_rows(upstream_start, rows, value_widths, queries, value_width)
            row_lse = tl.load(lse + head * queries + rows, mask=here, other=0.0)
            row_delta = tl.load(delta + head * queries + rows, mask=here, other=0.0)
            if vector is None:
                q = load_rows(q_start, rows, widths, queries, width)
                scores = tl.dot(q, tl.trans(k), input_precision="ieee")
            else:
                scores = additive_pairs(
                    q_start,
                    key,
                    vector + head * width,
                    rows,
                    columns,
                    queries,
                    keys,
                    width,
                    (tile_rows, tile_keys),
                )
            seen = seen_pairs(
                rows, columns, queries, keys, length, low, high, allowed_start, allowed_row, allowed_key
            )
            places = places_of(rows, columns, bias_row, bias_key)
            left, change, slope = gradient_of_tile(
                scores, seen, given, v, row_lse, row_delta, bias_start, places, rows, columns, keys, head,
                cap, dropout, seed, cap_first,
            )  # fmt: skip
            dv += tl.dot(tl.trans(left.to(given.dtype)), given, input_precision="ieee")
            if not cap_first:
                change *= slope
            if bias_gradient is not None:
                add_bias_gradient(
                    bias_gradient + batch * bias_batch + head % heads * bias_head, change, rows, columns, queries,
                    keys, bias_row, bias_key, one_row, one_key,
                )  # fmt: skip
            if cap_first:
                change *= slope
            if vector is None:
                dk += tl.dot(tl.trans(change.to(q.dtype)), q, input_precision="ieee")
            else:
                add_additive_gradients(
                    change, q_start, key, vector + head * width,
                    query_gradient + head * queries * width, key_gradient, vector_gradient + head * width,
                    rows, columns, queries, keys, width,
                )  # fmt: skip
    store_rows(value_gradient + kv_head * keys * value_width, dv, columns, value_widths, keys, value_width)
    if vector is None:
        store_rows(key_gradient, dk, columns, widths, keys, width)


@triton.jit
def backward_queries(
    query, key, value, allowed, lengths, bias, upstream, lse, delta, query_gradient,
    allowed_batch, allowed_head, allowed_row, allowed_key,
    bias_batch, bias_head, bias_row, bias_key,
    queries, keys, low, high, cap, dropout, seed,
    heads: tl.constexpr, group: tl.constexpr, width: tl.constexpr, value_width: tl.constexpr, cap_first: tl.constexpr,
    tile_rows: tl.constexpr, tile_keys: tl.constexpr, tile_width: tl.constexpr, tile_value: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head, where scores are products: the gradient of the queries."""
    blocks = tl.cdiv(queries, tile_rows)
    block, head = tl.program_id(0) % blocks, (tl.program_id(0) // blocks).to(tl.int64)
    batch = head // heads
    key += head // group * keys * width
    value += head // group * keys * value_width
    if allowed is not None:
        allowed += batch * allowed_batch + head % heads * allowed_head
    if bias is not None:
        bias += batch * bias_batch + head % heads * bias_head
    length = keys
    if lengths is not None:
        length = tl.minimum(keys, tl.load(lengths + batch))

    rows = block * tile_rows + tl.arange(0, tile_rows)
    here = rows < queries
    widths, value_widths = tl.arange(0, tile_width), tl.arange(0, tile_value)
    q = load_rows(query + head * queries * width, rows, widths, queries, width)
    given = load_rows(upstream + head * queries * value_width, rows, value_widths, queries, value_width)
    row_lse = tl.load(lse + head * queries + rows, mask=here, other=0.0)
    row_delta = tl.load(delta + head * queries + rows, mask=here, other=0.0)
    dq = tl.zeros((tile_rows, tile_width), tl.float32)

    first = block * tile_rows + (keys - queries)
    last = tl.minimum(first + tile_rows, keys) - 1
    start_key = tl.maximum(first + low, 0) // tile_keys * tile_keys
    end_key = tl.minimum(length, last + high + 1)
    for start in range(start_key, end_key, tile_keys):
        columns = start + tl.arange(0, tile_keys)
        k = load_rows(key, columns, widths, length, width)
        v = load_rows(value, columns, value_widths, length, value_width)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        seen = seen_pairs(rows, columns, queries, keys, length, low, high, allowed, allowed_row, allowed_key)
        places = places_of(rows, columns, bias_row, bias_key)
        _, change, slope = gradient_of_tile(
            scores, seen, given, v, row_lse, row_delta, bias, places, rows, columns, keys, head,
            cap, dropout, seed, cap_first,
        )  # fmt: skip
        dq += tl.dot((change * slope).to(k.dtype), k, input_precision="ieee")
    store_rows(query_gradient + head * queries * width, dq, rows, widths, queries, width)
