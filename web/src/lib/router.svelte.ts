/** The page on show, in step with the address bar. */

import { format, parse, type Route } from './route';

export const router: { route: Route } = $state({ route: parse(location.pathname) });

/** Path of the page on show. */
let shown = location.pathname;

/** How far down the reader was on each page, for when they come back. */
const positions = new Map<string, number>();

export function positionOf(path: string): number {
  return positions.get(path) ?? 0;
}

export function go(route: Exclude<Route, { page: 'unknown' }>, { replace = false } = {}): void {
  open(format(route), replace);
}

function open(path: string, replace = false): void {
  positions.set(shown, scrollY);
  // A page that is opened anew starts at its top; only going back returns to where one was.
  positions.delete(path);
  if (replace) history.replaceState(null, '', path);
  else if (path !== location.pathname) history.pushState(null, '', path);
  show(path);
}

function show(path: string): void {
  shown = path;
  router.route = parse(path);
}

/** Handles back, forward and clicks on links to the gallery's own pages. */
export function startRouter(): void {
  history.scrollRestoration = 'manual';
  addEventListener('popstate', () => {
    positions.set(shown, scrollY);
    show(location.pathname);
  });
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.pathname !== '/' && !link.pathname.startsWith('/c/')) return;
    event.preventDefault();
    open(link.pathname);
  });
}
