import { describe, expect, it } from 'vitest';

import {
  command,
  EMPTY,
  reduce,
  resolution,
  verdictOf,
  type Action,
  type Review,
  type ReviewGroup,
} from '../../src/lib/review';

const GROUPS: ReviewGroup[] = [
  {
    id: 'one',
    members: [
      { id: 'a', class: null },
      { id: 'b', class: 'identical' },
      { id: 'c', class: 'similar' },
      { id: 'x', class: 'edited' },
    ],
  },
  {
    id: 'two',
    members: [
      { id: 'd', class: null },
      { id: 'e', class: 'edited' },
    ],
  },
];

const START = reduce(EMPTY, { type: 'groups', groups: GROUPS });

/** Presses keys, as the page does for those that are actions. */
function press(review: Review, ...keys: string[]): Review {
  return keys.reduce((now, key) => reduce(now, command(key) as Action), review);
}

describe('the cursor', () => {
  it('moves among pictures and groups and stays inside', () => {
    const at = (review: Review): number[] => [review.group, review.member];
    expect(at(press(START, 'ArrowRight'))).toEqual([0, 1]);
    expect(at(press(START, 'ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowRight'))).toEqual([0, 3]);
    expect(at(press(START, 'ArrowLeft'))).toEqual([0, 0]);
    expect(at(press(START, 'ArrowRight', 'ArrowDown'))).toEqual([1, 0]);
    expect(at(press(START, 'ArrowDown', 'ArrowRight', 'ArrowDown'))).toEqual([1, 1]);
    expect(at(press(START, 'ArrowUp'))).toEqual([0, 0]);
    expect(at(press(EMPTY, 'ArrowDown', 'ArrowRight'))).toEqual([0, 0]);
  });
});

describe('marks', () => {
  it('go to the picture under the cursor, which moves on', () => {
    const review = press(START, 'k', 'r', 'n');
    expect(resolution(review, 'one')).toEqual({ keep: ['a'], remove: ['b'], not_duplicates: ['c'] });
    expect(review.member).toBe(3);
    expect(resolution(review, 'two')).toBeNull();
  });

  it('come off with the same key, and change with another', () => {
    const marked = press(START, 'k');
    const back = reduce(marked, { type: 'point', group: 0, member: 0 });
    expect(verdictOf(press(back, 'k'), 'one', 'a')).toBeNull();
    expect(verdictOf(press(back, 'r'), 'one', 'a')).toBe('remove');
    expect(resolution(press(back, 'k'), 'one')).toBeNull();
  });

  it('never remove a whole group', () => {
    const review = press(START, 'r', 'r', 'r', 'r');
    expect(resolution(review, 'one')?.remove).toEqual(['a', 'b', 'c']);
    expect(review.notice).toMatch(/has to stay/);
    expect(press(review, 'ArrowLeft').notice).toBeNull();
  });

  it('do not separate the keeper from itself', () => {
    const review = press(START, 'n');
    expect(resolution(review, 'one')).toBeNull();
    expect(review.notice).not.toBeNull();
  });

  it('of a mouse leave the cursor where it points', () => {
    const review = reduce(START, { type: 'mark_at', group: 1, member: 0, verdict: 'keep' });
    expect([review.group, review.member, verdictOf(review, 'two', 'd')]).toEqual([1, 0, 'keep']);
  });

  it('stay where they are when more groups come', () => {
    const review = press(START, 'k');
    const more = reduce(review, { type: 'groups', groups: [...GROUPS, { id: 'three', members: [] }] });
    expect(verdictOf(more, 'one', 'a')).toBe('keep');
    expect(more.member).toBe(1);
  });
});

describe('the suggestion', () => {
  it('removes whole copies, and never what is edited or only looks alike', () => {
    const review = press(START, 'a');
    expect(review.notice).toMatch(/left for you/);
    const plan = resolution(review, 'one');
    expect(plan).toEqual({ keep: ['a'], remove: ['b'], not_duplicates: [] });
  });

  it('never removes what holds more than the keeper', () => {
    const members: ReviewGroup['members'] = [
      { id: 'still', class: null },
      { id: 'animation', class: 'near_identical', holdsMore: true },
    ];
    const alone = press(reduce(EMPTY, { type: 'groups', groups: [{ id: 'x', members }] }), 'a');
    expect(resolution(alone, 'x')).toBeNull();
    const copy = { id: 'copy', class: 'near_identical', holdsMore: false } as const;
    const both = press(reduce(EMPTY, { type: 'groups', groups: [{ id: 'x', members: [...members, copy] }] }), 'a');
    expect(resolution(both, 'x')).toEqual({ keep: ['still'], remove: ['copy'], not_duplicates: [] });
    expect(both.notice).toMatch(/left for you/);
  });

  it('leaves what a person decided', () => {
    const kept = press(START, 'ArrowRight', 'k', 'a');
    expect(resolution(kept, 'one')).toEqual({ keep: ['a', 'b'], remove: [], not_duplicates: [] });
  });

  it('says so when there is no copy', () => {
    const alike: ReviewGroup = { id: 'x', members: [{ id: 'p', class: null }, { id: 'q', class: 'edited' }] };
    const review = press(reduce(EMPTY, { type: 'groups', groups: [alike] }), 'a');
    expect(resolution(review, 'x')).toBeNull();
    expect(review.notice).not.toBeNull();
  });
});

describe('undo', () => {
  it('takes back step by step, across groups', () => {
    const review = press(START, 'k', 'r', 'ArrowDown', 'ArrowRight', 'r');
    const once = press(review, 'u');
    expect([once.group, once.member]).toEqual([1, 1]);
    expect(resolution(once, 'two')).toBeNull();
    const twice = press(once, 'u');
    expect([twice.group, twice.member]).toEqual([0, 1]);
    expect(resolution(twice, 'one')).toEqual({ keep: ['a'], remove: [], not_duplicates: [] });
    const empty = press(twice, 'u');
    expect(resolution(empty, 'one')).toBeNull();
    expect(press(empty, 'u').notice).toMatch(/nothing to undo/);
  });

  it('takes back a suggestion as one step', () => {
    expect(resolution(press(START, 'a', 'u'), 'one')).toBeNull();
  });

  it('forgets groups that are gone', () => {
    const review = press(START, 'k', 'ArrowDown', 'k');
    const left = reduce(review, { type: 'groups', groups: GROUPS.slice(0, 1) });
    expect(left.group).toBe(0);
    expect(resolution(press(left, 'u'), 'one')).toBeNull();
    expect(press(left, 'u').history).toEqual([]);
    // Should one come back, nothing in it is decided.
    expect(resolution(reduce(left, { type: 'groups', groups: GROUPS }), 'two')).toBeNull();
  });
});

describe('a group that was resolved', () => {
  it('gives its place to the next one', () => {
    const review = reduce(START, { type: 'groups', groups: GROUPS.slice(1) });
    expect([review.group, review.member]).toEqual([0, 0]);
    expect(review.groups[review.group]?.id).toBe('two');
    expect(reduce(review, { type: 'groups', groups: [] }).group).toBe(0);
  });
});

describe('keys', () => {
  it('mean the same with Caps Lock on, and other keys nothing', () => {
    expect(command('K')).toEqual(command('k'));
    expect(command('Enter')).toEqual({ type: 'apply' });
    for (const key of ['x', 'Tab', 'Escape', 'Delete', ' ', '']) expect(command(key)).toBeNull();
  });
});
