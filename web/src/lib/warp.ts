/** Lays the second picture of a match over the first one, with a CSS transform. */

import type { Transform } from './api';

type Matrix = Transform['matrix'];

/** Inverse of an affine map; null when it has none. */
export function invert([a, b, c, d, e, f]: Matrix): Matrix | null {
  const determinant = a * e - b * d;
  if (!Number.isFinite(determinant) || Math.abs(determinant) < 1e-9) return null;
  return [
    e / determinant,
    -b / determinant,
    (b * f - c * e) / determinant,
    -d / determinant,
    a / determinant,
    (c * d - a * f) / determinant,
  ];
}

/**
 * CSS matrix for an element that is stretched over the first picture's box (`width` × `height` pixels, origin at the
 * top left) and shows the second picture: afterwards each detail lies on its counterpart.
 *
 * `matrix` maps relative positions of the first picture to relative positions of the second.
 */
export function overlayTransform(matrix: Matrix, width: number, height: number): string | null {
  const back = invert(matrix);
  if (!back || width <= 0 || height <= 0) return null;
  const [a, b, c, d, e, f] = back;
  const numbers = [a, (d * height) / width, (b * width) / height, e, c * width, f * height];
  return `matrix(${numbers.map((n) => Number(n.toFixed(6))).join(', ')})`;
}
