import { describe, expect, it } from 'vitest';

import { problemText, type Match, type Transform } from '../../src/lib/api';
import { backOff, mayBeImage, nextBatch } from '../../src/lib/batches';
import { format, parse, type Route } from '../../src/lib/route';
import { invert, outlines, overlayTransform } from '../../src/lib/warp';
import { beyondWords, brief, bytes, explain, facts, isHeldBy, looks, percent, transformWords } from '../../src/lib/words';

describe('addresses', () => {
  it('round-trip', () => {
    const routes: Exclude<Route, { page: 'unknown' }>[] = [
      { page: 'library', collection: 'default' },
      { page: 'groups', collection: 'a_b-9' },
      { page: 'search', collection: 'c', like: null },
      { page: 'search', collection: 'c', like: 'af13' },
      { page: 'image', collection: 'c', id: 'af13' },
    ];
    for (const route of routes) expect(parse(format(route))).toEqual(route);
  });

  it('start at the first collection and know what they do not know', () => {
    expect(parse('/')).toEqual({ page: 'library', collection: 'default' });
    for (const path of ['/x', '/c', '/c/a/b', '/c/a/image', '/c/a/groups/1', '/c/%E0%A4%A', '/c/a/image/b/c']) {
      expect(parse(path), path).toEqual({ page: 'unknown' });
    }
  });
});

describe('requests of an upload', () => {
  const files = (...sizes: number[]): { size: number }[] => sizes.map((size) => ({ size }));
  const limits = { files: 3, bytes: 100 };

  it('hold as many files as the limits allow, and always one', () => {
    expect(nextBatch(files(10, 10, 10, 10), limits)).toBe(3);
    expect(nextBatch(files(60, 50, 10), limits)).toBe(1);
    expect(nextBatch(files(500, 1), limits)).toBe(1);
    expect(nextBatch(files(50, 50, 1), limits)).toBe(2);
    expect(nextBatch([], limits)).toBe(0);
  });

  it('wait longer each time, or as long as the service asks', () => {
    expect([1, 2, 3, 20].map((n) => backOff(n, null))).toEqual([500, 1000, 2000, 30_000]);
    expect(backOff(1, 7)).toBe(7000);
  });

  it('leave out of a folder what is no image', () => {
    expect(mayBeImage({ name: 'a.jpg', type: 'image/jpeg' })).toBe(true);
    expect(mayBeImage({ name: 'a.heic', type: '' })).toBe(true);
    expect(mayBeImage({ name: 'a.txt', type: 'text/plain' })).toBe(false);
    expect(mayBeImage({ name: '.DS_Store', type: '' })).toBe(false);
  });
});

describe('the overlay', () => {
  type Matrix = Transform['matrix'];
  const apply = ([a, b, c, d, e, f]: Matrix, [x, y]: [number, number]): [number, number] => [
    a * x + b * y + c,
    d * x + e * y + f,
  ];
  /** Where CSS puts the point of an element of the given size: matrix(a, b, c, d, e, f), column by column. */
  const css = (text: string, [x, y]: [number, number]): [number, number] => {
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = text.slice(7, -1).split(',').map(Number);
    return [a * x + c * y + e, b * x + d * y + f];
  };

  it('puts each point of the second picture on its counterpart in the first', () => {
    const width = 640;
    const height = 360;
    const matrices: Matrix[] = [
      [1, 0, 0, 0, 1, 0],
      [2, 0, -0.5, 0, 2, -0.25],
      [0, 1, 0, -1, 0, 1],
      [-1, 0, 1, 0, 1, 0],
      [1.2, 0.3, -0.1, -0.2, 0.9, 0.05],
    ];
    for (const matrix of matrices) {
      const text = overlayTransform(matrix, width, height);
      expect(text).not.toBeNull();
      for (const first of [[0.2, 0.3], [0.9, 0.1], [0.5, 0.5]] as [number, number][]) {
        const [u, v] = apply(matrix, first);
        const [x, y] = css(text ?? '', [u * width, v * height]);
        expect(x).toBeCloseTo(first[0] * width, 2);
        expect(y).toBeCloseTo(first[1] * height, 2);
      }
    }
  });

  it('outlines the shared part and the differences on both pictures', () => {
    // The second picture shows the left half of the first one.
    const transform: Transform = { matrix: [2, 0, 0, 0, 1, 0], rotation: 0, scale: 1, mirrored: false };
    const changed = [{ x: 0.1, y: 0.2, width: 0.2, height: 0.4 }];
    const [first, second] = outlines({ transform, evidence: { changed } });
    expect(first.shared).toEqual([[0, 0], [0.5, 0], [0.5, 1], [0, 1]]);
    expect(second.shared).toBeNull();
    expect(first.changed[0]?.[0]).toEqual([0.1, 0.2]);
    expect(second.changed[0]?.[0]).toEqual([0.2, 0.2]);
    expect(outlines({ transform: null, evidence: {} })).toEqual([
      { changed: [], shared: null },
      { changed: [], shared: null },
    ]);
  });

  it('is not made from a map that has no inverse', () => {
    expect(invert([1, 1, 0, 1, 1, 0])).toBeNull();
    expect(overlayTransform([0, 0, 0, 0, 0, 0], 10, 10)).toBeNull();
    expect(overlayTransform([1, 0, 0, 0, 1, 0], 0, 10)).toBeNull();
  });
});

describe('words', () => {
  it('never round a probability up to a certainty', () => {
    expect([1, 0.99999, 0.9989, 0.9899, 0.5, 0, NaN].map(percent)).toEqual([
      '100 %', '> 99.9 %', '99.8 %', '98 %', '50 %', '0 %', 'unknown',
    ]);
  });

  it('state sizes in the unit that fits', () => {
    expect([0, 999, 1000, 12_345, 999_600, 3_400_000_000].map(bytes)).toEqual([
      '0 bytes', '999 bytes', '1.0 kB', '12 kB', '1.0 MB', '3.4 GB',
    ]);
  });

  it('say how ordinary a picture looks, and nothing where no bank says it', () => {
    expect([0, 0.776, 0.777, 0.801, 0.802, 1].map((value) => looks(value)?.name)).toEqual([
      'Ordinary', 'Ordinary', 'Neither ordinary nor unusual', 'Neither ordinary nor unusual', 'Unusual', 'Unusual',
    ]);
    expect(looks(0.5)?.meaning).toContain('proves little');
    expect([null, undefined, NaN].map(looks)).toEqual([null, null, null]);
  });

  const match: Match = {
    id: 'x',
    name: 'x.jpg',
    class: 'edited',
    probability: 0.97,
    similarity: 0.8,
    stage: 'verification',
    transform: { matrix: [1, 0, 0, 0, 1, 0], rotation: -90, scale: 0.5, mirrored: true },
    overlap: 0.62,
    evidence: { overlap_a: 0.62, overlap_b: 1 },
    image: {} as Match['image'],
  };

  it('tell what was done to a picture', () => {
    const text = explain(match).join(' ');
    expect(text).toContain('mirrored, turned by 90° clockwise and shown at 50 % of the size');
    expect(text).toContain('The match shows 62 % of the picture.');
    expect(brief(match)).toBe('The match shows 62 % of the picture. It is mirrored, turned by 90° clockwise and shown at 50 % of the size.');
    expect(brief({ ...match, class: 'near_identical' })).toMatch(/^The whole picture, mirrored/);
    expect(brief({ ...match, evidence: {}, transform: null })).toMatch(/altered copy/);
    expect(explain({ ...match, class: 'similar', transform: null }).join(' ')).toContain('nothing shows that one is a copy');
    expect(transformWords({ matrix: [1, 0, 0, 0, 1, 0], rotation: 0.2, scale: 1.01, mirrored: false })).toEqual([]);
    expect(transformWords({ matrix: [1, 0, 0, 0, 1, 0], rotation: 180, scale: 2, mirrored: false })).toEqual([
      'turned by 180°', 'shown 2 times as large',
    ]);
  });

  it('read an evidence document', () => {
    expect(facts({ pdq_distance: 12, tile_agreement: 0.91234, whole: true, none: null, nested: { a: 1 } })).toEqual([
      ['PDQ distance', '12'], ['Tile agreement', '0.912'], ['Whole', 'yes'],
    ]);
    expect(facts(null)).toEqual([]);
    const evidence = { inliers: 84, tiles_agreeing: 40, tiles_disagreeing: 2, held_back: 'not verified' };
    const text = explain({ ...match, evidence }).join(' ');
    for (const part of ['84 details lie', '40 of 42 compared parts', 'Not rated higher: not verified.']) {
      expect(text).toContain(part);
    }
    expect(facts(evidence)).toEqual([]);
  });

  it('come out of a problem document, whatever came', () => {
    expect(problemText(422, '{"title":"Unprocessable","detail":"truncated JPEG"}')).toBe('truncated JPEG');
    expect(problemText(404, '{"title":"Not Found"}')).toBe('Not Found');
    expect(problemText(500, '<html>')).toBe('The service answered 500.');
    expect(problemText(413, '')).toMatch(/larger/);
  });
});

describe('what a file holds beyond its picture', () => {
  const [still, clear, moving] = [
    { frames: false, transparency: false },
    { frames: false, transparency: true },
    { frames: true, transparency: false },
  ];

  it('is said in words', () => {
    expect(beyondWords(undefined)).toEqual([]);
    expect(beyondWords(still)).toEqual([]);
    expect(beyondWords({ frames: true, transparency: true })).toEqual(['more frames or pages', 'transparent in places']);
  });

  it('is held by another file or not', () => {
    expect(isHeldBy(still, moving)).toBe(true);
    expect(isHeldBy(clear, clear)).toBe(true);
    expect(isHeldBy(clear, still)).toBe(false);
    expect(isHeldBy(moving, moving)).toBe(false);
    expect(isHeldBy(undefined, undefined)).toBe(true);
  });
});
