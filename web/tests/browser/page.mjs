/** What the test does to a page again and again. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** @typedef {import('playwright-core').Page} Page */

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Rules of WCAG 2.2 at level AA, and axe's best practices. */
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** How long anything may take, in milliseconds: far more than it needs, because other work may share the machine. */
export const PATIENCE = 120_000;

/**
 * Runs axe-core in both colour schemes and fails on any violation.
 * @param {Page} page
 * @param {string} name
 */
export async function isAccessible(page, name) {
  for (const colorScheme of /** @type {const} */ (['dark', 'light'])) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await settled(page);
    await page.evaluate(`${AXE}; undefined`);
    const violations = await page.evaluate(async (tags) => {
      // @ts-expect-error axe is put into the page above
      const { violations, passes } = await window.axe.run(document, { runOnly: { type: 'tag', values: tags } });
      if (passes.length < 10) throw new Error(`axe checked almost nothing: ${passes.length} rules`);
      /** @param {{ id: string, help: string, nodes: { html: string, failureSummary?: string }[] }} violation */
      const words = ({ id, help, nodes }) =>
        `${id}: ${help}\n${nodes.slice(0, 3).map((node) => `    ${node.html}\n    ${node.failureSummary}`).join('\n')}`;
      return violations.map(words);
    }, TAGS);
    assert.equal(violations.length, 0, `${name} (${colorScheme}) is not accessible:\n${violations.join('\n')}`);
  }
}

/**
 * Fails when the page is wider than a phone.
 * @param {Page} page
 * @param {string} name
 */
export async function fitsPhone(page, name) {
  const before = page.viewportSize();
  await page.setViewportSize({ width: 375, height: 760 });
  await settled(page);
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok((wide ?? 0) <= (window ?? 0), `${name} is ${wide} px wide on a phone of ${window} px`);
  if (before) await page.setViewportSize(before);
  await settled(page);
}

/**
 * Drops a file on an element, as a person would: over the window first, then on the target that appears.
 * @param {Page} page
 * @param {'search' | 'add'} target
 * @param {{ name: string, mimeType: string, buffer: Buffer }} file
 */
export async function drop(page, target, { name, mimeType, buffer }) {
  const transfer = await page.evaluateHandle(
    ([text, fileName, type]) => {
      const bytes = Uint8Array.from(atob(text ?? ''), (char) => char.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], fileName ?? '', { type: type ?? '' }));
      return data;
    },
    [buffer.toString('base64'), name, mimeType],
  );
  await page.dispatchEvent('body', 'dragenter', { dataTransfer: transfer });
  const zone = `.targets [data-drop="${target}"]`;
  await page.waitForSelector(zone);
  await page.dispatchEvent(zone, 'dragover', { dataTransfer: transfer });
  await page.dispatchEvent(zone, 'drop', { dataTransfer: transfer });
  await page.waitForSelector('.targets', { state: 'detached' });
}

/**
 * Waits until transitions have ended and two frames have been drawn.
 * @param {Page} page
 */
export async function settled(page) {
  await page.evaluate(async () => {
    await Promise.allSettled(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  });
}

/**
 * Waits until `check` answers something true.
 * @template T
 * @param {string} what
 * @param {() => Promise<T>} check
 * @returns {Promise<T>}
 */
export async function until(what, check) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await check();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `${what}: not within ${PATIENCE / 1000} s`);
    await new Promise((next) => setTimeout(next, 100));
  }
}
