/**
 * The gallery in a real browser against the real service: upload, browse, search, review, delete.
 *
 *     DOPPEL_BIN=../target/debug/doppel npm run test:browser
 */

import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { png, scene, shrink } from './images.mjs';
import { drop, fitsPhone, isAccessible, PATIENCE, settled, until } from './page.mjs';
import { startBrowser, startService } from './service.mjs';

/** @typedef {import('playwright-core').Page} Page */

/** @param {string} name @param {Buffer} buffer */
const file = (name, buffer) => ({ name, mimeType: 'image/png', buffer });

const SCENES = Array.from({ length: 12 }, (_, i) => file(`scene-${i}.png`, png(scene(i + 1))));
/** The pixels of scene 0 in another file. */
const SAME_PIXELS = file('scene-0-again.png', png(scene(1), 'saved again'));
const SMALLER = file('scene-1-smaller.png', png(shrink(scene(2), 0.6)));
const BROKEN = file('broken.png', Buffer.from('this is no image'));
const CUT = file('cut.png', png(scene(99)).subarray(0, 3000));
const STRANGER = file('stranger.png', png(scene(4711)));
const STORED = SCENES.length + 2;

const API = '/v1/collections/default';

test('the gallery', { timeout: 1_200_000 }, async (t) => {
  const service = await startService();
  t.after(service.stop);
  const browser = await startBrowser();
  t.after(browser.stop);
  const { page } = browser;
  const { address } = service;

  /** @type {string[]} */
  const complaints = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error.stack)));
  page.setDefaultTimeout(PATIENCE);

  /** @param {string} path */
  const get = async (path) => {
    const response = await fetch(address + path);
    return { status: response.status, body: response.ok ? await response.json() : null };
  };

  /** @param {string} name @param {() => Promise<void>} body */
  const step = async (name, body) => {
    const started = Date.now();
    try {
      await body();
    } catch (error) {
      const shot = join(mkdtempSync(join(tmpdir(), 'doppel-failed-')), 'page.png');
      await page.screenshot({ path: shot }).catch(() => {});
      t.diagnostic(`FAILED: ${name} (screenshot: ${shot})\n${complaints.join('\n')}\n--- service:\n${service.log()}`);
      throw error;
    }
    t.diagnostic(`${name}: ${Date.now() - started} ms`);
    // Every step, so that a complaint is told where it arose.
    assert.deepEqual(complaints, [], `the console complained during: ${name}`);
  };

  await step('an empty collection says what to do', async () => {
    await page.goto(`${address}/`);
    await page.getByRole('heading', { name: 'No images here yet' }).waitFor();
    await isAccessible(page, 'the empty library');
    await page.goto(`${address}/c/default/groups`);
    await page.getByRole('heading', { name: 'No duplicates' }).waitFor();
    await isAccessible(page, 'the empty groups page');
  });

  await step('uploads get a verdict each', async () => {
    await page.goto(`${address}/`);
    // One after the other where the verdict depends on what is there already.
    await page.setInputFiles('input[name=upload]', SCENES);
    await page.getByText(`${SCENES.length} files checked`).waitFor();
    await page.setInputFiles('input[name=upload]', [SAME_PIXELS, SMALLER, BROKEN, CUT]);
    await page.getByText(`${SCENES.length + 4} files checked`).waitFor();

    const tray = page.getByRole('region', { name: 'Uploads' });
    await tray.getByRole('button', { name: 'New' }).click();
    assert.equal(await tray.locator('li').count() > 0, true);
    await tray.getByRole('button', { name: 'Refused' }).click();
    const refused = await tray.locator('li').allInnerTexts();
    assert.equal(refused.length, 2, refused.join('\n'));
    assert.match(refused.join('\n'), /broken\.png[\s\S]*Refused: .{10}/);
    assert.match(refused.join('\n'), /cut\.png[\s\S]*Refused: .{10}/);
    await tray.getByRole('button', { name: 'Duplicates' }).click();
    const duplicates = await tray.locator('li').allInnerTexts();
    const again = duplicates.find((text) => text.includes('scene-0-again.png')) ?? '';
    assert.match(again, /Added, duplicate.*same pixels\s+100 % to\s+scene-0\.png/s, duplicates.join('\n'));
    assert.ok(duplicates.some((text) => /scene-1-smaller\.png[\s\S]*scene-1\.png/.test(text)), duplicates.join('\n'));
    assert.equal(duplicates.length, 2, duplicates.join('\n'));
    await isAccessible(page, 'the library with the upload tray');
    await tray.getByRole('button', { name: 'Close' }).click();
  });

  await step('the grid shows what was uploaded', async () => {
    await until('all thumbnails', async () => {
      const widths = await page.locator('.tile img').evaluateAll((all) => all.map((img) => /** @type {HTMLImageElement} */ (img).naturalWidth));
      return widths.length === STORED && widths.every((width) => width > 0);
    });
    await page.getByText(`${STORED} images`, { exact: true }).waitFor();
    const { body } = await get(`${API}/images?limit=100`);
    assert.equal(body.images.length, STORED);
    await isAccessible(page, 'the library');
    await fitsPhone(page, 'the library');
  });

  await step('the keyboard moves through the grid', async () => {
    await page.locator('.tile a[tabindex="0"]').focus();
    const focused = () => page.evaluate(() => Number(/** @type {HTMLElement} */ (document.activeElement).dataset.index));
    const at = [await focused()];
    for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'End', 'Home']) {
      await page.keyboard.press(key);
      await settled(page);
      at.push(await focused());
    }
    assert.deepEqual([at[0], at[1], at[2]], [0, 1, 2]);
    assert.ok((at[3] ?? 0) > 2, `down from 2 went to ${at[3]}`);
    assert.deepEqual([at[4], at[5]], [STORED - 1, 0]);
  });

  await step('a dropped picture finds its duplicate', async () => {
    await page.getByRole('link', { name: 'Search', exact: true }).click();
    await page.getByRole('heading', { name: 'Search with a picture' }).waitFor();
    await isAccessible(page, 'the empty search page');
    await drop(page, 'search', file('dropped.png', png(scene(5), 'from elsewhere')));
    const top = page.locator('article').first();
    await top.getByText('scene-4.png').waitFor();
    assert.match(await top.innerText(), /Same pixels[\s\S]*100 %/);
    await isAccessible(page, 'search results');
    await fitsPhone(page, 'the search results');

    await drop(page, 'search', file('small.png', png(shrink(scene(7), 0.5))));
    const smaller = page.locator('article').first();
    await smaller.getByText('scene-6.png').waitFor();
    assert.match(await smaller.innerText(), /Near-identical/);

    await drop(page, 'search', STRANGER);
    await page.locator('.status', { hasText: /match/ }).waitFor();
    await page.getByRole('button', { name: '+ edited' }).click();
    await page.getByRole('heading', { name: /^No match in/ }).waitFor();
    const { body } = await get(`${API}/images?limit=100`);
    assert.equal(body.images.length, STORED, 'a search stored its picture');
  });

  await step('two pictures can be compared', async () => {
    await drop(page, 'search', SMALLER);
    await page.getByRole('button', { name: 'Compare', exact: true }).first().click();
    const dialog = page.getByRole('dialog', { name: 'Compare' });
    await dialog.waitFor();
    await isAccessible(page, 'the comparison');
    for (const view of ['Swipe', 'Blink', 'Difference', 'Side by side']) {
      await dialog.getByRole('button', { name: view }).click();
      await settled(page);
      const widths = await dialog.locator('img').evaluateAll((all) => all.map((img) => img.getBoundingClientRect().width));
      assert.ok(widths.length === 2 && widths.every((width) => width > 100), `${view}: ${widths}`);
    }
    await dialog.getByRole('button', { name: 'Swipe' }).click();
    await dialog.getByRole('slider').press('ArrowRight');
    await isAccessible(page, 'the swipe');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  });

  await step('a wrong picture is refused in words', async () => {
    const before = complaints.length;
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.setInputFiles('input[name=query]', BROKEN);
    await page.getByRole('heading', { name: 'The search failed' }).waitFor();
    const words = await page.getByRole('alert').innerText();
    assert.match(words, /image/i);
    assert.doesNotMatch(words, /urn:|\{|undefined/);
    // The browser itself logs the refusal; that one is expected.
    const told = complaints.splice(before);
    assert.ok(told.every((text) => /status of 4\d\d/.test(text)), told.join('\n'));
  });

  await step('a group is resolved by keyboard, after a confirmation', async () => {
    await page.getByRole('link', { name: 'Duplicates', exact: true }).click();
    const cards = page.locator('article');
    await until('both groups', async () => (await cards.count()) === 2 && (await page.locator('#checked').count()) === 0);
    await isAccessible(page, 'the groups page');
    await fitsPhone(page, 'the groups page');

    const { body: before } = await get(`${API}/groups`);
    assert.equal(before.groups.length, 2);
    const shown = await cards.first().getAttribute('data-group');
    const group = before.groups.find((/** @type {{ id: string }} */ { id }) => id === shown);
    const gone = group.members[0].id;

    await page.keyboard.press('k');
    await page.keyboard.press('r');
    await page.locator('article .mark', { hasText: 'Remove' }).waitFor();
    await page.keyboard.press('u');
    await page.locator('article .mark', { hasText: 'Remove' }).waitFor({ state: 'detached' });
    await page.keyboard.press('r');
    await page.keyboard.press('Enter');
    const question = page.getByRole('dialog', { name: 'Remove 1 picture?' });
    await question.waitFor();
    await isAccessible(page, 'the confirmation');
    await page.keyboard.press('Escape');
    await question.waitFor({ state: 'detached' });
    assert.equal((await get(`${API}/images/${gone}`)).status, 200, 'removed without a yes');

    await page.keyboard.press('Enter');
    await question.waitFor();
    await page.keyboard.press('Enter');
    await until('one group left', async () => (await cards.count()) === 1);
    assert.equal((await get(`${API}/images/${gone}`)).status, 404);
    assert.equal((await get(`${API}/images/${group.keeper.id}`)).status, 200);
  });

  await step('a verdict of a person is kept', async () => {
    const cards = page.locator('article');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('n');
    await page.keyboard.press('Enter');
    await until('no group left', async () => (await cards.count()) === 0);
    await page.reload();
    await page.getByRole('heading', { name: 'No duplicates' }).waitFor();
    assert.equal((await get(`${API}/images?limit=100`)).body.images.length, STORED - 1);
  });

  await step('an image is looked at and deleted', async () => {
    await page.getByRole('link', { name: 'Library', exact: true }).click();
    await page.getByRole('link', { name: 'scene-9.png', exact: true }).click();
    await page.getByRole('heading', { name: 'scene-9.png' }).waitFor();
    const id = new URL(page.url()).pathname.split('/').at(-1);
    const about = await page.locator('aside').innerText();
    for (const part of ['480 × 360', 'png', id ?? '']) assert.ok(about.includes(part), `${part} in ${about}`);
    const { distinctiveness } = (await get(`${API}/images/${id}`)).body;
    const look = distinctiveness < 0.777 ? 'Ordinary' : distinctiveness < 0.802 ? 'Neither ordinary nor unusual' : 'Unusual';
    assert.ok(about.includes(`${look} (${distinctiveness.toFixed(2)})`), `${distinctiveness} in ${about}`);
    await page.getByText('Nothing else in this collection is a copy').waitFor();
    await isAccessible(page, 'the image page');
    await fitsPhone(page, 'the image page');

    // A network without a bank says nothing of it, and then the page does not either.
    const body = JSON.stringify({ ...(await get(`${API}/images/${id}`)).body, distinctiveness: null });
    await page.route(`**${API}/images/${id}`, (route) => route.fulfill({ contentType: 'application/json', body }));
    await page.reload();
    await page.getByText('480 × 360').waitFor();
    assert.equal(await page.getByText('Looks', { exact: true }).count(), 0);
    await page.unroute(`**${API}/images/${id}`);
    await page.reload();
    await page.getByText('Looks', { exact: true }).waitFor();
    // A search that is under way when its image is deleted is answered 404, and the browser says so.
    await page.getByText('Nothing else in this collection is a copy').waitFor();

    await page.getByRole('button', { name: 'Delete' }).click();
    const question = page.getByRole('dialog', { name: 'Delete this image?' });
    await question.getByRole('button', { name: 'Cancel' }).click();
    assert.equal((await get(`${API}/images/${id}`)).status, 200, 'deleted without a yes');
    await page.getByRole('button', { name: 'Delete' }).click();
    await question.getByRole('button', { name: 'Delete' }).click();
    await page.waitForURL(`${address}/c/default`);
    await page.getByText(`${STORED - 2} images`, { exact: true }).waitFor();
    assert.equal(await page.getByRole('link', { name: 'scene-9.png', exact: true }).count(), 0);
    assert.equal((await get(`${API}/images/${id}`)).status, 404);
  });

  await step('similar images of a stored one', async () => {
    await page.getByRole('link', { name: 'scene-3.png', exact: true }).focus();
    await page.keyboard.press('s');
    await page.getByRole('heading', { name: 'Similar images' }).waitFor();
    await page.locator('.status', { hasText: /match/ }).waitFor();
    assert.equal(await page.getByRole('heading', { name: 'scene-3.png' }).count(), 0, 'an image matches itself');
    const asked = page.waitForResponse((answer) => answer.url().includes('/search?') && answer.url().includes('deep=true'));
    await page.getByLabel('Search its parts too').check();
    assert.equal((await asked).status(), 200);
    await page.locator('.status', { hasText: /match/ }).waitFor();
    await isAccessible(page, 'a deep search');
    await fitsPhone(page, 'a deep search');
  });

  await step('collections are made, chosen and deleted', async () => {
    await page.getByRole('button', { name: 'Collection:' }).click();
    const dialog = page.getByRole('dialog', { name: 'Collections' });
    await isAccessible(page, 'the collections');
    await dialog.getByLabel('New collection').fill('holiday');
    await page.keyboard.press('Enter');
    await page.waitForURL(`${address}/c/holiday`);
    await page.getByRole('heading', { name: 'No images here yet' }).waitFor();
    await drop(page, 'add', /** @type {{ name: string, mimeType: string, buffer: Buffer }} */ (SCENES[0]));
    await page.getByText('1 file checked').waitFor();
    await page.locator('.tile img.shown').waitFor();
    await page.getByRole('button', { name: 'Collection:' }).click();
    await dialog.getByRole('button', { name: 'Delete the collection holiday' }).click();
    await page.getByRole('dialog', { name: /Delete the collection/ }).getByRole('button', { name: 'Delete the collection' }).click();
    await page.waitForURL(`${address}/c/default`);
    assert.equal((await get('/v1/collections/holiday')).status, 404);
  });

  await step('a page that does not exist says so', async () => {
    await page.goto(`${address}/c/default/nothing`);
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
    await isAccessible(page, 'the unknown page');
    await page.goto(`${address}/c/default/image/${'0'.repeat(32)}`);
    await page.getByRole('heading', { name: 'This image cannot be shown' }).waitFor();
    await isAccessible(page, 'the page of an image that is not there');
    const told = complaints.splice(0);
    assert.ok(told.length > 0 && told.every((text) => text.includes('status of 404')), told.join('\n'));
    await page.getByRole('link', { name: 'Go to the library' }).click();
    await page.locator('.tile').first().waitFor();
  });

  await step('twenty thousand images keep the page small', () => scrollsThroughMany(page, address));
});

/**
 * Serves a long list in place of the service's own, and scrolls through it.
 * @param {Page} page
 * @param {string} address
 */
async function scrollsThroughMany(page, address) {
  const many = 20_000;
  const thumbnail = png(shrink(scene(1), 0.2));
  const image = (/** @type {number} */ i) => ({
    id: i.toString(16).padStart(32, '0'),
    name: `many-${i}.png`,
    size: 1000,
    width: 300 + ((i * 37) % 400),
    height: 300,
    format: 'png',
    blake3: '',
    created: new Date(0).toISOString(),
    collection: 'many',
    tags: [],
    exif: null,
    distinctiveness: null,
  });
  await page.route('**/v1/collections', (route) =>
    route.fulfill({ json: { collections: [{ name: 'many', images: many, keep_originals: true }] } }),
  );
  await page.route('**/v1/collections/many/images?*', (route) => {
    const query = new URL(route.request().url()).searchParams;
    const [from, limit] = [Number(query.get('cursor') ?? 0), Number(query.get('limit'))];
    const images = Array.from({ length: Math.min(limit, many - from) }, (_, i) => image(from + i));
    return route.fulfill({ json: { images, next: from + limit < many ? String(from + limit) : null } });
  });
  await page.route('**/v1/collections/many/images/*/thumbnail', (route) =>
    route.fulfill({ body: thumbnail, contentType: 'image/png' }),
  );
  await page.goto(`${address}/c/many`);
  await page.getByText('20,000 images', { exact: true }).waitFor();
  await page.locator('.tile img.shown').first().waitFor();
  const height = () => page.evaluate(() => document.documentElement.scrollHeight);
  const guessed = await height();

  // Straight to the end, as with the scroll bar: pages are read until it is covered.
  let most = 0;
  await until('the last image', async () => {
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await settled(page);
    most = Math.max(most, await page.locator('.tile').count());
    return (await page.getByRole('link', { name: `many-${many - 1}.png` }).count()) === 1;
  });
  assert.ok(most < 250, `${most} tiles at a time`);
  const real = await height();
  assert.ok(Math.abs(guessed - real) / real < 0.1, `the scroll bar was off: ${guessed} for ${real}`);

  // The place is kept while one looks at an image.
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight / 2));
  await until('a thumbnail in the middle', async () => (await page.locator('.tile img.shown').count()) > 5);
  const place = await page.evaluate(() => scrollY);
  await page.getByRole('link', { name: 'Search', exact: true }).click();
  await page.getByRole('heading', { name: 'Search with a picture' }).waitFor();
  await page.goBack();
  await until('the place before', async () => Math.abs((await page.evaluate(() => scrollY)) - place) < 50);
  await page.goto('about:blank');
  await page.unrouteAll();
}
