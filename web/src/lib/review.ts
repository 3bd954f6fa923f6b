/**
 * Review of duplicate groups as a pure state machine: every key press is an action, every action can be undone.
 *
 * Nothing here removes anything: `resolution` says what the service would be asked to do.
 */

import type { MatchClass, Resolution } from './api';

export type Verdict = 'keep' | 'remove' | 'not_duplicate';

export interface Member {
  id: string;
  /** How it matches the keeper; null for the keeper itself. */
  class: MatchClass | null;
  /** Holds frames, pages or transparency that the keeper is not known to hold. */
  holdsMore?: boolean;
}

export interface ReviewGroup {
  id: string;
  /** The keeper first. */
  members: readonly Member[];
}

export type Verdicts = Readonly<Record<string, Verdict>>;

export interface Review {
  readonly groups: readonly ReviewGroup[];
  /** Position of the cursor: a group, and a member in it. */
  readonly group: number;
  readonly member: number;
  /** By group, then by image. */
  readonly verdicts: Readonly<Record<string, Verdicts>>;
  readonly history: readonly Step[];
  /** What the last action refused to do, in words. */
  readonly notice: string | null;
}

/** What one undo takes back. */
interface Step {
  group: string;
  before: Verdicts;
  member: number;
}

export type Action =
  | { type: 'groups'; groups: readonly ReviewGroup[] }
  | { type: 'point'; group: number; member: number }
  | { type: 'step_member'; by: 1 | -1 }
  | { type: 'step_group'; by: 1 | -1 }
  /** Marks the picture under the cursor and goes on to the next one. */
  | { type: 'mark'; verdict: Verdict }
  /** Marks the picture that was pointed at; the cursor stays there. */
  | { type: 'mark_at'; group: number; member: number; verdict: Verdict }
  | { type: 'suggest' }
  | { type: 'undo' };

export const EMPTY: Review = { groups: [], group: 0, member: 0, verdicts: {}, history: [], notice: null };

/** Classes whose members show all that the keeper shows, and nothing else. */
const WHOLE: ReadonlySet<MatchClass> = new Set(['identical', 'same_pixels', 'near_identical']);

const LEFT = 'What is edited, holds more frames or transparency, or only looks alike is left for you to decide.';
const LAST_ONE = 'One picture of a group has to stay. Keep another one first, or delete it on its own page.';

export function reduce(review: Review, action: Action): Review {
  switch (action.type) {
    case 'groups':
      return replaceGroups(review, action.groups);
    case 'point':
      if (review.group === action.group && review.member === action.member) return review;
      return at(review, action.group, action.member);
    case 'step_member':
      return at(review, review.group, review.member + action.by);
    case 'step_group':
      return inRange(review, review.group + action.by) ? at(review, review.group + action.by, 0) : review;
    case 'mark':
      return mark(review, action.verdict, 1);
    case 'mark_at':
      return mark(at(review, action.group, action.member), action.verdict, 0);
    case 'suggest':
      return suggest(review);
    case 'undo':
      return undo(review);
  }
}

/** The group under the cursor. */
export function current(review: Review): ReviewGroup | null {
  return review.groups[review.group] ?? null;
}

export function verdictOf(review: Review, group: string, image: string): Verdict | null {
  return review.verdicts[group]?.[image] ?? null;
}

/** What to ask the service for a group; null while nothing in it is decided. */
export function resolution(review: Review, groupId: string): Resolution | null {
  const group = review.groups.find(({ id }) => id === groupId);
  const verdicts = review.verdicts[groupId] ?? {};
  if (!group || Object.keys(verdicts).length === 0) return null;
  const picked = (verdict: Verdict): string[] =>
    group.members.map(({ id }) => id).filter((id) => verdicts[id] === verdict);
  return { keep: picked('keep'), remove: picked('remove'), not_duplicates: picked('not_duplicate') };
}

/** Key of a keyboard event to an action, or to what the page itself does. */
export type Command = Action | { type: 'compare' } | { type: 'apply' } | { type: 'open' };

export function command(key: string): Command | null {
  switch (key.length === 1 ? key.toLowerCase() : key) {
    case 'ArrowLeft':
      return { type: 'step_member', by: -1 };
    case 'ArrowRight':
      return { type: 'step_member', by: 1 };
    case 'ArrowUp':
      return { type: 'step_group', by: -1 };
    case 'ArrowDown':
      return { type: 'step_group', by: 1 };
    case 'k':
      return { type: 'mark', verdict: 'keep' };
    case 'r':
      return { type: 'mark', verdict: 'remove' };
    case 'n':
      return { type: 'mark', verdict: 'not_duplicate' };
    case 'a':
      return { type: 'suggest' };
    case 'u':
      return { type: 'undo' };
    case 'c':
      return { type: 'compare' };
    case 'o':
      return { type: 'open' };
    case 'Enter':
      return { type: 'apply' };
    default:
      return null;
  }
}

function inRange(review: Review, group: number): boolean {
  return group >= 0 && group < review.groups.length;
}

function at(review: Review, group: number, member: number): Review {
  const clamped = Math.min(Math.max(0, group), Math.max(0, review.groups.length - 1));
  const last = (review.groups[clamped]?.members.length ?? 1) - 1;
  return { ...review, group: clamped, member: Math.min(Math.max(0, member), Math.max(0, last)), notice: null };
}

/** Keeps verdicts of groups that are still there, and the cursor on its group or on the one that took its place. */
function replaceGroups(review: Review, groups: readonly ReviewGroup[]): Review {
  const before = current(review);
  const found = before ? groups.findIndex(({ id }) => id === before.id) : 0;
  const known = new Set(groups.map(({ id }) => id));
  const next: Review = {
    groups,
    group: 0,
    member: 0,
    verdicts: Object.fromEntries(Object.entries(review.verdicts).filter(([id]) => known.has(id))),
    history: review.history.filter(({ group }) => known.has(group)),
    notice: null,
  };
  return found >= 0 ? at(next, found, review.member) : at(next, review.group, 0);
}

function mark(review: Review, verdict: Verdict, advance: 0 | 1): Review {
  const group = current(review);
  const member = group?.members[review.member];
  if (!group || !member) return review;
  const before = review.verdicts[group.id] ?? {};
  if (before[member.id] === verdict) {
    // The same key again takes the mark off.
    const { [member.id]: _, ...rest } = before;
    return decide(review, group, rest, review.member);
  }
  if (verdict === 'not_duplicate' && member.class === null) {
    return { ...review, notice: 'The others are compared with this one. Mark those that are not its duplicates.' };
  }
  const after = { ...before, [member.id]: verdict };
  if (verdict === 'remove' && group.members.every(({ id }) => after[id] === 'remove')) {
    return { ...review, notice: LAST_ONE };
  }
  return decide(review, group, after, Math.min(review.member + advance, group.members.length - 1));
}

/**
 * Keep the keeper, remove whole copies of it. What is edited or only looks alike shows something else, and what holds more
 * than the keeper would be lost with it, so these are left for a person to decide.
 */
function suggest(review: Review): Review {
  const group = current(review);
  if (!group) return review;
  const isCopy = ({ class: found, holdsMore }: Member): boolean =>
    found !== null && WHOLE.has(found) && !holdsMore;
  const copies = group.members.filter(isCopy);
  if (copies.length === 0) {
    return { ...review, notice: 'These are edited, hold more or only look alike: decide each one yourself.' };
  }
  const after: Record<string, Verdict> = { ...review.verdicts[group.id] };
  for (const member of group.members) if (member.class === null) after[member.id] = 'keep';
  for (const member of copies) after[member.id] ??= 'remove';
  const left = group.members.filter(({ id }) => after[id] === undefined).length;
  const notice = left === 0 ? null : LEFT;
  return { ...decide(review, group, after, review.member), notice };
}

function decide(review: Review, group: ReviewGroup, verdicts: Verdicts, member: number): Review {
  const step: Step = { group: group.id, before: review.verdicts[group.id] ?? {}, member: review.member };
  return {
    ...review,
    member,
    verdicts: { ...review.verdicts, [group.id]: verdicts },
    history: [...review.history, step],
    notice: null,
  };
}

function undo(review: Review): Review {
  const step = review.history.at(-1);
  if (!step) return { ...review, notice: 'There is nothing to undo.' };
  const group = review.groups.findIndex(({ id }) => id === step.group);
  return {
    ...at(review, group, step.member),
    verdicts: { ...review.verdicts, [step.group]: step.before },
    history: review.history.slice(0, -1),
  };
}
