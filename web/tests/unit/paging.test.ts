import { describe, expect, it, vi } from 'vitest';

import type { Page } from '../../src/lib/api';
import { Pager } from '../../src/lib/paging';

interface Item {
  id: string;
}

const items = (...ids: string[]): Item[] => ids.map((id) => ({ id }));
const ids = (pager: Pager<Item>): string => pager.items.map(({ id }) => id).join('');

/** A service that holds `ids` and hands out `size` a page; its cursor is the id after which a page starts. */
function service(held: string[], size: number): (cursor: string | null) => Promise<Page<Item>> {
  return (cursor) => {
    const from = cursor === null ? 0 : held.indexOf(cursor) + 1;
    const page = held.slice(from, from + size);
    return Promise.resolve({
      items: items(...page),
      next: from + size < held.length ? (page.at(-1) ?? null) : null,
    });
  };
}

describe('Pager', () => {
  it('reads page after page and stops at the end', async () => {
    const fetch = vi.fn(service([...'abcdefg'], 3));
    const pager = new Pager(fetch);
    for (let i = 0; i < 5; i++) await pager.next();
    expect(ids(pager)).toBe('abcdefg');
    expect(pager.done).toBe(true);
    expect(fetch).toHaveBeenCalledTimes(3);
  });

  it('makes one request at a time', async () => {
    const fetch = vi.fn(service([...'abcd'], 2));
    const pager = new Pager(fetch);
    await Promise.all([pager.next(), pager.next(), pager.next()]);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(ids(pager)).toBe('ab');
  });

  it('shows nothing twice when pages overlap', async () => {
    const pages: Page<Item>[] = [
      { items: items('a', 'b', 'c'), next: '1' },
      { items: items('c', 'd', 'd'), next: null },
    ];
    const pager = new Pager<Item>((cursor) => Promise.resolve(pages[cursor === null ? 0 : 1] as Page<Item>));
    await pager.next();
    await pager.next();
    expect(ids(pager)).toBe('abcd');
  });

  it('stops when a service repeats its cursor', async () => {
    const fetch = vi.fn(() => Promise.resolve({ items: items('a'), next: 'same' }));
    const pager = new Pager<Item>(fetch);
    for (let i = 0; i < 5; i++) await pager.next();
    expect(pager.done).toBe(true);
    expect(fetch).toHaveBeenCalledTimes(2);
  });

  it('keeps what it has when a page fails, and goes on from there', async () => {
    const whole = service([...'abcd'], 2);
    let failing = false;
    const pager = new Pager<Item>((cursor) => (failing ? Promise.reject(new Error('no answer')) : whole(cursor)));
    await pager.next();
    failing = true;
    await pager.next();
    expect([ids(pager), pager.error?.message, pager.loading]).toEqual(['ab', 'no answer', false]);
    failing = false;
    await pager.next();
    expect([ids(pager), pager.error]).toEqual(['abcd', null]);
  });

  it('drops an answer that comes after a reset', async () => {
    const answers: ((page: Page<Item>) => void)[] = [];
    const pager = new Pager<Item>(() => new Promise((resolve) => answers.push(resolve)));
    const stale = pager.next();
    pager.reset();
    const fresh = pager.next();
    answers[1]?.({ items: items('n'), next: null });
    await fresh;
    answers[0]?.({ items: items('o'), next: null });
    await stale;
    expect(ids(pager)).toBe('n');
    expect(pager.done).toBe(true);
  });

  it('puts what is new in front and keeps the rest', async () => {
    const held = [...'efghij'];
    const pager = new Pager((cursor) => service(held, 2)(cursor));
    await pager.next();
    await pager.next();
    held.unshift(...'abc');
    await pager.refresh();
    expect(ids(pager)).toBe('abcefgh');
    await pager.next();
    expect(ids(pager)).toBe('abcefghij');
  });

  it('starts over when too much is new', async () => {
    const held = [...'yz'];
    const pager = new Pager((cursor) => service(held, 2)(cursor));
    await pager.next();
    held.unshift(...'abcdefgh');
    await pager.refresh(2);
    expect(ids(pager)).toBe('ab');
    expect(pager.done).toBe(false);
  });

  it('forgets what was removed, and takes it again when it comes back', async () => {
    const held = [...'abc'];
    const pager = new Pager((cursor) => service(held, 9)(cursor));
    await pager.next();
    pager.remove(['b']);
    expect(ids(pager)).toBe('ac');
    await pager.refresh();
    expect(ids(pager)).toBe('bac');
  });

  it('reads again as much as it had, and keeps it all until the answer is there', async () => {
    const held = [...'abcdef'];
    let failing = false;
    const pager = new Pager((cursor) =>
      failing ? Promise.reject(new Error('no answer')) : service(held, 2)(cursor),
    );
    await pager.next();
    await pager.next();
    held.splice(1, 1);
    const reloading = pager.reload();
    expect(ids(pager)).toBe('abcd');
    await reloading;
    expect(ids(pager)).toBe('acde');
    await pager.next();
    expect([ids(pager), pager.done]).toEqual(['acdef', true]);
    failing = true;
    await pager.reload();
    expect([ids(pager), pager.error?.message, pager.loading]).toEqual(['acdef', 'no answer', false]);
  });

  it('tells of every change', async () => {
    const changed = vi.fn();
    const pager = new Pager(service([...'ab'], 1), changed);
    await pager.next();
    expect(changed).toHaveBeenCalledTimes(2);
    pager.remove(['a']);
    expect(changed).toHaveBeenCalledTimes(3);
  });
});
