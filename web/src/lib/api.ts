/**
 * The HTTP API as the gallery uses it: one function a route, one type a document.
 *
 * Mirrors the service's OpenAPI document (`/openapi.json`); field names are those of the wire.
 */

/** Strongest first. */
export const CLASSES = ['identical', 'same_pixels', 'near_identical', 'edited', 'similar'] as const;
export type MatchClass = (typeof CLASSES)[number];

/** How far down the classes a search or a grouping goes. */
export const LEVELS = ['near_identical', 'edited', 'similar'] as const;
export type Level = (typeof LEVELS)[number];

export type Stage = 'bytes' | 'pixels' | 'pdq' | 'embedding' | 'verification';

export type OnDuplicate = 'store' | 'reject' | 'link';

export type UploadStatus = 'created' | 'duplicate' | 'linked' | 'rejected' | 'failed';

export interface Collection {
  name: string;
  /** Number of images. */
  images: number;
  /** Whether `file` serves the uploaded bytes, or only thumbnails are kept. */
  keep_originals: boolean;
}

export interface Exif {
  camera?: string | null;
  /** Local time of the camera, without a zone. */
  taken?: string | null;
}

/** What a file holds beyond the one opaque picture that is compared. */
export interface Beyond {
  /** More frames or pages. */
  frames: boolean;
  /** Pixels that are not opaque. */
  transparency: boolean;
}

export interface Image {
  id: string;
  name: string;
  /** Bytes of the file. */
  size: number;
  width: number;
  height: number;
  format: string;
  /** Absent before the service knew; then nothing. */
  beyond?: Beyond;
  blake3: string;
  /** RFC 3339, when the service acknowledged it. */
  created: string;
  collection: string;
  tags: string[];
  exif: Exif | null;
  /** How little it resembles a bank of other pictures, 0 to 1; null where the network came without a bank. */
  distinctiveness: number | null;
}

export interface Transform {
  /** Affine map in relative units (0 to 1 along each side) from the first image to the second, row-major 2×3. */
  matrix: [number, number, number, number, number, number];
  /** Degrees, counter-clockwise. */
  rotation: number;
  scale: number;
  mirrored: boolean;
}

export interface Region {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** What a decision rests on; members that were not measured are absent. */
export interface Evidence {
  /** Least Hamming distance of the perceptual hashes, 0 to 256. */
  pdq_distance?: number;
  /** Share of the first picture that the second shows, 0 to 1. */
  overlap_a?: number;
  /** Share of the second picture that the first shows, 0 to 1. */
  overlap_b?: number;
  /** Details that lie where the transform puts them. */
  inliers?: number;
  tiles_agreeing?: number;
  tiles_disagreeing?: number;
  /** Mean correlation of the agreeing tiles. */
  correlation?: number;
  /** What the transform leaves unexplained, in pixels of the thumbnail. */
  displacement?: number;
  /** Where the pictures differ: boxes in the first one. */
  changed?: Region[];
  /** Why the class is no stronger. */
  held_back?: string;
  [other: string]: unknown;
}

export interface Match {
  id: string;
  name: string;
  class: MatchClass;
  /** 0 to 1. */
  probability: number;
  /** Cosine, −1 to 1. */
  similarity: number;
  stage: Stage;
  transform: Transform | null;
  /** Share of the smaller picture that the other one shows, 0 to 1. */
  overlap: number | null;
  evidence: Evidence;
  image: Image;
}

/** RFC 9457. */
export interface Problem {
  title?: string;
  detail?: string;
  status?: number;
}

export interface Uploaded {
  name: string;
  id: string | null;
  status: UploadStatus;
  matches: Match[];
  /** Why it failed. */
  error?: Problem | null;
}

export interface SearchResult {
  matches: Match[];
  /** Whether a part of the collection could not be asked. */
  partial: boolean;
}

export interface Group {
  id: string;
  keeper: Image;
  /** Everything that matches the keeper, which is not among them. */
  members: Match[];
}

export interface GroupPage extends Page<Group> {
  /** Number of groups in all. */
  total: number;
  /** Images whose matches have been looked for. */
  checked: number;
  /** Images in the collection. */
  images: number;
  /** Whether all have been checked; if not, groups may still be missing. */
  complete: boolean;
}

export interface Page<T> {
  items: T[];
  /** Where the next page starts; null on the last one. */
  next: string | null;
}

export interface Resolution {
  keep: string[];
  remove: string[];
  not_duplicates: string[];
}

/** A refusal or a failure, in words for a person. */
export class ApiError extends Error {
  /** HTTP status, or 0 when no answer came. */
  readonly status: number;
  /** Seconds after which the service wants to be asked again. */
  readonly retryAfter: number | null;

  constructor(status: number, message: string, retryAfter: number | null = null) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const NO_ANSWER = 'The service does not answer. Is it still running?';

/** Text of a problem document (RFC 9457), or the best there is instead. */
export function problemText(status: number, body: string): string {
  try {
    const problem: unknown = JSON.parse(body);
    if (problem && typeof problem === 'object') {
      const { detail, title } = problem as { detail?: unknown; title?: unknown };
      if (typeof detail === 'string' && detail) return detail;
      if (typeof title === 'string' && title) return title;
    }
  } catch {
    // Not JSON: a proxy's page, say. Its markup means nothing to a person.
  }
  if (status === 413) return 'That is larger than the service accepts.';
  if (status === 429) return 'The service is busy. Try again in a moment.';
  if (status === 502 || status === 503 || status === 504) return NO_ANSWER;
  return `The service answered ${status}.`;
}

function retryAfter(value: string | null): number | null {
  const seconds = Number(value ?? NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
}

interface Call {
  method?: 'GET' | 'PUT' | 'POST' | 'DELETE';
  query?: Record<string, string | number | boolean | undefined>;
  body?: FormData | object | undefined;
  signal?: AbortSignal | undefined;
}

async function call<T>(path: string, { method = 'GET', query, body, signal }: Call = {}): Promise<T> {
  const init: RequestInit = { method, headers: { accept: 'application/json' } };
  if (signal) init.signal = signal;
  if (body instanceof FormData) {
    init.body = body;
  } else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { accept: 'application/json', 'content-type': 'application/json' };
  }
  let response: Response;
  let text: string;
  try {
    response = await fetch(path + queryString(query), init);
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, NO_ANSWER);
  }
  if (!response.ok) {
    throw new ApiError(
      response.status,
      problemText(response.status, text),
      retryAfter(response.headers.get('retry-after')),
    );
  }
  if (text === '') return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError(response.status, 'The service answered something that is not JSON.');
  }
}

function queryString(query: Call['query']): string {
  const set = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
  return set.length === 0 ? '' : `?${new URLSearchParams(set.map(([key, value]) => [key, String(value)]))}`;
}

const of = (collection: string): string => `/v1/collections/${encodeURIComponent(collection)}`;
const imageOf = (collection: string, id: string): string =>
  `${of(collection)}/images/${encodeURIComponent(id)}`;

// --- Collections

export async function listCollections(signal?: AbortSignal): Promise<Collection[]> {
  return (await call<{ collections: Collection[] }>('/v1/collections', { signal })).collections;
}

export function createCollection(name: string): Promise<Collection> {
  return call(of(name), { method: 'PUT', body: {} });
}

export function deleteCollection(name: string): Promise<void> {
  return call(of(name), { method: 'DELETE' });
}

// --- Images

/** One page, newest first. */
export async function listImages(
  collection: string,
  cursor: string | null,
  limit: number,
  signal?: AbortSignal,
): Promise<Page<Image>> {
  const page = await call<{ images: Image[]; next?: string | null }>(`${of(collection)}/images`, {
    query: { cursor: cursor ?? undefined, limit },
    signal,
  });
  return { items: page.images, next: page.next ?? null };
}

export function getImage(collection: string, id: string, signal?: AbortSignal): Promise<Image> {
  return call(imageOf(collection, id), { signal });
}

export function deleteImage(collection: string, id: string): Promise<void> {
  return call(imageOf(collection, id), { method: 'DELETE' });
}

export async function imageMatches(collection: string, id: string, signal?: AbortSignal): Promise<SearchResult> {
  return call(`${imageOf(collection, id)}/matches`, { signal });
}

/** Address of a JPEG of at most 400 pixels. */
export const thumbnailUrl = (collection: string, id: string): string => `${imageOf(collection, id)}/thumbnail`;

/** Address of the uploaded bytes; 404 where the collection does not keep them. */
export const fileUrl = (collection: string, id: string): string => `${imageOf(collection, id)}/file`;

/**
 * Uploads files in one request; `progress` hears the share of the bytes sent, 0 to 1.
 *
 * Answers one verdict a file, in their order, also when none of them could be stored (422).
 */
export function uploadImages(
  collection: string,
  files: readonly File[],
  onDuplicate: OnDuplicate,
  progress: (share: number) => void,
  signal?: AbortSignal,
): Promise<Uploaded[]> {
  const form = new FormData();
  for (const file of files) form.append('file', file, file.name);
  return new Promise((resolve, reject) => {
    // XMLHttpRequest, because fetch does not tell how much of a body was sent.
    const request = new XMLHttpRequest();
    request.open('POST', `${of(collection)}/images${queryString({ on_duplicate: onDuplicate })}`);
    request.setRequestHeader('accept', 'application/json');
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    };
    request.onload = () => {
      const verdicts = uploadVerdicts(request.responseText);
      if (verdicts) resolve(verdicts);
      else {
        const wait = retryAfter(request.getResponseHeader('retry-after'));
        reject(new ApiError(request.status, problemText(request.status, request.responseText), wait));
      }
    };
    request.onerror = () => reject(new ApiError(0, NO_ANSWER));
    request.onabort = () => reject(new ApiError(0, 'Cancelled.'));
    signal?.addEventListener('abort', () => request.abort(), { once: true });
    request.send(form);
  });
}

function uploadVerdicts(body: string): Uploaded[] | null {
  try {
    const answer = JSON.parse(body) as { images?: Uploaded[] };
    return Array.isArray(answer.images) ? answer.images : null;
  } catch {
    return null;
  }
}

// --- Matching

export interface SearchOptions {
  k?: number;
  level?: Level;
  /** Search for the picture's parts too: finds pictures that it contains. */
  deep?: boolean;
}

/** Searches with a picture that is not stored. */
export function searchFile(
  collection: string,
  file: Blob,
  name: string,
  { k, level, deep }: SearchOptions,
  signal?: AbortSignal,
): Promise<SearchResult> {
  const form = new FormData();
  form.append('file', file, name);
  return call(`${of(collection)}/search`, { method: 'POST', query: { k, level, deep }, body: form, signal });
}

/** Searches with a stored image; it is not among its own matches. */
export function searchId(
  collection: string,
  id: string,
  { k, level, deep }: SearchOptions,
  signal?: AbortSignal,
): Promise<SearchResult> {
  return call(`${of(collection)}/search`, { method: 'POST', query: { k, level, deep }, body: { id }, signal });
}

// --- Groups

export async function listGroups(
  collection: string,
  level: Level,
  cursor: string | null,
  limit: number,
): Promise<GroupPage> {
  const { groups, next, ...progress } = await call<{ groups: Group[] } & Omit<GroupPage, 'items'>>(
    `${of(collection)}/groups`,
    { query: { level, cursor: cursor ?? undefined, limit } },
  );
  return { items: groups, next: next ?? null, ...progress };
}

export function resolveGroup(collection: string, group: string, resolution: Resolution): Promise<unknown> {
  return call(`${of(collection)}/groups/${encodeURIComponent(group)}/resolve`, {
    method: 'POST',
    body: resolution,
  });
}
