// Numbers on their way to the page: heedful/viewing/packed.py writes them and says how.

const TYPES = {
  float32: Float32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
};

// buffer: ArrayBuffer -> {...what is told, name: typed array with .shape, for each array}
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { arrays, ...told } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  for (const [name, { type, shape, start }] of Object.entries(arrays)) {
    const size = shape.reduce((product, side) => product * side, 1);
    const at = 4 + length + start;
    const array =
      type === "float16" ? fromHalf(new Uint16Array(buffer, at, size)) : new TYPES[type](buffer, at, size);
    array.shape = shape;
    told[name] = array;
  }
  return told;
}

// Browsers without Float16Array (2024 and before) are still about.
function fromHalf(halves) {
  const table = (fromHalf.table ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
  }));
  return Float32Array.from(halves, (bits) => table[bits]);
}
