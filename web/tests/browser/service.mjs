/** The real service in a folder of its own, and the browser. What is missing is an error, never a skipped test. */

import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { chromium } from 'playwright-core';

/** How long the service may take to start, in milliseconds; a debug build on a busy machine is slow. */
const START = 120_000;

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-dev-shm-usage',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
];

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Starts `doppel serve` on a free port; resolves once it is ready. */
export async function startService() {
  const named = process.env.DOPPEL_BIN;
  if (!named) throw new Error('DOPPEL_BIN is not set: it names the doppel binary to test (cargo build makes target/debug/doppel)');
  const binary = resolve(named);
  if (!isExecutable(binary)) throw new Error(`DOPPEL_BIN names ${binary}, which is not an executable file: build it with cargo build`);
  const folder = mkdtempSync(join(tmpdir(), 'doppel-service-'));
  const port = await freePort();
  const address = `http://127.0.0.1:${port}`;
  // Settings of whoever runs the test must not leak in: neither variables nor a doppel.toml of the working directory.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('DOPPEL_')));
  const child = spawn(binary, ['serve', '--listen', `127.0.0.1:${port}`, '--data-dir', join(folder, 'data')], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (log += text));
  const ended = new Promise((end) => child.once('exit', end));
  const stop = async () => {
    child.kill('SIGTERM');
    if ((await Promise.race([ended.then(() => 'ended'), sleep(10_000, null, { ref: false })])) !== 'ended') {
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (const deadline = Date.now() + START; ; await sleep(100)) {
      if (child.exitCode !== null) throw new Error(`doppel serve ended with ${child.exitCode}`);
      if (Date.now() > deadline) throw new Error(`doppel serve was not ready within ${START / 1000} s`);
      const ready = await fetch(`${address}/readyz`).then((response) => response.ok, () => false);
      if (ready) break;
    }
  } catch (error) {
    await stop();
    throw new Error(`${error instanceof Error ? error.message : error}; it wrote:\n${log}`);
  }
  return { address, stop, log: () => log };
}

/** Starts Chromium with a profile of its own. */
export async function startBrowser() {
  const candidates = process.env.CHROMIUM_BIN ? [process.env.CHROMIUM_BIN] : BROWSERS;
  const executablePath = candidates.find(isExecutable);
  if (!executablePath) {
    throw new Error(`no Chromium among ${candidates.join(', ')}: install it (Debian: apt-get install chromium) or set CHROMIUM_BIN`);
  }
  const profile = mkdtempSync(join(tmpdir(), 'doppel-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: FLAGS,
    viewport: { width: 1280, height: 800 },
  });
  const page = context.pages()[0] ?? (await context.newPage());
  return {
    page,
    stop: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address && typeof address === 'object' ? done(address.port) : fail(new Error('no port'))));
    });
  });
}
