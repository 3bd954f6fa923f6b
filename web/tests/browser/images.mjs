/** Images for the test, drawn and written here: nothing is read from disk. */

import { crc32, deflateSync } from 'node:zlib';

/**
 * RGB pixels, 8 bits each.
 * @typedef {{ width: number, height: number, data: Uint8Array }} Pixels
 */

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/**
 * PNG, truecolour, 8 bits, no filter (RFC 2083). `comment` makes another file of the same pixels.
 * @param {Pixels} pixels
 * @param {string} [comment]
 * @returns {Buffer}
 */
export function png({ width, height, data }, comment) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * width * 3, (y + 1) * width * 3), y * (1 + width * 3) + 1);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    ...(comment === undefined ? [] : [chunk('tEXt', Buffer.from(`Comment\0${comment}`, 'latin1'))]),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/**
 * @param {string} type
 * @param {Buffer} body
 */
function chunk(type, body) {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const out = Buffer.alloc(4 + named.length + 4);
  out.writeUInt32BE(body.length, 0);
  out.set(named, 4);
  out.writeUInt32BE(crc32(named), 4 + named.length);
  return out;
}

/**
 * A scene of discs and bars over a gradient, another one for every seed: rich enough for every stage of the matching.
 * @param {number} seed
 * @returns {Pixels}
 */
export function scene(seed, width = 480, height = 360) {
  const random = generator(seed);
  const data = new Uint8Array(width * height * 3);
  const [from, to] = [colour(random), colour(random)];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const share = (x / width + y / height) / 2;
      put(data, width, x, y, from.map((value, i) => value + ((to[i] ?? 0) - value) * share));
    }
  }
  for (let shape = 0; shape < 70; shape++) {
    const [cx, cy, size] = [random() * width, random() * height, 6 + random() * 46];
    const fill = colour(random);
    const round = random() < 0.5;
    const [wide, tall] = [0.3 + random(), 0.3 + random()];
    for (let y = Math.max(0, Math.floor(cy - size * tall)); y < Math.min(height, cy + size * tall); y++) {
      for (let x = Math.max(0, Math.floor(cx - size * wide)); x < Math.min(width, cx + size * wide); x++) {
        const away = ((x - cx) / (size * wide)) ** 2 + ((y - cy) / (size * tall)) ** 2;
        if (!round || away < 1) put(data, width, x, y, fill);
      }
    }
  }
  return { width, height, data };
}

/**
 * The same picture at another size: each pixel is the mean of those that it covers.
 * @param {Pixels} pixels
 * @param {number} scale below 1
 * @returns {Pixels}
 */
export function shrink({ width, height, data }, scale) {
  const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
  const out = new Uint8Array(across * down * 3);
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const sum = [0, 0, 0];
      let covered = 0;
      for (let sy = Math.floor((y * height) / down); sy < Math.ceil(((y + 1) * height) / down); sy++) {
        for (let sx = Math.floor((x * width) / across); sx < Math.ceil(((x + 1) * width) / across); sx++) {
          for (let i = 0; i < 3; i++) sum[i] = (sum[i] ?? 0) + (data[(sy * width + sx) * 3 + i] ?? 0);
          covered += 1;
        }
      }
      put(out, across, x, y, sum.map((value) => value / covered));
    }
  }
  return { width: across, height: down, data: out };
}

/**
 * @param {Uint8Array} data
 * @param {number} width
 * @param {number} x
 * @param {number} y
 * @param {number[]} rgb
 */
function put(data, width, x, y, rgb) {
  for (let i = 0; i < 3; i++) data[(y * width + x) * 3 + i] = Math.round(rgb[i] ?? 0);
}

/** @param {() => number} random */
function colour(random) {
  return [random() * 255, random() * 255, random() * 255];
}

/**
 * Numbers from 0 to 1, the same ones for the same seed (xorshift, Marsaglia 2003).
 * @param {number} seed
 */
function generator(seed) {
  let state = (seed * 2654435761 + 1) >>> 0;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}
