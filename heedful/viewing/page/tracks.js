// Numbers along the two sides of a map: of each query its entropy and largest weight, of each key what it receives.

import { look } from "./canvas.js";
import { numbered, weightText } from "./tokens.js";

export const THICK = 40;
const GAP = 8;
const ROLLED_OUT = 2 ** 26;

const KINDS = {
  entropy: { side: "queries", title: "entropy", unit: " nats", of: "how undecided the query is" },
  largest: { side: "queries", title: "largest", of: "its largest weight" },
  received: { side: "keys", title: "received", of: "what all queries together give to the key" },
  received_by_field: { side: "keys", title: "received, per query that sees it", of: "what the queries that may see the key give it, on average" },
  rollout: { side: "keys", title: "rollout", of: "what all outputs draw from it through all layers" },
};

export class Tracks {
  #tracks = [];
  #gone = false;

  constructor(context, number, head, changed) {
    this.context = context;
    this.changed = changed;
    this.#load(number, head);
  }

  destroy() {
    this.#gone = true;
    clearTimeout(this.timer);
  }

  // How much room they take: {right, below}, in pixels.
  static room(phone) {
    const thick = phone ? 22 : THICK;
    return { thick, right: 2 * (thick + GAP) + (phone ? 14 : 2), below: 2 * (thick + GAP) + 14 };
  }

  async #load(number, head, patience = 1500) {
    const { source, scene } = this.context;
    const map = scene.maps[number];
    try {
      const found = await source.tracks(scene, number, head);
      if (this.#gone) return;
      // For causal maps the first keys are seen by all and the last by few: the mean is fair, the sum is not.
      const received = map.causal ? "received_by_field" : "received";
      this.#tracks = ["entropy", "largest", received].filter((name) => found[name]).map((name) => track(name, found[name]));
      this.changed();
      if (found.sampled) this.timer = setTimeout(() => this.#gone || this.#load(number, head, patience * 1.5), patience);
    } catch (error) {
      if (!this.#gone) this.context.fail(error);
      return;
    }
    // Rollout goes through all weights of all layers: unasked only where that is a matter of a second.
    const weights = scene.maps.reduce((sum, one) => sum + one.heads * one.shape[0] * one.shape[1], 0);
    if (!scene.rollout || !source.can.rollout || weights > ROLLED_OUT || this.#gone) return;
    const rolled = await source.received(scene).catch(() => null);
    const values = rolled?.[map.keys];
    if (!this.#gone && values?.length === map.shape[1]) {
      this.#tracks = [...this.#tracks.filter(({ name }) => name !== "rollout"), track("rollout", values)];
      this.changed();
    }
  }

  draw(context, camera, origin, phone) {
    const { muted, accent, rule, sans } = look();
    const { thick } = Tracks.room(phone);
    let right = origin.x + camera.plotWidth + GAP;
    let below = origin.y + camera.plotHeight + GAP;
    for (const one of this.#tracks) {
      context.fillStyle = accent;
      context.globalAlpha = 0.5;
      if (one.side === "queries") {
        // From the picture outwards.
        one.box = { x: right, y: origin.y, width: thick, height: camera.plotHeight };
        bars(camera.seenQueries, (q) => camera.top(q), camera.plotHeight, camera.down, (from, to, start, size) => {
          context.fillRect(right, origin.y + start, (most(one.values, from, to) / one.top) * thick, size);
        });
        right += thick + GAP + (phone ? 6 : 0);
      } else {
        one.box = { x: origin.x, y: below, width: camera.plotWidth, height: thick };
        bars(camera.seenKeys, (k) => camera.left(k), camera.plotWidth, camera.across, (from, to, start, size) => {
          context.fillRect(origin.x + start, below, size, (most(one.values, from, to) / one.top) * thick);
        });
        below += thick + GAP;
      }
      context.globalAlpha = 1;
      context.fillStyle = rule;
      if (one.side === "queries") context.fillRect(one.box.x - 1, one.box.y, 1, one.box.height);
      else context.fillRect(one.box.x, one.box.y - 1, one.box.width, 1);
      context.fillStyle = muted;
      context.font = `${phone ? 10 : 11}px ${sans}`;
      context.textAlign = one.side === "queries" ? "left" : "right";
      context.textBaseline = "top";
      if (one.side === "queries") context.fillText(one.title, one.box.x, origin.y + camera.plotHeight + 4, thick + GAP + (phone ? 2 : -3));
      else context.fillText(one.title.split(",")[0], origin.x - 8, one.box.y, origin.x - 10);
    }
  }

  // What is told at a pixel of the canvas; null where no track is.
  at(x, y, camera, origin, axes) {
    for (const one of this.#tracks) {
      const { box } = one;
      if (!box || x < box.x - 3 || x > box.x + box.width + 3 || y < box.y - 3 || y > box.y + box.height + 3) continue;
      const number = Math.floor(one.side === "queries" ? camera.queryAt(y - origin.y) : camera.keyAt(x - origin.x));
      const axis = axes[one.side];
      if (!(number in axis.text)) return null;
      return { words: numbered(axis, number), value: `${one.title} ${weightText(one.values[number])}${one.unit ?? ""}`, of: one.of };
    }
    return null;
  }

  get names() {
    return this.#tracks.map(({ title }) => title);
  }
}

function track(name, values) {
  let top = 1e-9;
  for (const value of values) if (value > top) top = value;
  return { name, values, top, ...KINDS[name] };
}

// Bars of a token each; where tokens are thinner than a pixel, of a pixel each.
function bars([first, behind], place, length, size, draw) {
  if (size >= 1) {
    const gap = size >= 6 ? Math.max(1, Math.round(size * 0.12)) : 0;
    for (let i = first; i < behind; i++) {
      const start = Math.max(0, place(i));
      const end = Math.min(length, place(i + 1)) - gap;
      if (end > start) draw(i, i + 1, start, end - start);
    }
    return;
  }
  const begin = place(first);
  for (let pixel = Math.max(0, Math.floor(begin)); pixel < length; pixel++) {
    const from = first + Math.floor((pixel - begin) / size);
    const to = Math.min(behind, Math.max(from + 1, first + Math.floor((pixel + 1 - begin) / size)));
    if (from < behind) draw(Math.max(first, from), to, pixel, 1);
  }
}

function most(values, from, to) {
  let found = 0;
  for (let i = from; i < to; i++) if (values[i] > found) found = values[i];
  return found;
}
