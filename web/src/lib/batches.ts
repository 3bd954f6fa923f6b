/** Cuts a list of files into requests. */

export interface Limits {
  /** Files a request. */
  files: number;
  /** Bytes a request; a single larger file goes alone. */
  bytes: number;
}

/** Small enough that verdicts come in steadily, large enough that the service embeds several images at once. */
export const LIMITS: Limits = { files: 8, bytes: 24_000_000 };

/** Takes the next request's worth from the front of `files`: how many of them. */
export function nextBatch(files: readonly { size: number }[], limits: Limits = LIMITS): number {
  let bytes = 0;
  let taken = 0;
  for (const { size } of files) {
    if (taken > 0 && (taken >= limits.files || bytes + size > limits.bytes)) break;
    taken += 1;
    bytes += size;
  }
  return taken;
}

/** Milliseconds before the given try (1 is the first one after a failure); what the service asks for wins. */
export function backOff(attempt: number, retryAfterSeconds: number | null): number {
  return retryAfterSeconds === null ? Math.min(30_000, 500 * 2 ** (attempt - 1)) : retryAfterSeconds * 1000;
}

/** Names that are surely not images are left out when a whole folder is dropped; the service judges the rest. */
export function mayBeImage({ name, type }: { name: string; type: string }): boolean {
  if (name.startsWith('.')) return false;
  return type === '' || type.startsWith('image/');
}
