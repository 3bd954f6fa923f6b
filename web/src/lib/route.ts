/** Addresses of the gallery's pages. */

export type Route =
  | { page: 'library'; collection: string }
  | { page: 'search'; collection: string; like: string | null }
  | { page: 'groups'; collection: string }
  | { page: 'image'; collection: string; id: string }
  | { page: 'unknown' };

/** The collection that is there from the start. */
export const FIRST_COLLECTION = 'default';

export function parse(path: string): Route {
  const segments = path.split('/').filter(Boolean);
  if (segments.length === 0) return { page: 'library', collection: FIRST_COLLECTION };
  const [head, rawCollection, page, rawId] = segments;
  const collection = decode(rawCollection);
  if (head !== 'c' || !collection || segments.length > 4) return { page: 'unknown' };
  const id = decode(rawId);
  if (page === undefined) return { page: 'library', collection };
  if (page === 'search' && segments.length === 3) return { page: 'search', collection, like: null };
  if (page === 'groups' && segments.length === 3) return { page: 'groups', collection };
  if (page === 'similar' && id) return { page: 'search', collection, like: id };
  if (page === 'image' && id) return { page: 'image', collection, id };
  return { page: 'unknown' };
}

export function format(route: Exclude<Route, { page: 'unknown' }>): string {
  const base = `/c/${encodeURIComponent(route.collection)}`;
  switch (route.page) {
    case 'library':
      return base;
    case 'groups':
      return `${base}/groups`;
    case 'search':
      return route.like === null ? `${base}/search` : `${base}/similar/${encodeURIComponent(route.like)}`;
    case 'image':
      return `${base}/image/${encodeURIComponent(route.id)}`;
  }
}

function decode(segment: string | undefined): string | null {
  try {
    return segment === undefined ? null : decodeURIComponent(segment);
  } catch {
    return null;
  }
}
