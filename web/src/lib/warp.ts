/** Lays the second picture of a match over the first one, with a CSS transform. */

import type { Match, Region, Transform } from './api';

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

type Point = readonly [x: number, y: number];

const FRAME: readonly Point[] = [[0, 0], [1, 0], [1, 1], [0, 1]];

/** Corners of a box, clockwise. */
export function corners({ x, y, width, height }: Region): Point[] {
  return FRAME.map(([u, v]) => [x + u * width, y + v * height]);
}

export function mapPoints([a, b, c, d, e, f]: Matrix, points: readonly Point[]): Point[] {
  return points.map(([x, y]) => [a * x + b * y + c, d * x + e * y + f]);
}

/** Outlines to draw over a picture, in relative units. */
export interface Outlines {
  /** Where the pictures differ. */
  changed: Point[][];
  /** The part that the other picture shows; null when that is the whole. */
  shared: Point[] | null;
}

/** Outlines for both pictures of a match. */
export function outlines(match: Pick<Match, 'transform' | 'evidence'>): [first: Outlines, second: Outlines] {
  const changed = (match.evidence?.changed ?? []).map(corners);
  const matrix = match.transform?.matrix;
  const back = matrix ? invert(matrix) : null;
  return [
    { changed, shared: back ? part(mapPoints(back, FRAME)) : null },
    {
      changed: matrix ? changed.map((box) => mapPoints(matrix, box)) : [],
      shared: matrix ? part(mapPoints(matrix, FRAME)) : null,
    },
  ];
}

/** A frame, unless it holds the whole picture. */
function part(frame: Point[]): Point[] | null {
  const inside = ([x, y]: Point): boolean => x > 0.02 && x < 0.98 && y > -0.02 && y < 1.02;
  const insideToo = ([x, y]: Point): boolean => y > 0.02 && y < 0.98 && x > -0.02 && x < 1.02;
  return frame.some((point) => inside(point) || insideToo(point)) ? frame : null;
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
