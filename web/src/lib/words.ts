/** Numbers and findings in plain words. */

import type { Beyond, Match, MatchClass, OnDuplicate, Stage, Transform, UploadStatus } from './api';

export const CLASS_NAME: Record<MatchClass, string> = {
  identical: 'Identical',
  same_pixels: 'Same pixels',
  near_identical: 'Near-identical',
  edited: 'Edited',
  similar: 'Similar',
};

export const CLASS_MEANING: Record<MatchClass, string> = {
  identical: 'The two files are the same, byte for byte.',
  same_pixels: 'The pictures are the same, pixel for pixel. Only the files differ, in format or metadata.',
  near_identical: 'The whole picture is the same: resized, saved again, slightly toned, turned or mirrored.',
  edited: 'One is an altered copy or a part of the other: a crop, a text, a frame, a filter.',
  similar: 'They look alike, but nothing shows that one is a copy. Decide by eye.',
};

export const STAGE_NAME: Record<Stage, string> = {
  bytes: 'file contents',
  pixels: 'decoded pixels',
  pdq: 'perceptual hash',
  embedding: 'neural network',
  verification: 'geometric check',
};

const STAGE_SENTENCE: Record<Stage, string> = {
  bytes: 'Decided by comparing the files.',
  pixels: 'Decided by comparing the decoded pixels.',
  pdq: 'Decided by the perceptual hash of the whole picture.',
  embedding: 'Decided by how alike the network finds them; their details were not matched.',
  verification: 'Decided by laying one picture over the other and comparing the details.',
};

/** What became of an uploaded file, in a word; `matched` when an image of the collection is a duplicate of it. */
export function statusName(status: UploadStatus, matched: boolean): string {
  switch (status) {
    case 'created':
      return matched ? 'Added, duplicate' : 'Added';
    case 'duplicate':
      return 'Already here';
    case 'linked':
      return 'Linked, not stored';
    case 'rejected':
      return 'Skipped, duplicate';
    case 'failed':
      return 'Refused';
  }
}

export const ON_DUPLICATE_NAME: Record<OnDuplicate, string> = {
  store: 'add them, and say so',
  link: 'skip them, link to the original',
  reject: 'skip them',
};

/** A probability; never rounded up to a certainty. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return 'unknown';
  if (share >= 1) return '100 %';
  if (share > 0.999) return '> 99.9 %';
  if (share > 0.99) return `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;
  return `${Math.floor(Math.max(0, share) * 100)} %`;
}

export function similarity(cosine: number): string {
  return Number.isFinite(cosine) ? cosine.toFixed(3) : 'unknown';
}

/** Below it many pictures resemble an image, from `RARE` on hardly any (models/MODEL_CARD.md, "Distinctiveness"). */
const COMMON = 0.777;
const RARE = 0.802;

/** How ordinary a picture looks and what a likeness to it is worth; null where that is not known. */
export function looks(distinctiveness: number | null | undefined): { name: string; meaning: string } | null {
  if (typeof distinctiveness !== 'number' || !Number.isFinite(distinctiveness)) return null;
  const [name, meaning] =
    distinctiveness < COMMON
      ? ['Ordinary', 'Many pictures resemble it, so looking alike proves little: the details have to agree.']
      : distinctiveness < RARE
        ? ['Neither ordinary nor unusual', 'Some pictures resemble it without being copies.']
        : ['Unusual', 'Hardly any other picture resembles it, so one that does is worth a look.'];
  return { name, meaning };
}

/** What of a file a glance at its picture does not show. */
export function beyondWords(beyond: Beyond | undefined): string[] {
  return [beyond?.frames ? 'more frames or pages' : '', beyond?.transparency ? 'transparent in places' : ''].filter(Boolean);
}

/**
 * Whether the other file, which shows the same picture, holds all that one holds. Further frames are not compared, so no
 * other file is known to hold them.
 */
export function isHeldBy(one: Beyond | undefined, other: Beyond | undefined): boolean {
  return !one?.frames && (!one?.transparency || (other?.transparency ?? false));
}

export function bytes(size: number): string {
  if (size < 1000) return `${size} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = size / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const NUMBERS = new Intl.NumberFormat('en');

export function count(number: number, one: string, many = `${one}s`): string {
  return `${NUMBERS.format(number)} ${number === 1 ? one : many}`;
}

export function number(value: number): string {
  return NUMBERS.format(value);
}

const DATES = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

export function date(text: string): string {
  const parsed = new Date(text);
  return Number.isNaN(parsed.getTime()) ? text : DATES.format(parsed);
}

/** What was done to one picture to get the other; empty when nothing but the size is known. */
export function transformWords({ rotation, scale, mirrored }: Transform): string[] {
  const words: string[] = [];
  if (mirrored) words.push('mirrored');
  const turn = Math.round(rotation);
  if (Math.abs(turn) >= 1) {
    const side = Math.abs(turn) === 180 ? '' : turn > 0 ? ' anticlockwise' : ' clockwise';
    words.push(`turned by ${Math.abs(turn)}°${side}`);
  }
  if (Number.isFinite(scale) && scale > 0 && Math.abs(scale - 1) > 0.02) {
    words.push(scale < 1 ? `shown at ${Math.round(scale * 100)} % of the size` : `shown ${scaleUp(scale)} as large`);
  }
  return words;
}

function scaleUp(scale: number): string {
  return `${scale < 10 ? scale.toFixed(1).replace(/\.0$/, '') : Math.round(scale)} times`;
}

/** Why two pictures match, sentence by sentence. */
export function explain(match: Match): string[] {
  const whole = match.class === 'identical' || match.class === 'same_pixels';
  const how = match.transform && !whole ? transformWords(match.transform) : [];
  return [
    CLASS_MEANING[match.class] ?? 'They match.',
    how.length > 0 ? `The match is ${join(how)}.` : '',
    ...(whole ? [] : [...overlapSentences(match), ...evidenceSentences(match)]),
    STAGE_SENTENCE[match.stage] ?? '',
  ].filter(Boolean);
}

/** The same in a sentence or two, for where there is little room. */
export function brief(match: Match): string {
  const how = match.transform ? transformWords(match.transform) : [];
  if (match.class === 'near_identical') {
    return how.length > 0 ? `The whole picture, ${join(how)}.` : 'The whole picture, saved again or slightly toned.';
  }
  if (match.class !== 'edited') return CLASS_MEANING[match.class] ?? '';
  const places = match.evidence?.changed?.length ?? 0;
  const sentences = [
    ...overlapSentences(match),
    places > 0 ? `It differs in ${count(places, 'place')}.` : '',
    how.length > 0 ? `It is ${join(how)}.` : '',
  ].filter(Boolean);
  return sentences.length > 0 ? sentences.join(' ') : CLASS_MEANING.edited;
}

/** A picture that shows at least this share of another one shows all of it, as far as anyone can tell. */
const ALL = 0.98;

function overlapSentences({ evidence }: Match): string[] {
  const { overlap_a: first = 1, overlap_b: second = 1 } = evidence ?? {};
  return [
    first < ALL ? `The match shows ${Math.round(first * 100)} % of the picture.` : '',
    second < ALL ? `Only ${Math.round(second * 100)} % of the match is in the picture.` : '',
  ].filter(Boolean);
}

function evidenceSentences({ evidence }: Match): string[] {
  const { tiles_agreeing: agreeing, tiles_disagreeing: disagreeing, inliers, changed, held_back } = evidence ?? {};
  const sentences: string[] = [];
  if (inliers) sentences.push(`${count(inliers, 'detail lies', 'details lie')} where they should.`);
  if (agreeing !== undefined && disagreeing !== undefined && agreeing + disagreeing > 0) {
    sentences.push(`${number(agreeing)} of ${count(agreeing + disagreeing, 'compared part')} agree.`);
  }
  if (changed && changed.length > 0) {
    sentences.push(`They differ in ${count(changed.length, 'place')}, which the marks show.`);
  }
  if (held_back) sentences.push(`Not rated higher: ${held_back}.`);
  return sentences;
}

function join(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

/** A key of an evidence document as a label: `tile_agreement` → `Tile agreement`. */
export function label(key: string): string {
  const text = key.replaceAll('_', ' ').replace(/^pdq\b/, 'PDQ').trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Members that `explain` puts into sentences. */
const SAID = new Set([
  'overlap_a',
  'overlap_b',
  'inliers',
  'tiles_agreeing',
  'tiles_disagreeing',
  'changed',
  'held_back',
]);

/** The part of an evidence document that reads as label and value; nested documents stay in the API. */
export function facts(evidence: Record<string, unknown> | null | undefined): [label: string, value: string][] {
  return Object.entries(evidence ?? {}).filter(([key]) => !SAID.has(key)).flatMap(([key, value]): [string, string][] => {
    if (typeof value === 'number' && Number.isFinite(value)) {
      return [[label(key), Number.isInteger(value) ? number(value) : value.toFixed(3)]];
    }
    if (typeof value === 'string' && value !== '') return [[label(key), value]];
    if (typeof value === 'boolean') return [[label(key), value ? 'yes' : 'no']];
    return [];
  });
}
