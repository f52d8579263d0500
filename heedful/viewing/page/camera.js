// Where a map is looked at from: what stands where on the screen, and how far one can go.
//
// zoom is the height of a weight in pixels; (x, y) the key and the query in the middle. Pure numbers, no drawing.

export const MOST = 96;
// Of a small matrix cells do not grow beyond this by themselves.
const COMFORTABLE = 40;
// Nor are they wider than this; wide cells have room for their numbers.
const WIDE = 66;
const WIDER = 2.2;
const SMALL = 16; // pixels: cells below it stay square
// From this ratio of its sides on, a matrix is stretched: one question on a thousand facts is more than a hairline.
const LONG = 6;

export class Camera {
  // queries, keys: of the matrix
  constructor(queries, keys) {
    this.queries = queries;
    this.keys = keys;
    this.width = this.height = 1; // what there is room for
    this.x = keys / 2;
    this.y = queries / 2;
    this.zoom = null; // null: all of it
  }

  room(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.stay();
  }

  get fitting() {
    return Math.min(COMFORTABLE, this.width / this.keys / this.stretch, this.height / this.queries);
  }

  // How much wider than tall cells are: those of a small matrix, so that labels and numbers can be read.
  get stretch() {
    const across = Math.min(WIDE, this.width / this.keys);
    const down = Math.min(COMFORTABLE, this.height / this.queries);
    if (Math.min(across, down) < SMALL) return 1;
    return Math.min(WIDER, Math.max(1, across / down));
  }

  get scale() {
    return this.zoom ?? this.fitting;
  }

  // Width and height of a weight, in pixels.
  get across() {
    const across = this.scale * this.stretch;
    return this.queries <= LONG * this.keys ? across : Math.max(across, Math.min(24, this.width / this.keys));
  }

  get down() {
    if (this.keys <= LONG * this.queries) return this.scale;
    return Math.max(this.scale, Math.min(24, this.height / this.queries));
  }

  // Size of the picture: as large as the room, or as the matrix where that is smaller.
  get plotWidth() {
    return Math.min(this.width, this.keys * this.across);
  }

  get plotHeight() {
    return Math.min(this.height, this.queries * this.down);
  }

  // Of a key or query its place in the picture, in pixels; edges of cells, so that key 3 is from left(3) to left(4).
  left(key) {
    return this.plotWidth / 2 + (key - this.x) * this.across;
  }

  top(query) {
    return this.plotHeight / 2 + (query - this.y) * this.down;
  }

  // The key (or query) at a pixel, with its fraction.
  keyAt(pixel) {
    return this.x + (pixel - this.plotWidth / 2) / this.across;
  }

  queryAt(pixel) {
    return this.y + (pixel - this.plotHeight / 2) / this.down;
  }

  // Keys and queries that are seen: [first, behind the last].
  get seenKeys() {
    return [Math.max(0, Math.floor(this.keyAt(0))), Math.min(this.keys, Math.ceil(this.keyAt(this.plotWidth) - 1e-9))];
  }

  get seenQueries() {
    return [Math.max(0, Math.floor(this.queryAt(0))), Math.min(this.queries, Math.ceil(this.queryAt(this.plotHeight) - 1e-9))];
  }

  // Nearer by a factor; what is at the pixel stays there.
  zoomAt(factor, px, py) {
    const key = this.keyAt(px);
    const query = this.queryAt(py);
    this.zoom = Math.min(MOST / this.stretch, this.scale * factor);
    if (this.zoom <= this.fitting * 1.001) this.zoom = null;
    this.x = key - (px - this.plotWidth / 2) / this.across;
    this.y = query - (py - this.plotHeight / 2) / this.down;
    this.stay();
  }

  move(dx, dy) {
    this.x -= dx / this.across;
    this.y -= dy / this.down;
    this.stay();
  }

  // So that a cell is seen, with some around it.
  reveal(query, key) {
    const aside = Math.min(2, this.plotWidth / this.across / 3);
    const above = Math.min(2, this.plotHeight / this.down / 3);
    const half = this.plotWidth / this.across / 2;
    const tall = this.plotHeight / this.down / 2;
    this.x = Math.min(Math.max(this.x, key + 1 + aside - half), key - aside + half);
    this.y = Math.min(Math.max(this.y, query + 1 + above - tall), query - above + tall);
    this.stay();
  }

  // No nothing at the sides.
  stay() {
    if (this.zoom !== null) this.zoom = Math.min(MOST / this.stretch, this.zoom);
    if (this.zoom !== null && this.zoom <= this.fitting * 1.001) this.zoom = null;
    this.x = within(this.x, this.plotWidth / this.across / 2, this.keys);
    this.y = within(this.y, this.plotHeight / this.down / 2, this.queries);
  }

  // Levels of the pyramid: level n has cells of 2^n x 2^n weights. The finest whose cells are a pixel or more.
  get level() {
    const level = Math.ceil(-Math.log2(Math.min(this.across, this.down)) - 1e-9);
    return Math.max(0, Math.min(level, this.coarsest));
  }

  // The first level that has all of the matrix in one tile of 256 x 256 cells.
  get coarsest() {
    return Math.max(0, Math.ceil(Math.log2(Math.max(this.queries, this.keys))) - 8);
  }
}

function within(middle, half, length) {
  return half * 2 >= length ? length / 2 : Math.min(Math.max(middle, half), length - half);
}
