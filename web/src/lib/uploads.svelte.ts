/** The upload queue: a few requests at a time, a verdict for every file. */

import { ApiError, uploadImages, type OnDuplicate, type Uploaded } from './api';
import { backOff, nextBatch } from './batches';
import { catalogue, libraryOf } from './library.svelte';

/** Requests at a time. */
const REQUESTS = 2;
/** Times a file is sent before its failure is final. */
const TRIES = 6;

export type Phase = 'waiting' | 'sending' | 'done';

export class Upload {
  readonly key: number;
  readonly file: File;
  readonly collection: string;
  phase: Phase = $state('waiting');
  verdict: Uploaded | null = $state.raw(null);
  tries = 0;

  constructor(key: number, file: File, collection: string) {
    this.key = key;
    this.file = file;
    this.collection = collection;
  }
}

class UploadQueue {
  list: Upload[] = $state.raw([]);
  onDuplicate: OnDuplicate = $state('store');
  /** Bytes sent, of files that are done or on their way. */
  sent = $state(0);
  total = $state(0);
  finished = $state(0);

  #key = 0;
  #waiting: Upload[] = [];
  #running = 0;
  #refresh: ReturnType<typeof setTimeout> | null = null;

  get busy(): boolean {
    return this.finished < this.list.length;
  }

  add(files: readonly File[], collection: string): void {
    if (files.length === 0) return;
    const fresh = files.map((file) => new Upload((this.#key += 1), file, collection));
    this.list = [...this.list, ...fresh];
    this.#waiting.push(...fresh);
    this.total += bytesOf(fresh);
    this.#start();
  }

  /** Empties the list once everything in it has its verdict. */
  clear(): void {
    if (this.busy) return;
    this.list = [];
    this.sent = 0;
    this.total = 0;
    this.finished = 0;
  }

  /** Takes back what was not sent yet; what is on its way still gets its verdict. */
  stop(): void {
    const waiting = new Set(this.#waiting);
    this.#waiting = [];
    this.list = this.list.filter((upload) => !waiting.has(upload));
    for (const { file } of waiting) this.total -= file.size;
  }

  #start(): void {
    while (this.#running < REQUESTS && this.#waiting.length > 0) {
      const collection = this.#waiting[0]?.collection ?? '';
      const other = this.#waiting.findIndex((upload) => upload.collection !== collection);
      const same = other < 0 ? this.#waiting : this.#waiting.slice(0, other);
      const batch = this.#waiting.splice(0, nextBatch(same.map(({ file }) => file)));
      this.#running += 1;
      void this.#send(batch, collection).finally(() => {
        this.#running -= 1;
        this.#start();
      });
    }
  }

  async #send(batch: Upload[], collection: string): Promise<void> {
    for (const upload of batch) upload.phase = 'sending';
    const size = bytesOf(batch);
    let counted = 0;
    const count = (share: number): void => {
      this.sent += share * size - counted;
      counted = share * size;
    };
    let verdicts: (Uploaded | undefined)[];
    let wait: number | null = null;
    try {
      const files = batch.map(({ file }) => file);
      verdicts = await uploadImages(collection, files, this.onDuplicate, count);
      this.#refreshSoon(collection);
    } catch (error) {
      count(0);
      const status = error instanceof ApiError ? error.status : 0;
      if (status === 413 && batch.length > 1) {
        // Too large together: each file by itself.
        for (const upload of batch) await this.#send([upload], collection);
        return;
      }
      wait = error instanceof ApiError ? error.retryAfter : null;
      const reason = error instanceof Error ? error.message : String(error);
      verdicts = batch.map(({ file }) => refused(file, reason, status));
    }
    count(1);
    const later = batch.filter((upload, index) => {
      const verdict = verdicts[index] ?? refused(upload.file, 'The service gave no verdict.', -1);
      upload.tries += 1;
      if (isTransient(verdict) && upload.tries < TRIES) return true;
      this.#settle(upload, verdict);
      return false;
    });
    if (later.length === 0) return;
    // Sending a file again is safe: the service knows it by its content.
    this.sent -= bytesOf(later);
    for (const upload of later) upload.phase = 'waiting';
    await new Promise((resolve) => setTimeout(resolve, backOff(later[0]?.tries ?? 1, wait)));
    this.#waiting.unshift(...later);
  }

  #settle(upload: Upload, verdict: Uploaded): void {
    upload.verdict = verdict;
    upload.phase = 'done';
    this.finished += 1;
  }

  /** Shows what is new, at most about once a second. */
  #refreshSoon(collection: string): void {
    this.#refresh ??= setTimeout(() => {
      this.#refresh = null;
      void libraryOf(collection).refresh();
      void catalogue.load();
    }, 800);
  }
}

function bytesOf(list: readonly Upload[]): number {
  return list.reduce((sum, { file }) => sum + file.size, 0);
}

/** Whether another try may help: no answer came, or the service is short of something for the moment. */
function isTransient({ status, error }: Uploaded): boolean {
  return status === 'failed' && [0, 429, 503].includes(error?.status ?? -1);
}

function refused(file: File, reason: string, status: number): Uploaded {
  return { name: file.name, id: null, status: 'failed', matches: [], error: { detail: reason, status } };
}

export const uploads = new UploadQueue();
