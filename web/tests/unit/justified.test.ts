import { describe, expect, it } from 'vitest';

import { aspect, JustifiedLayout, type Box, type Size } from '../../src/lib/justified';

const GEOMETRY = { width: 1000, target: 200, gap: 5 };

/** Sizes of many shapes, the same ones every time. */
function sizes(count: number): Size[] {
  let state = 12345;
  return Array.from({ length: count }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return { width: 300 + (state % 1200), height: 300 + (Math.floor(state / 1200) % 900) };
  });
}

function laidOut(pictures: readonly Size[], geometry = GEOMETRY): JustifiedLayout {
  const layout = new JustifiedLayout(geometry);
  layout.append(pictures);
  return layout;
}

function boxes(layout: JustifiedLayout): Box[] {
  return Array.from({ length: layout.count }, (_, i) => {
    const box = layout.box(i);
    if (!box) throw new Error(`no box for ${i}`);
    return box;
  });
}

describe('JustifiedLayout', () => {
  it('fills every row but the last, in order, without overlap', () => {
    const layout = laidOut(sizes(500));
    for (let row = 0; row < layout.rowCount; row++) {
      const [first, end] = layout.span(row);
      expect(end).toBeGreaterThan(first);
      let left = 0;
      for (let i = first; i < end; i++) {
        const box = layout.box(i);
        expect(box?.left).toBeCloseTo(left, 6);
        left += (box?.width ?? 0) + GEOMETRY.gap;
      }
      if (row < layout.rowCount - 1) expect(left - GEOMETRY.gap).toBeCloseTo(GEOMETRY.width, 6);
      else expect(left - GEOMETRY.gap).toBeLessThanOrEqual(GEOMETRY.width + 1e-6);
      const [next] = layout.span(row + 1);
      const below = layout.box(next);
      const here = layout.box(first);
      if (below && here) expect(below.top).toBeCloseTo(here.top + here.height + GEOMETRY.gap, 6);
    }
  });

  it('keeps rows near the height they aim at, and pictures in their proportions', () => {
    const pictures = sizes(500);
    const layout = laidOut(pictures);
    const [lastRow] = layout.span(layout.rowCount - 1);
    boxes(layout).forEach((box, i) => {
      if (i < lastRow) {
        expect(box.height).toBeGreaterThan(GEOMETRY.target * 0.6);
        expect(box.height).toBeLessThan(GEOMETRY.target * 1.7);
      }
      expect(box.width / box.height).toBeCloseTo(aspect(pictures[i] ?? { width: 1, height: 1 }), 6);
    });
  });

  it('gives the same layout page by page as at once', () => {
    const pictures = sizes(457);
    const paged = new JustifiedLayout(GEOMETRY);
    for (let i = 0; i < pictures.length; i += 50) paged.append(pictures.slice(i, i + 50));
    expect(boxes(paged)).toEqual(boxes(laidOut(pictures)));
    expect(paged.height).toBe(laidOut(pictures).height);
  });

  it('finds what a window shows: all that touches it and no row more', () => {
    const layout = laidOut(sizes(800));
    const all = boxes(layout);
    for (const [top, bottom] of [[0, 900], [1234, 2100], [layout.height - 400, layout.height + 500], [-500, 10]] as const) {
      const [first, end] = layout.between(top, bottom);
      const touching = all.flatMap((box, i) => (box.top < bottom && box.top + box.height > top ? [i] : []));
      expect(touching.length).toBeGreaterThan(0);
      expect(first).toBeLessThanOrEqual(touching[0] ?? -1);
      expect(end).toBeGreaterThan(touching.at(-1) ?? Infinity);
      expect(layout.rowOf(end - 1) - layout.rowOf(first)).toBeLessThanOrEqual(
        layout.rowOf(touching.at(-1) ?? 0) - layout.rowOf(touching[0] ?? 0) + 1,
      );
    }
    expect(layout.between(layout.height + 10, layout.height + 500)).toEqual([0, 0]);
    expect(laidOut([]).between(0, 1000)).toEqual([0, 0]);
  });

  it('moves the cursor to the picture right above or below', () => {
    const layout = laidOut(sizes(200));
    const index = layout.span(4)[0] + 1;
    const down = layout.vertical(index, 1);
    expect(layout.rowOf(down)).toBe(5);
    const box = layout.box(index);
    const under = layout.box(down);
    const middle = (box?.left ?? 0) + (box?.width ?? 0) / 2;
    expect(Math.abs((under?.left ?? 0) + (under?.width ?? 0) / 2 - middle)).toBeLessThan(GEOMETRY.width / 3);
    expect(layout.rowOf(layout.vertical(index, -1))).toBe(3);
    expect(layout.rowOf(layout.vertical(0, -1))).toBe(0);
    expect(layout.rowOf(layout.vertical(199, 50))).toBe(layout.rowCount - 1);
  });

  it('estimates the height of what is not loaded yet', () => {
    const pictures = sizes(5000);
    const layout = laidOut(pictures.slice(0, 400));
    const estimate = layout.estimate(5000);
    const real = laidOut(pictures).height;
    expect(Math.abs(estimate - real) / real).toBeLessThan(0.05);
    expect(layout.estimate(400)).toBe(layout.height);
    expect(laidOut([]).estimate(1000)).toBeGreaterThan(1000);
  });

  it('survives shapes that no camera makes', () => {
    const layout = laidOut([
      { width: 0, height: 0 },
      { width: 100000, height: 1 },
      { width: 1, height: 100000 },
      { width: NaN, height: 10 },
    ]);
    for (const box of boxes(layout)) {
      expect(Number.isFinite(box.left + box.top + box.width + box.height)).toBe(true);
      expect(box.width).toBeLessThanOrEqual(GEOMETRY.width + 1e-6);
    }
    const narrow = laidOut(sizes(50), { width: 60, target: 200, gap: 5 });
    for (const box of boxes(narrow)) expect(box.width).toBeLessThanOrEqual(60 + 1e-6);
  });

  it('lays out fifty thousand pictures and finds any window at once', () => {
    const layout = laidOut(sizes(50_000));
    expect(layout.count).toBe(50_000);
    const [first, end] = layout.between(layout.height / 2, layout.height / 2 + 900);
    expect(end - first).toBeLessThan(80);
    expect(layout.box(49_999)?.top).toBeLessThan(layout.height);
  });
});
