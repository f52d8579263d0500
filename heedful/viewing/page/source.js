// Where numbers come from when a server is there. A saved page has the same methods in saved_source.js.
//
// What was asked for is kept, up to a bound; but what was taken from a sample of the queries (`sampled`) only until it
// is asked for again: the server goes over the rest meanwhile. A scene that the server has forgotten is asked for anew.

import { unpack } from "./packed.js";

const TILES = 320;
const OTHERS = 600;

export class ServerSource {
  // `growth` and the like are said by each model and scene; a server can do all of them.
  can = { open: true, growth: true, arithmetic: true, attribution: true, rollout: true, forced: true };

  #kept = new Kept(OTHERS);
  #tiles = new Kept(TILES);
  #requests = new Map(); // id of a scene -> {model, texts}
  #renamed = new Map(); // forgotten id -> the id that it has now

  models() {
    return this.#kept.get("models", () => ask("api/models"));
  }

  // {model, texts} -> manifest
  async open({ model, texts }) {
    const scene = await this.#kept.get(`open ${model} ${JSON.stringify(texts)}`, () =>
      ask("api/scenes", { model, texts }),
    );
    this.#requests.set(scene.id, { model, texts });
    return scene;
  }

  statistics(scene) {
    return this.#numbers(scene, "statistics");
  }

  thumbnails(scene, size = 48) {
    return this.#numbers(scene, `thumbnails?size=${size}`);
  }

  tile(scene, map, head, level, row, column) {
    return this.#numbers(scene, `maps/${map}/heads/${head}/tiles/${level}/${row}/${column}`, this.#tiles);
  }

  tracks(scene, map, head) {
    return this.#numbers(scene, `maps/${map}/heads/${head}/tracks`);
  }

  weights(scene, map, head, [a, b], [c, d]) {
    return this.#numbers(scene, `maps/${map}/heads/${head}/weights?rows=${a}:${b}&keys=${c}:${d}`, this.#tiles);
  }

  top(scene, map, head, [a, b], k = 8) {
    return this.#numbers(scene, `maps/${map}/heads/${head}/top?rows=${a}:${b}&k=${k}`);
  }

  arithmetic(scene, map, head, query) {
    return this.#numbers(scene, `maps/${map}/heads/${head}/arithmetic?query=${query}`);
  }

  rollout(scene, output) {
    return this.#numbers(scene, `rollout?output=${output}`);
  }

  received(scene) {
    return this.#numbers(scene, "rollout?received=1");
  }

  attribution(scene, output, method) {
    return this.#numbers(scene, `attribution?output=${output}&method=${method}`);
  }

  // Of the scene only its source: the search is for what might be written.
  growth(scene, beam) {
    const { source } = scene.texts;
    return this.#kept.get(`growth ${scene.id} ${beam}`, () =>
      ask("api/growth", { model: scene.model, texts: { source }, beam }),
    );
  }

  // How likely each token of a given text was, and what else might have been said.
  forced(scene) {
    return this.#kept.get(`forced ${scene.id}`, () =>
      this.#reopening([scene], () => ask(`api/scenes/${this.#id(scene)}/forced`)),
    );
  }

  // Whether two sides can be compared: here all, on a saved page those that it was made with.
  compares() {
    return true;
  }

  // left, right: {scene, map, head}
  compare(left, right) {
    const side = ({ scene, map, head }) => `${this.#id(scene)}.${map}.${head}`;
    const name = ({ scene, map, head }) => `${scene.id}.${map}.${head}`;
    return this.#kept.get(`compare ${name(left)} ${name(right)}`, () =>
      this.#reopening([left.scene, right.scene], () => bytes(`api/compare?left=${side(left)}&right=${side(right)}`)),
    );
  }

  #id(scene) {
    let { id } = scene;
    while (this.#renamed.has(id)) id = this.#renamed.get(id);
    return id;
  }

  #numbers(scene, what, kept = this.#kept) {
    return kept.get(`${scene.id} ${what}`, () =>
      this.#reopening([scene], () => bytes(`api/scenes/${this.#id(scene)}/${what}`)),
    );
  }

  // Gives what `make` gives; where the server has forgotten one of the scenes, they are opened anew, and it is made again.
  async #reopening(scenes, make) {
    try {
      return await make();
    } catch (error) {
      if (!error.forgotten || !scenes.every(({ id }) => this.#requests.has(id))) throw error;
      for (const scene of new Set(scenes)) await this.#reopen(scene);
      return make();
    }
  }

  async #reopen(scene) {
    const before = this.#id(scene);
    const { id } = await ask("api/scenes", this.#requests.get(scene.id));
    if (id !== before) this.#renamed.set(before, id);
  }
}

// Promises by name, the longest unused forgotten first. What failed is not kept.
class Kept {
  #promises = new Map();

  constructor(most) {
    this.most = most;
  }

  get(name, make) {
    const promise = this.#promises.get(name) ?? make();
    this.#promises.delete(name);
    this.#promises.set(name, promise);
    const drop = () => this.#promises.get(name) === promise && this.#promises.delete(name);
    promise.then((found) => found.sampled && !found.maps && drop(), drop);
    if (this.#promises.size > this.most) this.#promises.delete(this.#promises.keys().next().value);
    return promise;
  }
}

async function ask(address, body) {
  return (await answer(address, body)).json();
}

async function bytes(address) {
  return unpack(await (await answer(address)).arrayBuffer());
}

async function answer(address, body) {
  const options = body && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(new URL(address, document.baseURI), options);
  } catch {
    throw new Error("The server does not answer. Is `heedful view` still running?");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const error = new Error(typeof said.error === "string" ? said.error : `The server answered ${response.status}.`);
  error.forgotten = Boolean(said.forgotten);
  throw error;
}
