/** What the compare view shows of a picture. */

import { fileUrl, thumbnailUrl, type Image } from './api';
import { bytes } from './words';

export interface Side {
  /** Best first: the file, then its thumbnail. */
  sources: readonly string[];
  name: string;
  /** Dimensions and size, in words. */
  about: string;
}

export function sideOf(collection: string, image: Image): Side {
  return {
    sources: [fileUrl(collection, image.id), thumbnailUrl(collection, image.id)],
    name: image.name || image.id,
    about: about(image),
  };
}

export function about({ width, height, size, format }: Image): string {
  return `${width} × ${height} · ${bytes(size)} · ${format}`;
}
