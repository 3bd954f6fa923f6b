/** What the gallery knows of each collection; it stays while the reader visits other pages. */

import { listCollections, listImages, type Collection, type Image } from './api';
import { Pager } from './paging';

/** Images in the first request, which should be quick, and in the later ones, of which there may be many. */
const FIRST_PAGE = 100;
const PAGE = 500;

export class Library {
  readonly collection: string;
  items: readonly Image[] = $state.raw([]);
  loading = $state(false);
  done = $state(false);
  error: Error | null = $state.raw(null);
  /** Picture under the keyboard cursor. */
  active = $state(0);

  readonly #pager: Pager<Image>;

  constructor(collection: string) {
    this.collection = collection;
    this.#pager = new Pager(
      (cursor) => listImages(collection, cursor, cursor === null ? FIRST_PAGE : PAGE),
      () => this.#copy(),
    );
  }

  next(): void {
    void this.#pager.next();
  }

  refresh(): Promise<void> {
    return this.#pager.items.length === 0 ? this.#again() : this.#pager.refresh();
  }

  remove(ids: readonly string[]): void {
    this.#pager.remove(ids);
    this.active = Math.min(this.active, Math.max(0, this.items.length - 1));
  }

  #again(): Promise<void> {
    this.#pager.reset();
    return this.#pager.next();
  }

  #copy(): void {
    this.items = this.#pager.items;
    this.loading = this.#pager.loading;
    this.done = this.#pager.done;
    this.error = this.#pager.error;
  }
}

const libraries = new Map<string, Library>();

export function libraryOf(collection: string): Library {
  const known = libraries.get(collection);
  if (known) return known;
  const library = new Library(collection);
  libraries.set(collection, library);
  return library;
}

export function forgetLibrary(collection: string): void {
  libraries.delete(collection);
}

class Catalogue {
  collections: readonly Collection[] = $state.raw([]);
  /** Why the list could not be read. */
  error: Error | null = $state.raw(null);

  async load(): Promise<void> {
    try {
      this.collections = await listCollections();
      this.error = null;
    } catch (error) {
      this.error = error instanceof Error ? error : new Error(String(error));
    }
  }

  find(name: string): Collection | null {
    return this.collections.find((collection) => collection.name === name) ?? null;
  }
}

export const catalogue = new Catalogue();
