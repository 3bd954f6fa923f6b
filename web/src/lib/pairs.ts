/** What the pages show of a picture: where it comes from, and a line about it. */

import { fileUrl, thumbnailUrl, type Image } from './api';
import { catalogue } from './library.svelte';
import { beyondWords, bytes } from './words';

/** Formats that browsers draw; of others the thumbnail is shown. */
const DRAWN = new Set(['jpeg', 'png', 'webp', 'gif', 'bmp', 'ico', 'avif']);

export interface Side {
  /** Best first: the file, then its thumbnail. */
  sources: readonly string[];
  name: string;
  /** Dimensions and size, in words. */
  about: string;
}

export function sideOf(collection: string, image: Image): Side {
  return {
    sources: sourcesOf(collection, image),
    name: image.name || image.id,
    about: about(image),
  };
}

/** Addresses of the picture, best first. */
export function sourcesOf(collection: string, { id, format }: Image): string[] {
  const thumbnail = thumbnailUrl(collection, id);
  return keepsOriginals(collection) && DRAWN.has(format) ? [fileUrl(collection, id), thumbnail] : [thumbnail];
}

/** Whether uploaded files can be read back; not before the service has said so: until then thumbnails are shown. */
export function keepsOriginals(collection: string): boolean {
  return catalogue.find(collection)?.keep_originals ?? false;
}

export function about({ width, height, size, format, beyond }: Image): string {
  return [`${width} × ${height}`, bytes(size), format, ...beyondWords(beyond)].join(' · ');
}
