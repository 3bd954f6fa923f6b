/** Cursor paging: one request at a time, nothing twice, a failure can be tried again, a late answer is dropped. */

import type { Page } from './api';

export interface Keyed {
  id: string;
}

export class Pager<T extends Keyed> {
  items: readonly T[] = [];
  /** The last page has been read. */
  done = false;
  loading = false;
  error: Error | null = null;

  readonly #fetch: (cursor: string | null) => Promise<Page<T>>;
  readonly #changed: () => void;
  #cursor: string | null = null;
  #seen = new Set<string>();
  /** Counts resets: an answer to a request of an earlier count is dropped. */
  #epoch = 0;
  #pending: Promise<void> | null = null;

  constructor(fetch: (cursor: string | null) => Promise<Page<T>>, changed: () => void = () => {}) {
    this.#fetch = fetch;
    this.#changed = changed;
  }

  /** Forgets everything; the next page is the first. */
  reset(): void {
    this.#epoch += 1;
    this.items = [];
    this.done = false;
    this.loading = false;
    this.error = null;
    this.#cursor = null;
    this.#seen = new Set();
    this.#pending = null;
    this.#changed();
  }

  /** Reads the next page; does nothing at the end, joins a request under way. Never rejects: see `error`. */
  next(): Promise<void> {
    if (this.#pending) return this.#pending;
    if (this.done) return Promise.resolve();
    const epoch = this.#epoch;
    this.loading = true;
    this.error = null;
    this.#changed();
    this.#pending = this.#fetch(this.#cursor).then(
      (page) => {
        if (epoch !== this.#epoch) return;
        this.items = [...this.items, ...this.#unseen(page.items)];
        // A service that repeats a cursor would be asked for ever.
        this.done = page.next === null || page.next === this.#cursor;
        this.#cursor = page.next;
        this.#settle();
      },
      (error: unknown) => {
        if (epoch !== this.#epoch) return;
        this.error = error instanceof Error ? error : new Error(String(error));
        this.#settle();
      },
    );
    return this.#pending;
  }

  /**
   * Puts what is new since the first page in front: reads from the start until it meets something known.
   *
   * Falls back to a reset when more is new than `pages` pages hold.
   */
  async refresh(pages = 5): Promise<void> {
    const epoch = this.#epoch;
    const fresh: T[] = [];
    let cursor: string | null = null;
    for (let read = 0; read < pages; read++) {
      let page: Page<T>;
      try {
        page = await this.#fetch(cursor);
      } catch (error) {
        if (epoch !== this.#epoch) return;
        this.error = error instanceof Error ? error : new Error(String(error));
        this.#changed();
        return;
      }
      if (epoch !== this.#epoch) return;
      const unseen = this.#unseen(page.items);
      fresh.push(...unseen);
      if (unseen.length < page.items.length || page.next === null || page.next === cursor) {
        this.items = [...fresh, ...this.items];
        if (page.next === null && this.items.length === fresh.length) this.done = true;
        this.error = null;
        this.#changed();
        return;
      }
      cursor = page.next;
    }
    this.reset();
    await this.next();
  }

  /** Reads again as much as is there, and puts it in place at once; on failure everything stays as it was. */
  async reload(): Promise<void> {
    this.#epoch += 1;
    const epoch = this.#epoch;
    this.#pending = null;
    this.loading = true;
    this.#changed();
    const wanted = this.items.length;
    const items = new Map<string, T>();
    let cursor: string | null = null;
    try {
      for (;;) {
        const page: Page<T> = await this.#fetch(cursor);
        if (epoch !== this.#epoch) return;
        for (const item of page.items) if (!items.has(item.id)) items.set(item.id, item);
        const last = page.next === null || page.next === cursor;
        cursor = page.next;
        if (!last && items.size < wanted) continue;
        this.items = [...items.values()];
        this.#seen = new Set(items.keys());
        this.#cursor = cursor;
        this.done = last;
        this.error = null;
        break;
      }
    } catch (error) {
      if (epoch !== this.#epoch) return;
      this.error = error instanceof Error ? error : new Error(String(error));
    }
    this.#settle();
  }

  remove(ids: readonly string[]): void {
    const gone = new Set(ids);
    this.items = this.items.filter(({ id }) => !gone.has(id));
    for (const id of ids) this.#seen.delete(id);
    this.#changed();
  }

  #unseen(items: readonly T[]): T[] {
    return items.filter(({ id }) => {
      if (this.#seen.has(id)) return false;
      this.#seen.add(id);
      return true;
    });
  }

  #settle(): void {
    this.loading = false;
    this.#pending = null;
    this.#changed();
  }
}
