/**
 * Layout of the grid: rows of equal width, each picture in its own proportions.
 *
 * Appending lays out only what is new, so that a collection can grow page by page to hundreds of thousands of pictures.
 */

export interface Size {
  width: number;
  height: number;
}

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Geometry {
  /** Width to fill, in pixels. */
  width: number;
  /** Height that rows aim at, in pixels. */
  target: number;
  /** Space between pictures, in pixels. */
  gap: number;
}

/** Narrower or wider pictures are cropped to these proportions, so that a panorama does not swallow a row. */
const NARROWEST = 0.5;
const WIDEST = 3;

interface Row {
  /** First picture of the row. */
  first: number;
  top: number;
  height: number;
}

export function aspect({ width, height }: Size): number {
  const ratio = width / height;
  return Number.isFinite(ratio) && ratio > 0 ? Math.min(WIDEST, Math.max(NARROWEST, ratio)) : 1;
}

export class JustifiedLayout {
  readonly geometry: Geometry;
  readonly #aspects: number[] = [];
  readonly #rows: Row[] = [];
  /** Where the open row starts; it is laid out again when pictures come. */
  #open = 0;

  constructor(geometry: Geometry) {
    this.geometry = { ...geometry, width: Math.max(1, geometry.width) };
  }

  get count(): number {
    return this.#aspects.length;
  }

  get rowCount(): number {
    return this.#rows.length;
  }

  /** Height of all rows, in pixels. */
  get height(): number {
    const last = this.#rows.at(-1);
    return last ? last.top + last.height : 0;
  }

  append(sizes: readonly Size[]): void {
    if (sizes.length === 0) return;
    for (const size of sizes) this.#aspects.push(aspect(size));
    if (this.#rows.at(-1)?.first === this.#open) this.#rows.pop();
    this.#layOut();
  }

  /** Height that `total` pictures will need, going by those that are laid out. */
  estimate(total: number): number {
    const { width, target, gap } = this.geometry;
    if (total <= this.count) return this.height;
    if (this.#open === 0) return Math.ceil(total / Math.max(1, width / (target * 1.3))) * (target + gap);
    const closed = this.box(this.#open)?.top ?? this.height;
    return (closed / this.#open) * total;
  }

  /** Row that the picture stands in. */
  rowOf(index: number): number {
    return this.#find((row) => row.first <= index);
  }

  /** First picture of a row and the first of the next one. */
  span(row: number): [first: number, end: number] {
    const first = this.#rows[row]?.first ?? this.count;
    return [first, this.#rows[row + 1]?.first ?? this.count];
  }

  box(index: number): Box | null {
    const row = this.#rows[this.rowOf(index)];
    const ratio = this.#aspects[index];
    if (!row || ratio === undefined) return null;
    let left = 0;
    for (let i = row.first; i < index; i++) left += (this.#aspects[i] ?? 1) * row.height + this.geometry.gap;
    return { left, top: row.top, width: ratio * row.height, height: row.height };
  }

  /** Pictures of the rows that touch `top..bottom`, as a half-open range. */
  between(top: number, bottom: number): [first: number, end: number] {
    if (this.#rows.length === 0 || bottom <= 0 || top >= this.height) return [0, 0];
    const from = Math.max(0, this.#find((row) => row.top <= top));
    const to = Math.max(from, this.#find((row) => row.top < bottom));
    return [this.span(from)[0], this.span(to)[1]];
  }

  /** The picture of the row above or below that stands closest to this one. */
  vertical(index: number, rows: number): number {
    const from = this.box(index);
    if (!from) return index;
    const row = Math.min(this.rowCount - 1, Math.max(0, this.rowOf(index) + rows));
    const centre = from.left + from.width / 2;
    const [first, end] = this.span(row);
    let best = index;
    let distance = Infinity;
    for (let i = first; i < end; i++) {
      const box = this.box(i);
      if (!box) continue;
      const away = Math.abs(box.left + box.width / 2 - centre);
      if (away < distance) [best, distance] = [i, away];
    }
    return best;
  }

  #layOut(): void {
    const { width, target, gap } = this.geometry;
    let first = this.#open;
    let top = this.height === 0 ? 0 : this.height + gap;
    let sum = 0;
    const close = (end: number, height: number): void => {
      this.#rows.push({ first, top, height });
      top += height + gap;
      first = end;
      sum = 0;
    };
    const fitted = (pictures: number, ratios: number): number =>
      Math.max(1, (width - gap * (pictures - 1)) / ratios);
    for (let i = this.#open; i < this.#aspects.length; i++) {
      const ratio = this.#aspects[i] ?? 1;
      const pictures = i - first + 1;
      const withIt = fitted(pictures, sum + ratio);
      if (withIt > target) {
        sum += ratio;
        continue;
      }
      const without = pictures > 1 ? fitted(pictures - 1, sum) : Infinity;
      if (without / target < target / withIt) {
        close(i, without);
        if (ratio * target >= width) close(i + 1, fitted(1, ratio));
        else sum = ratio;
      } else {
        close(i + 1, withIt);
      }
    }
    this.#open = first;
    // What does not fill a row keeps the height that rows aim at.
    if (first < this.#aspects.length) this.#rows.push({ first, top, height: target });
  }

  /** Last row for which `holds` is true; it is true for a prefix of the rows. */
  #find(holds: (row: Row) => boolean): number {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const row = this.#rows[middle];
      if (row && holds(row)) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
